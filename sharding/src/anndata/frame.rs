//! Tables (`obs`, `var`) in AnnData's dataframe encoding.
//!
//! Guarantee: a [`Frame`] written here and read back is equal to itself, and Python's anndata reads the same
//! table. Reading also takes the older spelling of categoricals (`__categories`) and columns without an
//! encoding attribute; a column that cannot be read is named.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::error::AnnDataError;
use super::zarr::{ArrayReader, Dtype, NodeKind, ZarrReader, ZarrWriter};
use crate::frame::{Column, ColumnData, Frame, LeftOut, Table};

/// Name of the index array in the tables written here.
const INDEX: &str = "_index";

/// AnnData's encoding attributes, with further ones of `more`.
pub(crate) fn encoding(kind: &str, version: &str, more: Value) -> Map<String, Value> {
    let mut attributes = Map::new();
    attributes.insert("encoding-type".into(), json!(kind));
    attributes.insert("encoding-version".into(), json!(version));
    if let Value::Object(more) = more {
        attributes.extend(more);
    }
    attributes
}

pub(crate) fn array_encoding() -> Map<String, Value> {
    encoding("array", "0.2.0", Value::Null)
}

fn text_encoding() -> Map<String, Value> {
    encoding("string-array", "0.2.0", Value::Null)
}

/// Says why `frame` cannot be written as a table of `rows` rows, if it cannot.
pub(crate) fn check_frame(frame: &Frame, rows: usize) -> Result<(), String> {
    if frame.index.len() != rows {
        return Err(format!("the index has {} names for {rows} rows", frame.index.len()));
    }
    let mut names = HashSet::new();
    for Column { name, data } in &frame.columns {
        let odd = name.is_empty()
            || name == INDEX
            || name.contains('/')
            || name.starts_with("__")
            || name == "."
            || name == "..";
        if odd {
            return Err(format!("column {name:?} has a name that zarr cannot hold; rename it"));
        }
        if !names.insert(name) {
            return Err(format!("there are two columns {name:?}; rename one"));
        }
        if data.len() != rows {
            return Err(format!("column {name:?} has {} values for {rows} rows", data.len()));
        }
        if let ColumnData::Categorical { codes, categories, .. } = data {
            let distinct: HashSet<&String> = categories.iter().collect();
            if distinct.len() != categories.len() {
                return Err(format!("column {name:?} has a category twice"));
            }
            if let Some(code) = codes.iter().find(|&&code| code < -1 || code >= categories.len() as i32) {
                return Err(format!("column {name:?} has code {code} but {} categories", categories.len()));
            }
        }
    }
    Ok(())
}

/// Writes `frame`, which [`check_frame`] found sound, as the table `path`.
pub(crate) fn write_frame(writer: &ZarrWriter, path: &str, frame: &Frame) -> Result<(), AnnDataError> {
    for Column { name, data } in &frame.columns {
        write_column(writer, &format!("{path}/{name}"), data)?;
    }
    write_text(writer, &format!("{path}/{INDEX}"), &frame.index)?;
    let names: Vec<&String> = frame.columns.iter().map(|column| &column.name).collect();
    let attributes = encoding("dataframe", "0.2.0", json!({"_index": INDEX, "column-order": names}));
    Ok(writer.group(path, attributes)?)
}

pub(crate) fn write_text(writer: &ZarrWriter, path: &str, values: &[String]) -> Result<(), AnnDataError> {
    Ok(writer.array(path, &[values.len() as u64], values, text_encoding())?)
}

