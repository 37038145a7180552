//! Tables cut to some rows, laid end to end, and read as labels.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::error::IngestError;
use crate::frame::{Column, ColumnData, Frame, LeftOut, Table};
use crate::text::as_text;

/// A table of numbers as a dense matrix.
pub(crate) fn dense(table: &Table) -> Result<(usize, Vec<f32>), String> {
    if let Some(LeftOut { column, why }) = table.left_out.first() {
        return Err(format!("its column '{column}' {why}"));
    }
    let frame = &table.frame;
    let n_cols = frame.columns.len();
    let mut dense = vec![0.0; frame.index.len() * n_cols];
    for (at, column) in frame.columns.iter().enumerate() {
        let values: Vec<f32> = match &column.data {
            ColumnData::Float(values) => values.iter().map(|&v| v as f32).collect(),
            ColumnData::Int(values) => values.iter().map(|&v| v as f32).collect(),
            _ => return Err(format!("column '{}' is not numeric", column.name)),
        };
        for (row, value) in values.into_iter().enumerate() {
            dense[row * n_cols + at] = value;
        }
    }
    Ok((n_cols, dense))
}

/// Some rows of a table, in the order given; categories that no row uses are dropped, as AnnData does.
pub(crate) fn take(frame: &Frame, rows: &[usize]) -> Frame {
    Frame {
        index: pick(&frame.index, rows),
        columns: frame
            .columns
            .iter()
            .map(|column| Column { name: column.name.clone(), data: take_data(&column.data, rows) })
            .collect(),
    }
}

fn take_data(data: &ColumnData, rows: &[usize]) -> ColumnData {
    match data {
        ColumnData::Categorical { codes, categories, ordered } => {
            let picked = pick(codes, rows);
            let used: HashSet<i32> = picked.iter().copied().collect();
            let kept: Vec<usize> = (0..categories.len()).filter(|&c| used.contains(&(c as i32))).collect();
            let recoded: HashMap<i32, i32> =
                kept.iter().enumerate().map(|(new, &old)| (old as i32, new as i32)).collect();
            ColumnData::Categorical {
                codes: picked.iter().map(|code| recoded.get(code).copied().unwrap_or(-1)).collect(),
                categories: pick(categories, &kept),
                ordered: *ordered,
            }
        }
        ColumnData::Float(values) => ColumnData::Float(pick(values, rows)),
        ColumnData::Int(values) => ColumnData::Int(pick(values, rows)),
        ColumnData::NullableInt(values) => ColumnData::NullableInt(pick(values, rows)),
        ColumnData::Bool(values) => ColumnData::Bool(pick(values, rows)),
        ColumnData::NullableBool(values) => ColumnData::NullableBool(pick(values, rows)),
        ColumnData::Text(values) => ColumnData::Text(pick(values, rows)),
        ColumnData::NullableText(values) => ColumnData::NullableText(pick(values, rows)),
    }
}

fn pick<T: Clone>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().map(|&row| values[row].clone()).collect()
}

/// Tables laid end to end. Columns are united by name; where a table lacks one its cells are missing,
/// and where types differ the values become text.
pub(crate) fn concat(frames: Vec<Frame>) -> Frame {
    if frames.len() == 1 {
        return frames.into_iter().next().unwrap_or_default();
    }
    let mut names: Vec<String> = Vec::new();
    for column in frames.iter().flat_map(|frame| &frame.columns) {
        if !names.contains(&column.name) {
            names.push(column.name.clone());
        }
    }
    let columns = names.into_iter().map(|name| Column { data: concat_column(&frames, &name), name }).collect();
    Frame { index: frames.into_iter().flat_map(|frame| frame.index).collect(), columns }
}

fn concat_column(frames: &[Frame], name: &str) -> ColumnData {
    let parts: Vec<(Option<&ColumnData>, usize)> = frames.iter().map(|f| (f.column(name), f.index.len())).collect();
    if let Some(floats) = join(&parts, f64::NAN, |data| match data {
        ColumnData::Float(values) => Some(values.clone()),
        _ => None,
    }) {
        return ColumnData::Float(floats);
    }
    let ints = join(&parts, None, |data| match data {
        ColumnData::Int(values) => Some(values.iter().copied().map(Some).collect()),
        ColumnData::NullableInt(values) => Some(values.clone()),
        _ => None,
    });
    if let Some(ints) = ints {
        return match ints.iter().copied().collect() {
            Some(whole) => ColumnData::Int(whole),
            None => ColumnData::NullableInt(ints),
        };
    }
    let flags = join(&parts, None, |data| match data {
        ColumnData::Bool(values) => Some(values.iter().copied().map(Some).collect()),
        ColumnData::NullableBool(values) => Some(values.clone()),
        _ => None,
    });
    if let Some(flags) = flags {
        return match flags.iter().copied().collect() {
            Some(whole) => ColumnData::Bool(whole),
            None => ColumnData::NullableBool(flags),
        };
    }
    let text = join(&parts, None, |data| Some(as_text(data))).unwrap_or_default();
    let plain = parts.iter().all(|(data, _)| matches!(data, Some(ColumnData::Text(_) | ColumnData::NullableText(_))));
    if plain { ColumnData::NullableText(text) } else { categorical(&text) }
}

