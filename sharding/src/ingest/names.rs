//! Names that the import chooses: none that a store cannot hold, none twice.
//!
//! Guarantee: after [`settle`] every column of a table has a name of its own that a store can hold, and a name that the
//! import itself wants to write is free. Names that can stay, stay; every other change is told.

use std::collections::HashSet;

use crate::frame::Frame;

/// Renames columns: those called as one of `ours`, those that a store cannot hold (it keeps a column as a folder), and
/// repeated ones.
pub(super) fn settle(frame: &mut Frame, ours: &[&str], table: &str, notices: &mut Vec<String>) {
    let mut taken: HashSet<String> = frame.columns.iter().map(|column| column.name.clone()).collect();
    taken.extend(ours.iter().map(|&name| name.to_owned()));
    let mut seen = HashSet::new();
    for column in &mut frame.columns {
        let wanted = if ours.contains(&column.name.as_str()) {
            format!("source_{}", column.name)
        } else if !is_storable(&column.name) {
            storable(&column.name)
        } else if seen.contains(&column.name) {
            column.name.clone()
        } else {
            seen.insert(column.name.clone());
            continue;
        };
        let name = free(&wanted, &taken);
        notices.push(format!("{table}: column '{}' is kept as '{name}'", column.name));
        taken.insert(name.clone());
        seen.insert(name.clone());
        column.name = name;
    }
}

/// The name, or the first of `NAME_2`, `NAME_3`, … that is not taken.
pub(super) fn free(name: &str, taken: &HashSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default()
}

/// Whether a column or matrix of that name can lie in a store.
pub(super) fn is_storable(name: &str) -> bool {
    !(name.is_empty() || name == "_index" || name.contains('/') || name.starts_with("__") || name.starts_with('.'))
}

/// The nearest name that a store can hold.
pub(super) fn storable(name: &str) -> String {
    let name = name.replace('/', "_");
    let bare = name.trim_start_matches(['.', '_']);
    match bare {
        "" => "unnamed".into(),
        _ if is_storable(&name) => name,
        _ => bare.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Column, ColumnData};

    #[test]
    fn names_never_collide_whatever_the_file_calls_its_columns() {
        let names = [
            "pct_mt",
            "source_pct_mt",
            "source_pct_mt_2",
            "pct/mt",
            "pct_mt_2",
            "a/b",
            "a_b",
            "__x",
            "",
            "_index",
            "k",
            "k",
            ".k",
            "source_row",
        ];
        let column =
            |(at, name): (usize, &&str)| Column { name: (*name).into(), data: ColumnData::Int(vec![at as i64]) };
        let mut frame = Frame { index: vec!["c".into()], columns: names.iter().enumerate().map(column).collect() };
        let mut notices = Vec::new();
        settle(&mut frame, &["pct_mt"], "obs", &mut notices);
        let after: Vec<&str> = frame.columns.iter().map(|column| column.name.as_str()).collect();
        let want = [
            "source_pct_mt_3",
            "source_pct_mt",
            "source_pct_mt_2",
            "pct_mt_3",
            "pct_mt_2",
            "a_b_2",
            "a_b",
            "x",
            "unnamed",
            "index",
            "k",
            "k_2",
            "k_3",
            "source_row",
        ];
        assert_eq!(after, want);
        assert!(frame.columns.iter().enumerate().all(|(at, column)| column.data == ColumnData::Int(vec![at as i64])));
        assert_eq!(notices.len(), 8, "{notices:?}");
        assert!(notices.contains(&"obs: column 'pct/mt' is kept as 'pct_mt_3'".to_owned()), "{notices:?}");
    }
}
