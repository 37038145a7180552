//! Small h5ad files for tests.

use std::path::Path;
use std::str::FromStr;

use hdf5::types::VarLenUnicode;
use hdf5::{File, Group, H5Type, Location};
use ndarray::arr2;

pub(super) fn text(at: &Location, name: &str, value: &str) {
    let value = VarLenUnicode::from_str(value).unwrap();
    at.new_attr::<VarLenUnicode>().create(name).unwrap().write_scalar(&value).unwrap();
}

pub(super) fn strings(values: &[&str]) -> Vec<VarLenUnicode> {
    values.iter().map(|v| VarLenUnicode::from_str(v).unwrap()).collect()
}

pub(super) fn array<T: H5Type>(at: &Group, name: &str, values: &[T]) {
    at.new_dataset_builder().with_data(values).create(name).unwrap();
}

pub(super) fn matrix(at: &Group, name: &str, rows: &[[f64; 3]]) {
    at.new_dataset_builder().with_data(&arr2(rows)).create(name).unwrap();
}

/// A table with the given index; columns are added to the group that comes back.
pub(super) fn table(at: &Group, name: &str, index: &[&str], columns: &[&str]) -> Group {
    let group = at.create_group(name).unwrap();
    text(&group, "encoding-type", "dataframe");
    text(&group, "_index", "_index");
    array(&group, "_index", &strings(index));
    let order = strings(columns);
    group.new_attr::<VarLenUnicode>().shape(order.len()).create("column-order").unwrap().write(&order).unwrap();
    group
}

pub(super) fn categorical(at: &Group, name: &str, codes: &[i8], categories: &[&str]) {
    let group = at.create_group(name).unwrap();
    text(&group, "encoding-type", "categorical");
    array(&group, "codes", codes);
    array(&group, "categories", &strings(categories));
}

/// A sparse matrix, by rows or by columns.
pub(super) fn sparse(at: &Group, name: &str, by_rows: bool, shape: [u64; 2], parts: (&[i32], &[i32], &[f64])) {
    let group = at.create_group(name).unwrap();
    text(&group, "encoding-type", if by_rows { "csr_matrix" } else { "csc_matrix" });
    group.new_attr::<u64>().shape(2).create("shape").unwrap().write(&shape).unwrap();
    array(&group, "indptr", parts.0);
    array(&group, "indices", parts.1);
    array(&group, "data", parts.2);
}

/// An h5ad of dense values: cells `c0…` labelled by `labels`, genes as named.
pub(super) fn dense_h5ad(path: &Path, genes: &[&str; 3], cells: &[(&str, [f64; 3])]) {
    let file = File::create(path).unwrap();
    let names: Vec<String> = (0..cells.len()).map(|at| format!("c{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let obs = table(&file, "obs", &names, &["perturbation"]);
    let labels: Vec<&str> = cells.iter().map(|cell| cell.0).collect();
    array(&obs, "perturbation", &strings(&labels));
    table(&file, "var", genes, &[]);
    let rows: Vec<[f64; 3]> = cells.iter().map(|cell| cell.1).collect();
    matrix(&file, "X", &rows);
    let obsm = file.create_group("obsm").unwrap();
    matrix(&obsm, "protein", &rows);
    let square = ndarray::Array2::<f32>::ones((cells.len(), cells.len()));
    obsm.new_dataset_builder().with_data(&square).create("square").unwrap();
}