fn write_column(writer: &ZarrWriter, path: &str, data: &ColumnData) -> Result<(), AnnDataError> {
    let shape = [data.len() as u64];
    match data {
        ColumnData::Float(values) => writer.array(path, &shape, values, array_encoding())?,
        ColumnData::Int(values) => writer.array(path, &shape, values, array_encoding())?,
        ColumnData::Bool(values) => writer.array(path, &shape, values, array_encoding())?,
        ColumnData::Text(values) => write_text(writer, path, values)?,
        ColumnData::NullableInt(values) => {
            writer.group(path, encoding("nullable-integer", "0.1.0", Value::Null))?;
            write_masked(writer, path, values, array_encoding())?;
        }
        ColumnData::NullableBool(values) => {
            writer.group(path, encoding("nullable-boolean", "0.1.0", Value::Null))?;
            write_masked(writer, path, values, array_encoding())?;
        }
        ColumnData::NullableText(values) => {
            writer.group(path, encoding("nullable-string-array", "0.1.0", Value::Null))?;
            write_masked(writer, path, values, text_encoding())?;
        }
        ColumnData::Categorical { codes, categories, ordered } => {
            writer.group(path, encoding("categorical", "0.2.0", json!({"ordered": ordered})))?;
            write_text(writer, &format!("{path}/categories"), categories)?;
            write_codes(writer, &format!("{path}/codes"), codes, categories.len())?;
        }
    }
    Ok(())
}

fn write_masked<T: super::zarr::Item>(
    writer: &ZarrWriter,
    path: &str,
    values: &[Option<T>],
    attributes: Map<String, Value>,
) -> Result<(), AnnDataError> {
    let shape = [values.len() as u64];
    let filled: Vec<T> = values.iter().map(|value| value.clone().unwrap_or_default()).collect();
    let mask: Vec<bool> = values.iter().map(Option::is_none).collect();
    writer.array(&format!("{path}/values"), &shape, &filled, attributes)?;
    Ok(writer.array(&format!("{path}/mask"), &shape, &mask, array_encoding())?)
}

/// Codes take the smallest type that holds them, as pandas does.
fn write_codes(writer: &ZarrWriter, path: &str, codes: &[i32], categories: usize) -> Result<(), AnnDataError> {
    let shape = [codes.len() as u64];
    if i8::try_from(categories).is_ok() {
        let narrow: Vec<i8> = codes.iter().map(|&code| code as i8).collect();
        writer.array(path, &shape, &narrow, array_encoding())?;
    } else if i16::try_from(categories).is_ok() {
        let narrow: Vec<i16> = codes.iter().map(|&code| code as i16).collect();
        writer.array(path, &shape, &narrow, array_encoding())?;
    } else {
        writer.array(path, &shape, codes, array_encoding())?;
    }
    Ok(())
}

/// Reads the table `path` of a store, of which every column must be there.
pub(crate) fn read_frame(reader: &ZarrReader, path: &str) -> Result<Frame, AnnDataError> {
    let table = read_table(reader, path)?;
    match table.left_out.into_iter().next() {
        Some(LeftOut { column, why }) => Err(AnnDataError::encoding(reader.name(), &format!("{path}/{column}"), why)),
        None => Ok(table.frame),
    }
}

/// Reads the table `path`, or an array of names without one. A column that cannot be read is left out.
pub(crate) fn read_table(reader: &ZarrReader, path: &str) -> Result<Table, AnnDataError> {
    let index = read_names(reader, path)?;
    let mut table = Table { frame: Frame { index, columns: Vec::new() }, ..Table::default() };
    for name in column_names(reader, path)? {
        let node = format!("{path}/{name}");
        let mut notes = Vec::new();
        let why = match read_noted(reader, path, &node, &mut notes) {
            Ok(data) if data.len() == table.frame.index.len() => {
                table.frame.columns.push(Column { name, data });
                table.notes.append(&mut notes);
                continue;
            }
            Ok(data) => format!("has {} values for {} rows", data.len(), table.frame.index.len()),
            Err(AnnDataError::Encoding { problem, .. }) => problem,
            Err(AnnDataError::Zarr(error)) => error.within(&node),
        };
        table.left_out.push(LeftOut { column: name, why });
    }
    Ok(table)
}

