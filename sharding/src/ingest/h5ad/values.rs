//! One-dimensional HDF5 values of any of AnnData's element types.

use std::ops::Deref;

use hdf5::types::{EnumType, FixedAscii, FixedUnicode, IntSize, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Container, Dataset, Group, H5Type};

use super::failure::said;
use super::{filters, native};
use crate::frame::ColumnData;
use crate::text::{number, truth};

/// Values of a dataset or attribute.
pub(super) enum Values {
    Text(Vec<String>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    /// Members of an enumeration, and which one every value is; -1 for none.
    Enum(Vec<String>, Vec<i32>),
}

impl Values {
    /// The values as text, numbers in Python's spelling.
    pub(super) fn into_text(self) -> Vec<String> {
        match self {
            Self::Text(values) => values,
            Self::Int(values) => values.iter().map(ToString::to_string).collect(),
            Self::Float(values) => values.iter().map(|&v| number(v)).collect(),
            Self::Bool(values) => values.iter().map(|&v| truth(v).into()).collect(),
            Self::Enum(members, codes) => {
                let name = |&code: &i32| usize::try_from(code).ok().and_then(|code| members.get(code).cloned());
                codes.iter().map(|code| name(code).unwrap_or_default()).collect()
            }
        }
    }

    /// The values as a column without missing values, but for what an enumeration calls so.
    pub(super) fn into_column(self) -> ColumnData {
        match self {
            Self::Text(values) => ColumnData::Text(values),
            Self::Int(values) => ColumnData::Int(values),
            Self::Float(values) => ColumnData::Float(values),
            Self::Bool(values) => ColumnData::Bool(values),
            Self::Enum(members, codes) => of_enum(members, codes),
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
            Self::Enum(members, codes) => {
                of_enum(members, codes.iter().zip(mask).map(|(&c, &missing)| if missing { -1 } else { c }).collect())
            }
        }
    }
}

/// A column of an enumeration: R's logicals (FALSE, TRUE and perhaps NA) are booleans, others are categories.
fn of_enum(members: Vec<String>, codes: Vec<i32>) -> ColumnData {
    let logical = |code: i32| match usize::try_from(code).ok().and_then(|code| members.get(code)).map(String::as_str) {
        Some("TRUE") => Some(true),
        Some("FALSE") => Some(false),
        _ => None,
    };
    if members.iter().any(|name| !["FALSE", "TRUE", "NA"].contains(&name.as_str())) {
        return ColumnData::Categorical { codes, categories: members, ordered: false };
    }
    let flags: Vec<Option<bool>> = codes.iter().map(|&code| logical(code)).collect();
    match flags.iter().copied().collect() {
        Some(whole) => ColumnData::Bool(whole),
        None => ColumnData::NullableBool(flags),
    }
}

/// What values are read from.
pub(super) trait Held {
    /// Type of a value.
    fn described(&self) -> Result<TypeDescriptor, String>;
    /// Number of values.
    fn size(&self) -> usize;
    /// The values, row after row.
    fn raw<T: H5Type>(&self) -> Result<Vec<T>, String>;
}

impl<C: Deref<Target = Container>> Held for C {
    fn described(&self) -> Result<TypeDescriptor, String> {
        self.dtype().and_then(|t| t.to_descriptor()).map_err(said)
    }

    fn size(&self) -> usize {
        Container::size(self)
    }

    fn raw<T: H5Type>(&self) -> Result<Vec<T>, String> {
        self.read_raw::<T>().map_err(said)
    }
}

/// One field of a compound table.
pub(super) struct Field<'a> {
    pub(super) table: &'a Dataset,
    pub(super) name: &'a str,
    pub(super) described: &'a TypeDescriptor,
}

impl Held for Field<'_> {
    fn described(&self) -> Result<TypeDescriptor, String> {
        Ok(self.described.clone())
    }

    fn size(&self) -> usize {
        Container::size(self.table)
    }

    fn raw<T: H5Type>(&self) -> Result<Vec<T>, String> {
        native::field(self.table, self.name).map_err(said)
    }
}

/// Opens a dataset, and makes sure that it can be read.
pub(super) fn dataset(parent: &Group, name: &str) -> Result<Dataset, String> {
    let dataset = parent.dataset(name).map_err(said)?;
    filters::check(&dataset)?;
    Ok(dataset)
}

