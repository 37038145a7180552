//! Finds the label columns of a cell table and says which ones it took.

use super::error::IngestError;
use super::tables::as_text;
use crate::frame::Frame;
use crate::labels::Perturbation;

const PERTURBATION: &[&str] = &[
    "perturbation",
    "perturbation_name",
    "condition",
    "target",
    "target_gene",
    "gene",
    "guide_id",
    "guide_identity",
    "guide_ids",
    "grna_id",
    "sgRNA",
];
const CONTEXT: &[&str] = &["cell_line", "cell_type", "celltype", "patient_id", "donor_id", "donor"];
const BATCH: &[&str] = &["batch", "gem_group", "replicate", "sample"];
const KIND: &[&str] = &["perturbation_type"];

/// What stands for a context, batch or kind that the data does not name.
pub(super) const ALL: &str = "all";
/// What stands for a missing context, batch or kind of single cells.
const UNKNOWN: &str = "unknown";

/// Label columns asked for by name; the others are looked for.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Column of the perturbation.
    pub perturbation: Option<String>,
    /// Column of the context (cell line, cell type, patient).
    pub context: Option<String>,
    /// Column of the batch.
    pub batch: Option<String>,
}

/// Labels of the cells of one input, as spelled there.
pub(super) struct RawLabels {
    /// `None` where the cell has no label; all `None` and no column where the data names no perturbation.
    pub(super) perturbation: Vec<Option<String>>,
    pub(super) context: Vec<String>,
    pub(super) batch: Vec<String>,
    pub(super) kind: Vec<String>,
    /// Perturbations whose targets are on record, so that their labels need no reading.
    pub(super) known: Vec<Perturbation>,
    pub(super) columns: TakenColumns,
}

/// Columns that labels were taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TakenColumns {
    /// Column of the perturbation; none when every cell counts as control.
    pub perturbation: Option<String>,
    /// Column of the context.
    pub context: Option<String>,
    /// Column of the batch.
    pub batch: Option<String>,
    /// Column of the kind of perturbation, or the value of `--kind`.
    pub kind: Option<String>,
}

/// Takes the labels from a table of cells; notices say which columns were found rather than asked for.
pub(super) fn take(
    input: &str,
    obs: &Frame,
    keys: &Keys,
    kind: Option<&str>,
    notices: &mut Vec<String>,
) -> Result<RawLabels, IngestError> {
    let mut choose =
        |what: &str, option, asked: &Option<String>, probes: &[&str]| -> Result<Option<String>, IngestError> {
            if let Some(name) = asked {
                return match obs.column(name) {
                    Some(_) => Ok(asked.clone()),
                    None => Err(IngestError::NotFound {
                        option,
                        wanted: name.clone(),
                        owner: format!("obs of {input}"),
                        found: obs.columns.iter().map(|c| c.name.clone()).collect(),
                    }),
                };
            }
            let found = probes.iter().find(|name| obs.column(name).is_some()).map(|&name| name.to_owned());
            notices.push(match &found {
                Some(name) => format!("{input}: {what} taken from column '{name}' ({option} chooses another)"),
                None => format!("{input}: no {what} column found, {} ({option} names one)", without(what)),
            });
            Ok(found)
        };
    let columns = TakenColumns {
        perturbation: choose("perturbation", "--perturbation-key", &keys.perturbation, PERTURBATION)?,
        context: choose("context", "--context-key", &keys.context, CONTEXT)?,
        batch: choose("batch", "--batch-key", &keys.batch, BATCH)?,
        kind: match kind {
            Some(kind) => Some(kind.to_owned()),
            None => choose("kind", "--kind", &None, KIND)?,
        },
    };
    let text = |name: &Option<String>| name.as_ref().and_then(|name| obs.column(name)).map(as_text);
    let or_all = |name: &Option<String>, all: &str| match text(name) {
        Some(values) => values.into_iter().map(|v| v.unwrap_or_else(|| UNKNOWN.into())).collect(),
        None => vec![all.to_owned(); obs.index.len()],
    };
    Ok(RawLabels {
        perturbation: text(&columns.perturbation).unwrap_or_else(|| vec![None; obs.index.len()]),
        context: or_all(&columns.context, ALL),
        batch: or_all(&columns.batch, ALL),
        kind: match kind {
            Some(kind) => vec![kind.to_owned(); obs.index.len()],
            None => or_all(&columns.kind, UNKNOWN),
        },
        known: Vec::new(),
        columns,
    })
}

fn without(what: &str) -> &'static str {
    match what {
        "perturbation" => "every cell counts as control",
        "kind" => "it is 'unknown'",
        _ => "it is 'all'",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tables::categorical;
    use super::*;
    use crate::frame::Column;

    fn obs(columns: &[(&str, &[Option<&str>])]) -> Frame {
        let column = |(name, values): &(&str, &[Option<&str>])| Column {
            name: (*name).into(),
            data: categorical(&values.iter().map(|v| v.map(Into::into)).collect::<Vec<_>>()),
        };
        Frame { index: vec!["a".into(), "b".into()], columns: columns.iter().map(column).collect() }
    }

    #[test]
    fn columns_are_found_in_order_and_told() {
        let obs = obs(&[
            ("guide_id", &[Some("A_1"), Some("NT_1")]),
            ("condition", &[Some("A"), None]),
            ("cell_type", &[Some("T"), None]),
        ]);
        let mut notices = Vec::new();
        let raw = take("in", &obs, &Keys::default(), Some("CRISPRi"), &mut notices).unwrap();
        assert_eq!(raw.columns.perturbation.as_deref(), Some("condition"));
        assert_eq!(raw.perturbation, [Some("A".into()), None]);
        assert_eq!(raw.context, ["T", "unknown"]);
        assert_eq!((raw.batch[0].as_str(), raw.kind[1].as_str()), ("all", "CRISPRi"));
        assert_eq!(notices.len(), 3);
        assert!(notices[0].contains("'condition'") && notices[2].contains("--batch-key"));
    }

    #[test]
    fn a_column_that_is_asked_for_and_absent_is_an_error_with_the_columns_there_are() {
        let keys = Keys { batch: Some("gem".into()), ..Keys::default() };
        let obs = obs(&[("condition", &[None, None])]);
        let message = take("in", &obs, &keys, None, &mut Vec::new()).err().unwrap().to_string();
        assert!(
            message.contains("--batch-key") && message.contains("'gem'") && message.contains("condition"),
            "{message}"
        );
    }
}
