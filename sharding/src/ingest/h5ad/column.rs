//! Columns of tables, in whatever encoding they were.

use super::values::{self, Held};
use crate::frame::{self, Column, ColumnData, LeftOut, Table};

/// A table of the columns that can be read.
pub(super) fn collect(
    name: &str,
    index: Vec<String>,
    columns: impl IntoIterator<Item = String>,
    read: impl Fn(&str, &mut Notes) -> Result<ColumnData, String>,
) -> Table {
    let mut table = Table::default();
    for column in columns {
        let mut notes = Notes { column: format!("{name}/{column}"), said: Vec::new() };
        let data = read(&column, &mut notes).and_then(|data| match data.len() {
            rows if rows == index.len() => Ok(data),
            rows => Err(format!("has {rows} values for {} rows", index.len())),
        });
        match data {
            Ok(data) => {
                table.frame.columns.push(Column { name: column, data });
                table.notes.append(&mut notes.said);
            }
            Err(why) => table.left_out.push(LeftOut { column, why }),
        }
    }
    table.frame.index = index;
    table
}

/// What there is to say of a column.
pub(super) struct Notes {
    pub(super) column: String,
    pub(super) said: Vec<String>,
}

/// A column of codes and categories.
pub(super) fn categorical(
    codes: &impl Held,
    categories: Vec<String>,
    ordered: bool,
    notes: &mut Notes,
) -> Result<ColumnData, String> {
    let (stored, missing) = values::read_codes(codes)?;
    let (codes, odd) = frame::codes(&stored, categories.len(), missing)?;
    if odd > 0 {
        notes.said.push(frame::odd_codes(&notes.column, odd));
    }
    Ok(ColumnData::Categorical { codes, categories, ordered })
}
