//! AnnData tables in HDF5: every column encoding from anndata 0.7 on.

use hdf5::types::VarLenUnicode;
use hdf5::{Attribute, Dataset, Group, Location, ObjectReference1, ReferencedObject};

use super::values::{self, Values, said};
use crate::frame::{Column, ColumnData, Frame};

/// Reads the table in `parent/name`. The error says which part is at fault.
pub(super) fn read(parent: &Group, name: &str) -> Result<Frame, (String, String)> {
    let at_fault = |what: String| (name.to_owned(), what);
    if parent.dataset(name).is_ok() {
        return Err(at_fault(
            "is a compound dataset, as anndata wrote before 0.7; save the file again with a newer one: \
             anndata.read_h5ad(FILE).write_h5ad(NEW)"
                .into(),
        ));
    }
    let group = parent.group(name).map_err(|e| at_fault(said(e)))?;
    let index_name = index_name(&group).map_err(at_fault)?;
    let index = texts(&group, &index_name)
        .map_err(|what| at_fault(format!("its index '{index_name}' cannot be read: {what}")))?;
    let mut columns = Vec::new();
    for column in column_names(&group, &index_name).map_err(at_fault)? {
        let item = format!("{name}/{column}");
        let data = read_column(&group, &column).map_err(|what| (item.clone(), what))?;
        if data.len() != index.len() {
            return Err((item, format!("has {} values for {} rows", data.len(), index.len())));
        }
        columns.push(Column { name: column, data });
    }
    Ok(Frame { index, columns })
}

/// Text without gaps: a plain array, or one with a mask, as anndata writes from 0.13 on.
fn texts(group: &Group, name: &str) -> Result<Vec<String>, String> {
    if let Ok(dataset) = group.dataset(name) {
        return values::read_text(&dataset);
    }
    let masked = group.group(name).map_err(said)?;
    let part = |part: &str| masked.dataset(part).map_err(said);
    let mask: Vec<bool> = values::raw(&*part("mask")?)?;
    match mask.iter().position(|&missing| missing) {
        Some(row) => Err(format!("entry {row} is missing; every row and category needs a name")),
        None => values::read_text(&*part("values")?),
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
    let members = group.member_names().map_err(said)?;
    Ok(members.into_iter().filter(|name| name != index && !name.starts_with("__")).collect())
}

/// Reads one column of a table.
fn read_column(table: &Group, name: &str) -> Result<ColumnData, String> {
    if let Ok(dataset) = table.dataset(name) {
        return match legacy_categories(table, &dataset, name)? {
            Some(categories) => {
                let ordered = is_ordered(&categories);
                let mut data = categorical(&dataset, values::read_text(&categories)?)?;
                if let ColumnData::Categorical { ordered: is_ordered, .. } = &mut data {
                    *is_ordered = ordered;
                }
                Ok(data)
            }
            None => one_dimensional(&dataset).map(Values::into_column),
        };
    }
    let group = table.group(name).map_err(said)?;
    let part = |part: &str| group.dataset(part).map_err(said);
    let encoding = attribute(&group, "encoding-type").and_then(|a| first_text(&a)).unwrap_or_default();
    match encoding.as_str() {
        "categorical" => {
            let mut data = categorical(&part("codes")?, texts(&group, "categories")?)?;
            if let ColumnData::Categorical { ordered, .. } = &mut data {
                *ordered = is_ordered(&group);
            }
            Ok(data)
        }
        "nullable-integer" | "nullable-boolean" | "nullable-string-array" => {
            let mask: Vec<bool> = values::raw(&*part("mask")?)?;
            Ok(one_dimensional(&part("values")?)?.into_masked(&mask))
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
fn legacy_categories(table: &Group, dataset: &Dataset, name: &str) -> Result<Option<Dataset>, String> {
    let Some(reference) = attribute(dataset, "categories") else { return Ok(None) };
    if let Ok(reference) = reference.read_scalar::<ObjectReference1>()
        && let Ok(ReferencedObject::Dataset(categories)) = table.dereference(&reference)
    {
        return Ok(Some(categories));
    }
    table
        .dataset(&format!("__categories/{name}"))
        .map(Some)
        .map_err(|e| format!("its categories cannot be found: {}", said(e)))
}

fn is_ordered(of: &Location) -> bool {
    attribute(of, "ordered").is_some_and(|attribute| attribute.read_scalar::<bool>().unwrap_or(false))
}

fn categorical(codes: &Dataset, categories: Vec<String>) -> Result<ColumnData, String> {
    let codes: Vec<i32> = values::raw(codes)?;
    if let Some(code) = codes.iter().find(|&&code| code < -1 || code >= categories.len() as i32) {
        return Err(format!("has code {code} for {} categories", categories.len()));
    }
    Ok(ColumnData::Categorical { codes, categories, ordered: false })
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
