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
