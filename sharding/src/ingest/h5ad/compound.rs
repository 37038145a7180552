//! Compound tables, as anndata wrote `obs`, `var` and `obsm` before 0.7: one dataset, of a record a row.
//!
//! Categories lie apart: those of a column `batch` in `uns/batch_categories`, those of the genes of `raw` in `raw.cat`.

use hdf5::types::{CompoundType, TypeDescriptor};
use hdf5::{Dataset, Group};

use super::column::{categorical, collect};
use super::failure::said;
use super::native;
use super::values::{self, Field, Values, dataset};
use crate::frame::Table;

/// Reads the table at `name`, whose records are `rows`.
pub(super) fn read(file: &Group, name: &str, table: &Dataset, rows: &CompoundType) -> Result<Table, String> {
    let is_text = |of: &TypeDescriptor| {
        use TypeDescriptor::{FixedAscii, FixedUnicode, VarLenAscii, VarLenUnicode};
        matches!(of, FixedAscii(_) | FixedUnicode(_) | VarLenAscii | VarLenUnicode)
    };
    let named = ["index", "_index"].iter().find_map(|name| rows.fields.iter().find(|field| field.name == *name));
    let index = named
        .or_else(|| rows.fields.first().filter(|field| is_text(&field.ty)))
        .ok_or("is a compound table without row names (a field 'index'); it is no AnnData table")?;
    let field = |name: &str| {
        let field = rows.fields.iter().find(|field| field.name == name).ok_or("is no field of the table")?;
        Ok::<_, String>(Field { table, name: &field.name, described: &field.ty })
    };
    let names = values::read_text(&field(&index.name)?)
        .map_err(|what| format!("its index '{}' cannot be read: {what}", index.name))?;
    let apart = if name.starts_with("raw") { "raw.cat" } else { "uns" };
    let columns = rows.fields.iter().filter(|other| other.name != index.name).map(|field| field.name.clone());
    Ok(collect(name, names, columns, |column, notes| {
        let column_field = field(column)?;
        let categories = format!("{apart}/{column}_categories");
        let is_number = matches!(column_field.described, TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_));
        if is_number && exists(file, &categories) {
            let categories = values::read_text(&dataset(file, &categories)?)?;
            return categorical(&column_field, categories, false, notes);
        }
        values::read(&column_field).map(Values::into_column)
    }))
}

fn exists(file: &Group, path: &str) -> bool {
    path.split_once('/').is_some_and(|(group, _)| file.link_exists(group)) && file.link_exists(path)
}

/// Names of the matrices of a compound `obsm`: its fields of numbers.
pub(super) fn matrices(rows: &CompoundType) -> Vec<String> {
    rows.fields.iter().filter(|field| width(&field.ty).is_some()).map(|field| field.name.clone()).collect()
}

/// A matrix of a compound `obsm`, row after row, with its number of columns.
pub(super) fn matrix(table: &Dataset, rows: &CompoundType, name: &str) -> Result<(usize, Vec<f32>), String> {
    let field = rows.fields.iter().find(|field| field.name == name).ok_or("is not there")?;
    let width = width(&field.ty).ok_or_else(|| format!("holds values of type {}, not numbers", field.ty))?;
    let is_array = matches!(field.ty, TypeDescriptor::FixedArray(..));
    Ok((width, native::field_rows(table, name, is_array.then_some(width)).map_err(said)?))
}

/// Numbers that a field holds for every row, where it holds numbers.
fn width(of: &TypeDescriptor) -> Option<usize> {
    use TypeDescriptor::{FixedArray, Float, Integer, Unsigned};
    match of {
        Float(_) | Integer(_) | Unsigned(_) => Some(1),
        FixedArray(of, width) if matches!(**of, Float(_) | Integer(_) | Unsigned(_)) => Some(*width),
        _ => None,
    }
}
