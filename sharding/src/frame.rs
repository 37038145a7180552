//! A table of named columns with a string index: AnnData's `obs` and `var`.

/// One column of a [`Frame`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name of the column.
    pub name: String,
    /// Its values.
    pub data: ColumnData,
}

/// Values of a column. `None` and code −1 are missing values.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnData {
    /// A pandas categorical.
    Categorical {
        /// Category of every row, −1 where missing.
        codes: Vec<i32>,
        /// Distinct values, in pandas' order.
        categories: Vec<String>,
        /// Whether the categories have an order.
        ordered: bool,
    },
    /// Floating point numbers (NaN is missing).
    Float(Vec<f64>),
    /// Integers without missing values.
    Int(Vec<i64>),
    /// Integers with missing values.
    NullableInt(Vec<Option<i64>>),
    /// Booleans without missing values.
    Bool(Vec<bool>),
    /// Booleans with missing values.
    NullableBool(Vec<Option<bool>>),
    /// Strings.
    Text(Vec<String>),
    /// Strings with missing values.
    NullableText(Vec<Option<String>>),
}

/// A table with an index, in the order of the columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Row names.
    pub index: Vec<String>,
    /// Columns.
    pub columns: Vec<Column>,
}

/// A table as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What was read.
    pub frame: Frame,
    /// Columns that could not be read.
    pub left_out: Vec<LeftOut>,
    /// What was taken otherwise than it is written, said of the columns by name.
    pub notes: Vec<String>,
}

/// A column that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Name of the column.
    pub column: String,
    /// Why, and what would be right.
    pub why: String,
}

impl From<Frame> for Table {
    fn from(frame: Frame) -> Self {
        Self { frame, ..Self::default() }
    }
}

/// Codes of a categorical from numbers as they were stored, and how many of them are odd: neither a category's nor -1.
/// Negative ones are missing (R writes NA as the least integer), and so is the largest number of an unsigned type,
/// `missing`, which is -1 there.
///
/// # Errors
/// When a code is beyond the categories.
pub(crate) fn codes(stored: &[i64], categories: usize, missing: Option<i64>) -> Result<(Vec<i32>, usize), String> {
    let mut odd = 0;
    let mut codes = Vec::with_capacity(stored.len());
    for (row, &code) in stored.iter().enumerate() {
        let is_category = usize::try_from(code).is_ok_and(|code| code < categories);
        if is_category {
            codes.push(code as i32);
        } else if code < 0 || Some(code) == missing {
            odd += usize::from(code != -1);
            codes.push(-1);
        } else {
            return Err(format!("row {row} has code {code}, there are {categories} categories"));
        }
    }
    Ok((codes, odd))
}

/// What is noted of odd codes of a column.
pub(crate) fn odd_codes(column: &str, odd: usize) -> String {
    format!(
        "{column}: {odd} {} no category (a negative code, as R writes NA): counted as missing",
        if odd == 1 { "cell has" } else { "cells have" }
    )
}

impl ColumnData {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Categorical { codes, .. } => codes.len(),
            Self::Float(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::NullableInt(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::NullableBool(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::NullableText(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Frame {
    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&ColumnData> {
        self.columns.iter().find(|column| column.name == name).map(|column| &column.data)
    }
}
