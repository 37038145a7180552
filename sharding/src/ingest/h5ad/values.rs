//! One-dimensional HDF5 values of any of AnnData's element types.

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Container, H5Type};

use crate::frame::ColumnData;
use crate::ingest::tables::{number, truth};

/// Values of a dataset or attribute.
pub(super) enum Values {
    Text(Vec<String>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
}

impl Values {
    /// The values as text, numbers in Python's spelling.
    pub(super) fn into_text(self) -> Vec<String> {
        match self {
            Self::Text(values) => values,
            Self::Int(values) => values.iter().map(ToString::to_string).collect(),
            Self::Float(values) => values.iter().map(|&v| number(v)).collect(),
            Self::Bool(values) => values.iter().map(|&v| truth(v).into()).collect(),
        }
    }

    /// The values as a column without missing values.
    pub(super) fn into_column(self) -> ColumnData {
        match self {
            Self::Text(values) => ColumnData::Text(values),
            Self::Int(values) => ColumnData::Int(values),
            Self::Float(values) => ColumnData::Float(values),
            Self::Bool(values) => ColumnData::Bool(values),
        }
    }

    /// The values as a column, missing where the mask says so.
    pub(super) fn into_masked(self, mask: &[bool]) -> ColumnData {
        fn cover<T>(values: Vec<T>, mask: &[bool]) -> Vec<Option<T>> {
            values.into_iter().zip(mask).map(|(value, &missing)| (!missing).then_some(value)).collect()
        }
        match self {
            Self::Text(values) => ColumnData::NullableText(cover(values, mask)),
            Self::Int(values) => ColumnData::NullableInt(cover(values, mask)),
            Self::Bool(values) => ColumnData::NullableBool(cover(values, mask)),
            Self::Float(values) => ColumnData::Float(
                values.iter().zip(mask).map(|(&v, &missing)| if missing { f64::NAN } else { v }).collect(),
            ),
        }
    }
}

/// Reads all values of a dataset or attribute, row after row.
pub(super) fn read(data: &Container) -> Result<Values, String> {
    let described = data.dtype().and_then(|t| t.to_descriptor()).map_err(said)?;
    if data.size() == 0 {
        return Ok(match described {
            TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) => Values::Int(Vec::new()),
            TypeDescriptor::Float(_) => Values::Float(Vec::new()),
            TypeDescriptor::Boolean => Values::Bool(Vec::new()),
            _ => Values::Text(Vec::new()),
        });
    }
    match described {
        TypeDescriptor::Integer(_) => raw(data).map(Values::Int),
        TypeDescriptor::Unsigned(_) => {
            let wide: Vec<u64> = raw(data)?;
            let narrow: Result<_, _> = wide.iter().map(|&v| i64::try_from(v)).collect();
            narrow.map(Values::Int).map_err(|_| "holds integers above 2^63 - 1; store them as text".into())
        }
        TypeDescriptor::Float(_) => raw(data).map(Values::Float),
        TypeDescriptor::Boolean => raw(data).map(Values::Bool),
        TypeDescriptor::VarLenUnicode => text::<VarLenUnicode>(data, VarLenUnicode::as_bytes),
        TypeDescriptor::VarLenAscii => text::<VarLenAscii>(data, VarLenAscii::as_bytes),
        TypeDescriptor::FixedAscii(length) => fixed_ascii(data, length),
        TypeDescriptor::FixedUnicode(length) => fixed_unicode(data, length),
        other => Err(format!("holds values of type {other}, which no table column has")),
    }
}

/// Reads text only.
pub(super) fn read_text(data: &Container) -> Result<Vec<String>, String> {
    read(data).map(Values::into_text)
}

pub(super) fn raw<T: H5Type>(data: &Container) -> Result<Vec<T>, String> {
    data.read_raw::<T>().map_err(said)
}

/// HDF5's message, with the fix where it is known.
pub(super) fn said(error: hdf5::Error) -> String {
    let message = error.to_string();
    if message.contains("filter") {
        return format!("{message}; the compression filter is not built in, save the file again with gzip or lzf");
    }
    if message.contains("read") {
        return format!("{message}; the file looks truncated or damaged, copy or download it again");
    }
    message
}

fn text<T: H5Type>(data: &Container, bytes: impl Fn(&T) -> &[u8]) -> Result<Values, String> {
    let strings: Result<_, _> = raw::<T>(data)?.iter().map(|s| String::from_utf8(bytes(s).to_vec())).collect();
    strings.map(Values::Text).map_err(|_| "holds text that is not UTF-8".into())
}

// HDF5 widens fixed-length strings when it reads, so a few lengths serve for all.
fn fixed_ascii(data: &Container, length: usize) -> Result<Values, String> {
    match length {
        0..=32 => text::<FixedAscii<32>>(data, FixedAscii::as_bytes),
        33..=256 => text::<FixedAscii<256>>(data, FixedAscii::as_bytes),
        257..=4096 => text::<FixedAscii<4096>>(data, FixedAscii::as_bytes),
        _ => Err(too_long(length)),
    }
}

fn fixed_unicode(data: &Container, length: usize) -> Result<Values, String> {
    match length {
        0..=32 => text::<FixedUnicode<32>>(data, |s| s.as_bytes()),
        33..=256 => text::<FixedUnicode<256>>(data, |s| s.as_bytes()),
        257..=4096 => text::<FixedUnicode<4096>>(data, |s| s.as_bytes()),
        _ => Err(too_long(length)),
    }
}

fn too_long(length: usize) -> String {
    format!("holds fixed-length strings of {length} bytes; at most 4096 are read")
}