/// Names of the columns of the table `path`: as listed, or where there is no list all that lies there.
fn column_names(reader: &ZarrReader, path: &str) -> Result<Vec<String>, AnnDataError> {
    if reader.kind(path)? == Some(NodeKind::Array) {
        return Ok(Vec::new());
    }
    if let Some(Value::Array(names)) = reader.group(path)?.get("column-order") {
        return Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    let index = index_name(reader, path)?;
    let mut names = Vec::new();
    for child in reader.children(path)? {
        let node = format!("{path}/{child}");
        if child == index || child.starts_with("__") {
            continue;
        }
        match reader.kind(&node)? {
            // What is made of a name with a slash in it.
            Some(NodeKind::Group) if !reader.group(&node)?.contains_key("encoding-type") => {
                names.extend(reader.children(&node)?.into_iter().map(|name| format!("{child}/{name}")));
            }
            // A folder without metadata: zarr version 3 needs none for what only holds others.
            None => names.extend(reader.children(&node)?.into_iter().map(|name| format!("{child}/{name}"))),
            Some(_) => names.push(child),
        }
    }
    Ok(names)
}

/// Reads the row names of `path`: those of a table, or an array of names.
pub(crate) fn read_names(reader: &ZarrReader, path: &str) -> Result<Vec<String>, AnnDataError> {
    let fail = |problem: &str| AnnDataError::encoding(reader.name(), path, problem);
    match reader.kind(path)? {
        Some(NodeKind::Group) => read_index(reader, path),
        Some(NodeKind::Array) if reader.array(path)?.dtype().is_text() => read_texts(reader, path),
        _ => Err(fail("there is neither a table nor an array of names here; write it with anndata's write_zarr")),
    }
}

/// Reads the index of the table `path`.
pub(crate) fn read_index(reader: &ZarrReader, path: &str) -> Result<Vec<String>, AnnDataError> {
    read_texts(reader, &format!("{path}/{}", index_name(reader, path)?))
}

/// Name of the index of the table `path`: the one it says, a usual one, or that of the only array of strings there.
fn index_name(reader: &ZarrReader, path: &str) -> Result<String, AnnDataError> {
    if let Some(name) = reader.group(path)?.get("_index").and_then(Value::as_str) {
        return Ok(name.into());
    }
    for usual in [INDEX, "index"] {
        if reader.kind(&format!("{path}/{usual}"))?.is_some() {
            return Ok(usual.into());
        }
    }
    match reader.children(path)?.as_slice() {
        [only] if reader.array(&format!("{path}/{only}")).is_ok_and(|array| array.dtype().is_text()) => {
            Ok(only.clone())
        }
        _ => {
            let problem = "has no row names (attribute '_index'); write it with anndata's write_zarr";
            Err(AnnDataError::encoding(reader.name(), path, problem))
        }
    }
}

/// Text without gaps: a plain array, or one with a mask, as anndata writes from 0.13 on.
fn read_texts(reader: &ZarrReader, node: &str) -> Result<Vec<String>, AnnDataError> {
    if reader.kind(node)? != Some(NodeKind::Group) {
        return read_line(&reader.array(node)?, ArrayReader::read_text);
    }
    let mask = read_line(&reader.array(&format!("{node}/mask"))?, ArrayReader::read_bool)?;
    if let Some(row) = mask.iter().position(|&missing| missing) {
        let problem = format!("entry {row} is missing; every row and category needs a name");
        return Err(AnnDataError::encoding(reader.name(), node, problem));
    }
    read_line(&reader.array(&format!("{node}/values"))?, ArrayReader::read_text)
}

/// Reads all of an array of one dimension.
fn read_line<T>(
    array: &ArrayReader,
    read: impl Fn(&ArrayReader, &[std::ops::Range<u64>]) -> Result<Vec<T>, super::zarr::ZarrError>,
) -> Result<Vec<T>, AnnDataError> {
    if array.shape().len() != 1 {
        let problem = format!("a column has one dimension, this array {}; drop it from the table", array.shape().len());
        return Err(array.error(&problem).into());
    }
    Ok(read(array, &array.all())?)
}

/// Reads the column at `node` of the table `frame`.
pub(crate) fn read_column(reader: &ZarrReader, frame: &str, node: &str) -> Result<ColumnData, AnnDataError> {
    read_noted(reader, frame, node, &mut Vec::new())
}

fn read_noted(
    reader: &ZarrReader,
    frame: &str,
    node: &str,
    notes: &mut Vec<String>,
) -> Result<ColumnData, AnnDataError> {
    match reader.kind(node)? {
        Some(NodeKind::Array) => read_array_column(reader, frame, node, notes),
        Some(NodeKind::Group) => read_group_column(reader, node, notes),
        None => Err(AnnDataError::encoding(reader.name(), node, "the column is listed in column-order but missing")),
    }
}

fn read_array_column(
    reader: &ZarrReader,
    frame: &str,
    node: &str,
    notes: &mut Vec<String>,
) -> Result<ColumnData, AnnDataError> {
    let array = reader.array(node)?;
    // anndata before 0.8 kept the codes here and named the array of categories, relative to the table.
    if let Some(categories) = array.attributes().get("categories").and_then(Value::as_str) {
        let categories = match categories.strip_prefix('/') {
            Some(absolute) => absolute.to_owned(),
            None => format!("{frame}/{categories}"),
        };
        return read_categorical(reader, node, &array, &categories, None, notes);
    }
    Ok(match array.dtype() {
        Dtype::Bool => ColumnData::Bool(read_line(&array, ArrayReader::read_bool)?),
        Dtype::Text | Dtype::FixedText => ColumnData::Text(read_line(&array, ArrayReader::read_text)?),
        Dtype::F16 | Dtype::F32 | Dtype::F64 => ColumnData::Float(read_line(&array, ArrayReader::read_f64)?),
        _ => ColumnData::Int(read_line(&array, ArrayReader::read_i64)?),
    })
}

fn read_group_column(reader: &ZarrReader, node: &str, notes: &mut Vec<String>) -> Result<ColumnData, AnnDataError> {
    let attributes = reader.group(node)?;
    let kind = attributes.get("encoding-type").and_then(Value::as_str).unwrap_or("group without encoding-type");
    let part = |name: &str| reader.array(&format!("{node}/{name}"));
    Ok(match kind {
        "categorical" => {
            let ordered = attributes.get("ordered").and_then(Value::as_bool).unwrap_or(false);
            let categories = format!("{node}/categories");
            return read_categorical(reader, node, &part("codes")?, &categories, Some(ordered), notes);
        }
        "nullable-integer" => ColumnData::NullableInt(masked(&part("values")?, &part("mask")?, ArrayReader::read_i64)?),
        "nullable-boolean" => {
            ColumnData::NullableBool(masked(&part("values")?, &part("mask")?, ArrayReader::read_bool)?)
        }
        "nullable-string-array" | "nullable-string" => {
            ColumnData::NullableText(masked(&part("values")?, &part("mask")?, ArrayReader::read_text)?)
        }
        other => {
            let problem =
                format!("columns encoded as {other:?} are not read; drop the column or convert it to strings");
            return Err(AnnDataError::encoding(reader.name(), node, problem));
        }
    })
}

fn masked<T>(
    values: &ArrayReader,
    mask: &ArrayReader,
    read: impl Fn(&ArrayReader, &[std::ops::Range<u64>]) -> Result<Vec<T>, super::zarr::ZarrError>,
) -> Result<Vec<Option<T>>, AnnDataError> {
    let mask_values = read_line(mask, ArrayReader::read_bool)?;
    let values = read_line(values, read)?;
    if values.len() != mask_values.len() {
        return Err(mask.error(&format!("{} mask values for {} values", mask_values.len(), values.len())).into());
    }
    Ok(values.into_iter().zip(mask_values).map(|(value, missing)| (!missing).then_some(value)).collect())
}

fn read_categorical(
    reader: &ZarrReader,
    node: &str,
    codes: &ArrayReader,
    categories: &str,
    ordered: Option<bool>,
    notes: &mut Vec<String>,
) -> Result<ColumnData, AnnDataError> {
    let ordered = match ordered {
        Some(ordered) => ordered,
        None => reader.array(categories)?.attributes().get("ordered").and_then(Value::as_bool).unwrap_or(false),
    };
    let categories = read_texts(reader, categories)?;
    let missing = match codes.dtype() {
        Dtype::U8 => Some(i64::from(u8::MAX)),
        Dtype::U16 => Some(i64::from(u16::MAX)),
        Dtype::U32 => Some(i64::from(u32::MAX)),
        _ => None,
    };
    let stored = read_line(codes, ArrayReader::read_i64)?;
    let (codes, odd) = crate::frame::codes(&stored, categories.len(), missing)
        .map_err(|problem| AnnDataError::encoding(reader.name(), node, problem))?;
    if odd > 0 {
        notes.push(crate::frame::odd_codes(node, odd));
    }
    Ok(ColumnData::Categorical { codes, categories, ordered })
}