/// Reads all values, row after row.
pub(super) fn read(data: &impl Held) -> Result<Values, String> {
    let described = data.described()?;
    if data.size() == 0 {
        return Ok(match described {
            TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) => Values::Int(Vec::new()),
            TypeDescriptor::Float(_) => Values::Float(Vec::new()),
            TypeDescriptor::Boolean => Values::Bool(Vec::new()),
            _ => Values::Text(Vec::new()),
        });
    }
    match described {
        TypeDescriptor::Integer(_) => data.raw().map(Values::Int),
        TypeDescriptor::Unsigned(_) => {
            let wide: Vec<u64> = data.raw()?;
            let narrow: Result<_, _> = wide.iter().map(|&v| i64::try_from(v)).collect();
            narrow.map(Values::Int).map_err(|_| "holds integers above 2^63 - 1; store them as text".into())
        }
        TypeDescriptor::Float(_) => data.raw().map(Values::Float),
        TypeDescriptor::Boolean => data.raw().map(Values::Bool),
        TypeDescriptor::Enum(kind) => enumeration(data, &kind),
        TypeDescriptor::VarLenUnicode => text::<VarLenUnicode>(data, VarLenUnicode::as_bytes),
        TypeDescriptor::VarLenAscii => text::<VarLenAscii>(data, VarLenAscii::as_bytes),
        TypeDescriptor::FixedAscii(length) => fixed_ascii(data, length),
        TypeDescriptor::FixedUnicode(length) => fixed_unicode(data, length),
        other => Err(format!("holds values of type {other}, which no table column has")),
    }
}

/// Reads text only.
pub(super) fn read_text(data: &impl Held) -> Result<Vec<String>, String> {
    read(data).map(Values::into_text)
}

/// Reads numbers of a categorical, with the one that stands for -1 where there is none.
pub(super) fn read_codes(data: &impl Held) -> Result<(Vec<i64>, Option<i64>), String> {
    let missing = match data.described()? {
        TypeDescriptor::Unsigned(IntSize::U1) => Some(i64::from(u8::MAX)),
        TypeDescriptor::Unsigned(IntSize::U2) => Some(i64::from(u16::MAX)),
        TypeDescriptor::Unsigned(IntSize::U4) => Some(i64::from(u32::MAX)),
        // The library makes the largest number that is wanted of one that is larger.
        TypeDescriptor::Unsigned(IntSize::U8) => Some(i64::MAX),
        TypeDescriptor::Integer(_) => None,
        other => return Err(format!("its codes are of type {other}, whole numbers are right")),
    };
    Ok((data.raw()?, missing))
}

fn enumeration(data: &impl Held, kind: &EnumType) -> Result<Values, String> {
    let bits = 8 * kind.size as u32;
    // The library gives the bytes of a member's value; of a signed one the sign is at their end.
    let value = |raw: u64| if kind.signed { (raw << (64 - bits)) as i64 >> (64 - bits) } else { raw as i64 };
    let members: Vec<i64> = kind.members.iter().map(|member| value(member.value)).collect();
    let stored: Vec<i64> = data.raw()?;
    let code = |value: &i64| members.iter().position(|member| member == value).map_or(-1, |at| at as i32);
    let names = kind.members.iter().map(|member| member.name.clone()).collect();
    Ok(Values::Enum(names, stored.iter().map(code).collect()))
}

fn text<T: H5Type>(data: &impl Held, bytes: impl Fn(&T) -> &[u8]) -> Result<Values, String> {
    let strings: Result<_, _> = data.raw::<T>()?.iter().map(|s| String::from_utf8(bytes(s).to_vec())).collect();
    strings.map(Values::Text).map_err(|_| "holds text that is not UTF-8".into())
}

// HDF5 widens fixed-length strings when it reads, so a few lengths serve for all.
fn fixed_ascii(data: &impl Held, length: usize) -> Result<Values, String> {
    match length {
        0..=32 => text::<FixedAscii<32>>(data, FixedAscii::as_bytes),
        33..=256 => text::<FixedAscii<256>>(data, FixedAscii::as_bytes),
        257..=4096 => text::<FixedAscii<4096>>(data, FixedAscii::as_bytes),
        _ => Err(too_long(length)),
    }
}

fn fixed_unicode(data: &impl Held, length: usize) -> Result<Values, String> {
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
