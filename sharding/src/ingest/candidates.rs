//! Columns that could hold the perturbation labels, for inputs in which none was found.

use std::collections::BTreeMap;

use super::labels::LabelParser;
use crate::frame::{Column, Frame};
use crate::near;
use crate::text::as_text;

/// Columns named, at most.
const MOST: usize = 6;
/// Values shown of a column.
const SHOWN: usize = 3;
/// Words in the names of columns that hold labels.
const HINTS: [&str; 12] = [
    "perturb",
    "guide",
    "grna",
    "target",
    "condition",
    "treat",
    "drug",
    "compound",
    "stim",
    "knock",
    "crispr",
    "label",
];

/// The columns that could be meant, best first, each with some of its values. `asked` is a name that is not there.
pub(super) fn candidates(obs: &Frame, genes: &[String], asked: Option<&str>) -> Vec<String> {
    let parser = LabelParser::new(&[], false).with_genes(genes);
    let mut scored: Vec<(f64, &Column, BTreeMap<String, usize>)> = obs
        .columns
        .iter()
        .map(|column| (column, counts(column)))
        .filter_map(|(column, counts)| {
            let score = likelihood(column, &counts, obs.index.len(), &parser, asked);
            (score > 0.0).then_some((score, column, counts))
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(MOST).map(|(_, column, counts)| described(column, &counts)).collect()
}

fn counts(column: &Column) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in as_text(&column.data).into_iter().flatten() {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

/// How likely a column holds labels: by its values (control words, measured genes) and by its name.
fn likelihood(
    column: &Column,
    counts: &BTreeMap<String, usize>,
    cells: usize,
    parser: &LabelParser,
    asked: Option<&str>,
) -> f64 {
    let name = column.name.to_lowercase();
    let alike = asked.map_or(0.0, |asked| near::likeness(asked, &column.name));
    let hinted = HINTS.iter().any(|hint| name.contains(hint));
    // What every cell has for itself is a name; what all have alike tells no cell from another.
    let groups = counts.len() > 1
        && 2 * counts.len() <= cells.max(4)
        && counts.keys().any(|value| value.parse::<f64>().is_err());
    let has_control = counts.keys().any(|value| parser.parse(value).is_control());
    let genes = counts.keys().filter(|value| parser.names_genes(value)).count();
    let share = genes as f64 / counts.len().max(1) as f64;
    let by_values = if groups { 3.0 * f64::from(u8::from(has_control)) + 3.0 * share } else { 0.0 };
    let by_name = f64::from(u8::from(hinted && counts.len() > 1)) + if alike >= 0.5 { 6.0 * alike } else { 0.0 };
    // A column of few words may name treatments that nobody here has heard of.
    by_values + by_name + if groups { 0.1 } else { 0.0 }
}

fn described(column: &Column, counts: &BTreeMap<String, usize>) -> String {
    let mut by_count: Vec<(&String, &usize)> = counts.iter().collect();
    by_count.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let shown: Vec<String> = by_count.iter().take(SHOWN).map(|(value, cells)| format!("{value} ({cells})")).collect();
    let more = if counts.len() > SHOWN { " …" } else { "" };
    format!("'{}' with {}{more}", column.name, shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::tables::categorical;
    use super::*;
    use crate::frame::ColumnData;

    #[test]
    fn columns_that_look_like_labels_come_first_and_names_and_numbers_not_at_all() {
        let cells = 40;
        let text = |name: &str, value: &dyn Fn(usize) -> String| Column {
            name: name.into(),
            data: categorical(&(0..cells).map(|cell| Some(value(cell))).collect::<Vec<_>>()),
        };
        let obs = Frame {
            index: (0..cells).map(|cell| format!("c{cell}")).collect(),
            columns: vec![
                text("barcode", &|cell| format!("B{cell}")),
                text("lane", &|cell| format!("lane{}", cell % 2)),
                Column {
                    name: "n_counts".into(),
                    data: ColumnData::Int((0..cells as i64).map(|cell| cell % 5).collect()),
                },
                text("stim", &|cell| ["ctrl", "IFNb"][cell % 2].into()),
                text("gRNA_call", &|cell| ["GENE1", "GENE2+GENE1", "GENE2"][cell % 3].into()),
            ],
        };
        let found = candidates(&obs, &["GENE1".into(), "GENE2".into()], None);
        assert_eq!(found[0], "'stim' with IFNb (20), ctrl (20)");
        assert_eq!(found[1], "'gRNA_call' with GENE1 (14), GENE2 (13), GENE2+GENE1 (13)");
        assert_eq!(found.len(), 3, "{found:?}");
        let found = candidates(&obs, &[], Some("Lanes"));
        assert!(found[0].starts_with("'lane'"), "{found:?}");
    }
}
