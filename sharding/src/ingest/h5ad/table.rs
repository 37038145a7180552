//! AnnData tables in HDF5: groups of columns in every encoding from anndata 0.7 on, compound tables from before, and
//! plain arrays of names.
//!
//! Guarantee: the row names are read or it is an error; a column that cannot be read is left out, by name.

use hdf5::types::{TypeDescriptor, VarLenUnicode};
use hdf5::{Attribute, Dataset, Group, Location, ObjectReference1, ReferencedObject};

use super::column::{Notes, categorical, collect};
use super::compound;
use super::failure::said;
use super::values::{self, Held, Values, dataset};
use crate::frame::{self, ColumnData, Table};

/// Reads the table at `name`. The error says what is wrong with it.
pub(super) fn read(file: &Group, name: &str) -> Result<Table, String> {
    if file.dataset(name).is_ok() {
        let table = dataset(file, name)?;
        return match table.described()? {
            TypeDescriptor::Compound(rows) => compound::read(file, name, &table, &rows),
            _ => names_alone(&table),
        };
    }
    let group = file.group(name).map_err(said)?;
    let index_name = index_name(&group)?;
    let index =
        texts(&group, &index_name).map_err(|what| format!("its index '{index_name}' cannot be read: {what}"))?;
    let names = column_names(&group, &index_name)?;
    Ok(collect(name, index, names, |column, notes| read_column(&group, column, notes)))
}

/// An array of names without a table.
fn names_alone(names: &Dataset) -> Result<Table, String> {
    match one_dimensional(names)? {
        Values::Text(index) => Ok(frame::Frame { index, columns: Vec::new() }.into()),
        _ => Err("is neither a table nor an array of names; write it with anndata's write_h5ad".into()),
    }
}

/// Text without gaps: a plain array, or one with a mask, as anndata writes from 0.13 on.
fn texts(group: &Group, name: &str) -> Result<Vec<String>, String> {
    if group.dataset(name).is_ok() {
        return values::read_text(&dataset(group, name)?);
    }
    let masked = group.group(name).map_err(said)?;
    let mask: Vec<bool> = dataset(&masked, "mask")?.raw()?;
    match mask.iter().position(|&missing| missing) {
        Some(row) => Err(format!("entry {row} is missing; every row and category needs a name")),
        None => values::read_text(&dataset(&masked, "values")?),
    }
}

fn index_name(group: &Group) -> Result<String, String> {
    if let Some(attribute) = attribute(group, "_index") {
        return first_text(&attribute).ok_or_else(|| "attribute '_index' is no text".into());
    }
    ["_index", "index"]
        .into_iter()
        .find(|name| group.link_exists(name))
        .map(Into::into)
        .ok_or_else(|| "has no row names (attribute '_index'); it is no AnnData table".into())
}

fn column_names(group: &Group, index: &str) -> Result<Vec<String>, String> {
    if let Some(order) = attribute(group, "column-order") {
        return values::read_text(&order);
    }
    let mut names = Vec::new();
    for member in group.member_names().map_err(said)? {
        if member == index || member.starts_with("__") {
            continue;
        }
        match group.group(&member) {
            // What h5py makes of a name with a slash in it.
            Ok(nested) if attribute(&nested, "encoding-type").is_none() => {
                let below = nested.member_names().map_err(said)?;
                names.extend(below.into_iter().map(|name| format!("{member}/{name}")));
            }
            _ => names.push(member),
        }
    }
    Ok(names)
}

/// Reads one column of a table.
fn read_column(table: &Group, name: &str, notes: &mut Notes) -> Result<ColumnData, String> {
    if table.dataset(name).is_ok() {
        let column = dataset(table, name)?;
        return match legacy_categories(table, &column, name)? {
            Some(categories) => categorical(&column, values::read_text(&categories)?, is_ordered(&categories), notes),
            None => one_dimensional(&column).map(Values::into_column),
        };
    }
    if !table.link_exists(name.split('/').next().unwrap_or(name)) {
        return Err("is named in column-order, but is not there".into());
    }
    let group = table.group(name).map_err(said)?;
    let part = |part: &str| dataset(&group, part);
    let encoding = attribute(&group, "encoding-type").and_then(|a| first_text(&a)).unwrap_or_default();
    match encoding.as_str() {
        "categorical" => categorical(&part("codes")?, texts(&group, "categories")?, is_ordered(&group), notes),
        "nullable-integer" | "nullable-boolean" | "nullable-string-array" => {
            let (mask, values) = (part("mask")?.raw::<bool>()?, part("values")?);
            match one_dimensional(&values)? {
                read if values.size() == mask.len() => Ok(read.into_masked(&mask)),
                _ => Err(format!("has {} mask values for {} values", mask.len(), values.size())),
            }
        }
        other => Err(format!(
            "is encoded as '{other}', which is not read; turn the column into text, numbers or categories, or remove it"
        )),
    }
}

fn one_dimensional(dataset: &Dataset) -> Result<Values, String> {
    if dataset.ndim() > 1 {
        return Err(format!("has {} dimensions, a column has one; move it to obsm", dataset.ndim()));
    }
    values::read(dataset)
}

/// Categories of a column as anndata 0.7 wrote it: an attribute that refers to a dataset under `__categories`.
fn legacy_categories(table: &Group, column: &Dataset, name: &str) -> Result<Option<Dataset>, String> {
    let Some(reference) = attribute(column, "categories") else { return Ok(None) };
    if let Ok(reference) = reference.read_scalar::<ObjectReference1>()
        && let Ok(ReferencedObject::Dataset(categories)) = table.dereference(&reference)
    {
        return Ok(Some(categories));
    }
    dataset(table, &format!("__categories/{name}"))
        .map(Some)
        .map_err(|why| format!("its categories cannot be found: {why}"))
}

fn is_ordered(of: &Location) -> bool {
    attribute(of, "ordered").is_some_and(|attribute| attribute.read_scalar::<bool>().unwrap_or(false))
}

/// An attribute, if the object has it.
pub(super) fn attribute(of: &Location, name: &str) -> Option<Attribute> {
    of.attr(name).ok()
}

/// The text of a scalar attribute.
pub(super) fn first_text(attribute: &Attribute) -> Option<String> {
    if let Ok(text) = attribute.read_scalar::<VarLenUnicode>() {
        return Some(text.as_str().to_owned());
    }
    values::read_text(attribute).ok()?.into_iter().next()
}