fn join<T: Clone>(
    parts: &[(Option<&ColumnData>, usize)],
    missing: T,
    values: impl Fn(&ColumnData) -> Option<Vec<T>>,
) -> Option<Vec<T>> {
    let mut all = Vec::new();
    for (data, rows) in parts {
        match data {
            Some(data) => all.extend(values(data)?),
            None => all.extend(std::iter::repeat_n(missing.clone(), *rows)),
        }
    }
    Some(all)
}

/// A categorical of text with sorted categories.
pub(crate) fn categorical(values: &[Option<String>]) -> ColumnData {
    let mut categories: Vec<String> = values.iter().flatten().cloned().collect::<HashSet<_>>().into_iter().collect();
    categories.sort();
    let codes_of: HashMap<&str, i32> =
        categories.iter().enumerate().map(|(c, name)| (name.as_str(), c as i32)).collect();
    let codes = values.iter().map(|v| v.as_deref().and_then(|v| codes_of.get(v).copied()).unwrap_or(-1)).collect();
    ColumnData::Categorical { codes, categories, ordered: false }
}

/// The table, with notes on what it lacks. A column that is asked for must be there: `asked` pairs names with options.
pub(crate) fn told(
    table: Table,
    place: &str,
    input: &Path,
    asked: &[(&str, Option<&str>)],
    notices: &mut Vec<String>,
) -> Result<Frame, IngestError> {
    let input_name = input.display();
    for LeftOut { column, why } in table.left_out {
        if let Some((option, _)) = asked.iter().find(|(_, asked)| *asked == Some(column.as_str())) {
            let what = format!("{why}; {option} asks for this column: name another, or mend it");
            return Err(IngestError::item(input, format!("{place}/{column}"), what));
        }
        notices.push(format!("{input_name}: {place}/{column} is left out: {why}"));
    }
    notices.extend(table.notes.into_iter().map(|note| format!("{input_name}: {note}")));
    Ok(table.frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(index: &[&str], name: &str, data: ColumnData) -> Frame {
        Frame { index: index.iter().map(|&i| i.into()).collect(), columns: vec![Column { name: name.into(), data }] }
    }

    #[test]
    fn taking_rows_drops_unused_categories_and_keeps_the_order_of_the_rest() {
        let data = ColumnData::Categorical {
            codes: vec![2, 0, -1, 2],
            categories: vec!["a".into(), "b".into(), "c".into()],
            ordered: true,
        };
        let cut = take(&frame(&["r0", "r1", "r2", "r3"], "x", data), &[3, 2]);
        assert_eq!(cut.index, ["r3", "r2"]);
        let want = ColumnData::Categorical { codes: vec![0, -1], categories: vec!["c".into()], ordered: true };
        assert_eq!(cut.columns[0].data, want);
    }

    #[test]
    fn joined_tables_keep_types_where_they_agree_and_mark_what_is_missing() {
        let joined = concat(vec![
            frame(&["a"], "n", ColumnData::Int(vec![1])),
            frame(&["b"], "n", ColumnData::Int(vec![2])),
            frame(&["c"], "m", ColumnData::Float(vec![0.5])),
        ]);
        assert_eq!(joined.index, ["a", "b", "c"]);
        assert_eq!(joined.column("n"), Some(&ColumnData::NullableInt(vec![Some(1), Some(2), None])));
        assert!(matches!(joined.column("m"), Some(ColumnData::Float(v)) if v[0].is_nan() && v[2] > 0.4));
        let mixed = concat(vec![
            frame(&["a"], "x", ColumnData::Int(vec![1])),
            frame(&["b"], "x", categorical(&[Some("k".into())])),
        ]);
        assert_eq!(as_text(&mixed.columns[0].data), [Some("1".into()), Some("k".into())]);
    }
}
