//! Values of columns as text, as Python writes them.

use crate::frame::ColumnData;

/// Values of a column as text; missing and empty ones are `None`.
pub(crate) fn as_text(data: &ColumnData) -> Vec<Option<String>> {
    let present = |text: &str| (!is_missing(text)).then(|| text.to_owned());
    match data {
        ColumnData::Categorical { codes, categories, .. } => codes
            .iter()
            .map(|&c| usize::try_from(c).ok().and_then(|c| categories.get(c)).and_then(|t| present(t)))
            .collect(),
        ColumnData::Float(values) => values.iter().map(|v| (!v.is_nan()).then(|| number(*v))).collect(),
        ColumnData::Int(values) => values.iter().map(|v| Some(v.to_string())).collect(),
        ColumnData::NullableInt(values) => values.iter().map(|v| v.map(|v| v.to_string())).collect(),
        ColumnData::Bool(values) => values.iter().map(|v| Some(truth(*v).into())).collect(),
        ColumnData::NullableBool(values) => values.iter().map(|v| v.map(|v| truth(v).into())).collect(),
        ColumnData::Text(values) => values.iter().map(|v| present(v)).collect(),
        ColumnData::NullableText(values) => values.iter().map(|v| v.as_deref().and_then(present)).collect(),
    }
}

/// How Python writes a float: whole numbers keep their `.0`.
pub(crate) fn number(value: f64) -> String {
    format!("{value:?}")
}

/// How Python writes a boolean.
pub(crate) fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Spellings of a missing label.
fn is_missing(text: &str) -> bool {
    matches!(text.trim(), "" | "nan" | "NaN" | "None" | "<NA>" | "NA")
}
