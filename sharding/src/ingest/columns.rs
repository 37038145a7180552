//! Finds the label columns of a cell table and says which ones it took.

use super::candidates::candidates;
use super::error::IngestError;
use crate::frame::Frame;
use crate::labels::Perturbation;
use crate::near;
use crate::text::as_text;

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

/// Column of the percentage of mitochondrial counts.
pub(super) const PCT_MT: &str = "pct_mt";
/// Column of the number that a cell of a shuffled store had among all cells of the inputs.
pub(super) const SOURCE_ROW: &str = "source_row";
/// What stands for a context, batch or kind that the data does not name.
pub(super) const ALL: &str = "all";
/// What stands for a missing context, batch or kind of single cells.
const UNKNOWN: &str = "unknown";

/// Label columns asked for by name; the others are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Column of the perturbation.
    pub perturbation: Option<String>,
    /// Column of the context (cell line, cell type, patient).
    pub context: Option<String>,
    /// Column of the batch.
    pub batch: Option<String>,
}

/// What is said of one input alone; the rest is as said of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// Label columns.
    pub keys: Keys,
    /// Kind of perturbation of all its cells.
    pub kind: Option<String>,
    /// Whether all its cells are controls if it has no labels.
    pub unlabelled: bool,
}

/// One input's table of cells, and what was said of its labels.
pub(super) struct Labelling<'a> {
    /// Its name.
    pub(super) input: &'a str,
    pub(super) obs: &'a Frame,
    pub(super) genes: &'a [String],
    /// What holds for this input.
    pub(super) options: InputOptions,
    /// Whether there are others.
    pub(super) one_of_several: bool,
}

impl InputOptions {
    /// What holds for an input, of which `own` is said alone.
    pub(super) fn with_own(self, own: Option<&Self>) -> Self {
        let Some(own) = own.cloned() else { return self };
        Self {
            keys: Keys {
                perturbation: own.keys.perturbation.or(self.keys.perturbation),
                context: own.keys.context.or(self.keys.context),
                batch: own.keys.batch.or(self.keys.batch),
            },
            kind: own.kind.or(self.kind),
            unlabelled: own.unlabelled || self.unlabelled,
        }
    }
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
pub(super) fn take(from: &Labelling<'_>, notices: &mut Vec<String>) -> Result<RawLabels, IngestError> {
    let Labelling { input, obs, options, .. } = from;
    let (keys, kind) = (&options.keys, options.kind.as_deref());
    let perturbation = perturbation_column(from, notices)?;
    let mut choose =
        |what: &str, option, asked: &Option<String>, probes: &[&str]| -> Result<Option<String>, IngestError> {
            if let Some(name) = asked {
                return match obs.column(name) {
                    Some(_) => Ok(asked.clone()),
                    None => Err(IngestError::NotFound {
                        option,
                        wanted: name.clone(),
                        owner: format!("obs of {input}"),
                        found: columns_like(obs, name),
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
        perturbation,
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

/// The column of the perturbations. Where there is none, the cells are controls if that was said, or nothing is.
fn perturbation_column(from: &Labelling<'_>, notices: &mut Vec<String>) -> Result<Option<String>, IngestError> {
    let Labelling { input, obs, options, one_of_several, .. } = from;
    let asked = &options.keys.perturbation;
    let found = match asked {
        Some(name) => Some(name.as_str()).filter(|name| obs.column(name).is_some()),
        None => PERTURBATION.iter().copied().find(|name| obs.column(name).is_some()),
    };
    if let Some(name) = found {
        if asked.is_none() {
            notices
                .push(format!("{input}: perturbation taken from column '{name}' (--perturbation-key chooses another)"));
        }
        return Ok(Some(name.to_owned()));
    }
    // A name that was meant for another input is no mistake in this one.
    if options.unlabelled && (asked.is_none() || *one_of_several) {
        notices.push(format!("{input}: no perturbation column, every cell counts as control (--unlabelled)"));
        return Ok(None);
    }
    Err(IngestError::NoLabels {
        input: (*input).to_owned(),
        asked: asked.clone(),
        columns: asked.as_ref().map(|asked| columns_like(obs, asked)).unwrap_or_default(),
        candidates: candidates(obs, from.genes, asked.as_deref()),
        one_of_several: *one_of_several,
    })
}

/// The columns there are, those most like a name first.
fn columns_like(obs: &Frame, name: &str) -> Vec<String> {
    let names = obs.columns.iter().map(|column| column.name.as_str());
    near::by_likeness(name, names).into_iter().map(Into::into).collect()
}

fn without(what: &str) -> &'static str {
    match what {
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

    fn labelling(obs: &Frame, options: InputOptions) -> Labelling<'_> {
        Labelling { input: "in", obs, genes: &[], options, one_of_several: false }
    }

    #[test]
    fn columns_are_found_in_order_and_told() {
        let obs = obs(&[
            ("guide_id", &[Some("A_1"), Some("NT_1")]),
            ("condition", &[Some("A"), None]),
            ("cell_type", &[Some("T"), None]),
        ]);
        let mut notices = Vec::new();
        let options = InputOptions { kind: Some("CRISPRi".into()), ..InputOptions::default() };
        let raw = take(&labelling(&obs, options), &mut notices).unwrap();
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
        let options = InputOptions { keys, ..InputOptions::default() };
        let message = take(&labelling(&obs, options), &mut Vec::new()).err().unwrap().to_string();
        assert!(
            message.contains("--batch-key") && message.contains("'gem'") && message.contains("condition"),
            "{message}"
        );
    }

    #[test]
    fn an_input_without_labels_is_refused_with_the_columns_that_could_be_meant_unless_that_is_wanted() {
        let obs = obs(&[("stim", &[Some("ctrl"), Some("IFNb")]), ("donors", &[Some("1"), Some("1")])]);
        let refused =
            |options: InputOptions| take(&labelling(&obs, options), &mut Vec::new()).err().unwrap().to_string();
        let message = refused(InputOptions::default());
        for part in ["in: no column of perturbation labels", "'stim' with IFNb (1), ctrl (1)", "--unlabelled"] {
            assert!(message.contains(part), "{message}");
        }
        let asked = |name: &str, unlabelled| InputOptions {
            keys: Keys { perturbation: Some(name.into()), ..Keys::default() },
            unlabelled,
            ..InputOptions::default()
        };
        let message = refused(asked("sitm", true));
        assert!(message.contains("obs has no column 'sitm'") && message.contains("it has stim, donors"), "{message}");

        let mut notices = Vec::new();
        let options = InputOptions { unlabelled: true, ..InputOptions::default() };
        let raw = take(&labelling(&obs, options), &mut notices).unwrap();
        assert_eq!((raw.columns.perturbation, raw.perturbation), (None, vec![None, None]));
        assert!(notices[0].contains("every cell counts as control"), "{notices:?}");
        let of_several = Labelling { one_of_several: true, ..labelling(&obs, asked("guide", true)) };
        assert!(take(&of_several, &mut Vec::new()).is_ok());
    }
}
