//! What can be wrong with an input, said so that it can be put right.

use std::path::{Path, PathBuf};

use crate::anndata::AnnDataError;
use crate::store::StoreError;

/// Why an import stopped. Every message names the file or option, what is wrong, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The operating system refused a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The input is not what it was taken for.
    #[error("{}: {what}; {fix}", path.display())]
    Unrecognised {
        /// The input.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What would be right.
        fix: String,
    },
    /// The input is there, but cannot be opened or read as things are.
    #[error("{}: {what}; {fix}", path.display())]
    Unreadable {
        /// The input.
        path: PathBuf,
        /// What stands in the way.
        what: String,
        /// What to do about it.
        fix: String,
    },
    /// The input starts well but is damaged or cut off.
    #[error("{}: truncated or damaged: {what}; copy or download it again", path.display())]
    Truncated {
        /// The input.
        path: PathBuf,
        /// How it was noticed.
        what: String,
    },
    /// One part of the input cannot be read.
    #[error("{}: {item}: {what}", path.display())]
    Item {
        /// The input.
        path: PathBuf,
        /// The part (`obs/day`, `X`, `matrix.mtx` …).
        item: String,
        /// What is wrong with it, and the fix where there is one.
        what: String,
    },
    /// An option names something the input does not have.
    #[error("{option} asks for '{wanted}', which {owner} does not have; it has: {}", list(found))]
    NotFound {
        /// The option.
        option: &'static str,
        /// What was asked for.
        wanted: String,
        /// Where it was looked for.
        owner: String,
        /// What is there.
        found: Vec<String>,
    },
    /// A value does not fit the kind of values asked for.
    #[error(transparent)]
    Value(#[from] Box<BadValue>),
    /// Gene names occur more than once.
    #[error(
        "{input}: {count} gene names occur more than once ({} …); pass --make-unique to number them, or name another column with --gene-key",
        list(examples)
    )]
    DuplicateGenes {
        /// The input.
        input: String,
        /// How many names.
        count: usize,
        /// Some of them.
        examples: Vec<String>,
    },
    /// An option cannot be followed.
    #[error("{option}: {what}; {fix}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        what: String,
        /// What would be right.
        fix: String,
    },
    /// Nothing says which cells are perturbed.
    #[error(
        "{input}: {}, so that no cell is known to be perturbed; {}{}{}",
        missing_labels(asked.as_deref(), columns),
        meant_columns(candidates),
        if *one_of_several { ", of this input alone with FILE:perturbation-key=COLUMN" } else { "" },
        if asked.is_none() || *one_of_several { ", or pass --unlabelled to take all its cells for controls" } else { "" }
    )]
    NoLabels {
        /// The input.
        input: String,
        /// The column asked for, if one was.
        asked: Option<String>,
        /// The columns there are, where one was asked for.
        columns: Vec<String>,
        /// Columns that could be meant, with some of their values.
        candidates: Vec<String>,
        /// Whether there are other inputs.
        one_of_several: bool,
    },
    /// No perturbed cell is left.
    #[error("nothing can be trained on: {why}; {fix}, or pass --unlabelled to import control cells alone")]
    NothingToTrain {
        /// How it came so.
        why: String,
        /// What would be right.
        fix: String,
    },
    /// No cell is labelled as control.
    #[error(
        "{}; labels found, most frequent first: {}; name the control with --control LABEL",
        wanted_controls(wanted),
        list(found)
    )]
    NoControl {
        /// The control labels asked for, if any.
        wanted: Vec<String>,
        /// The most frequent labels, with their number of cells.
        found: Vec<String>,
    },
    /// Cells have no perturbation label.
    #[error(
        "{input}: {count} cells have no label in column '{column}' (the first is '{cell}'); pass --drop-unlabelled to leave them out"
    )]
    Unlabelled {
        /// The input.
        input: String,
        /// The label column.
        column: String,
        /// How many cells.
        count: usize,
        /// The first of them.
        cell: String,
    },
    /// Quality control would leave almost nothing.
    #[error(
        "quality control would drop {dropped} of {initial} {what}, most of them by the rule '{rule}'; if that is meant, relax it with {option}"
    )]
    DropsAlmostAll {
        /// Cells or genes.
        what: &'static str,
        /// How many would go.
        dropped: usize,
        /// Of how many.
        initial: usize,
        /// The rule that drops most.
        rule: String,
        /// The option that sets it.
        option: &'static str,
    },
    /// The inputs do not fit together.
    #[error("the inputs cannot be joined: {what}; {fix}")]
    Mismatch {
        /// How they differ.
        what: String,
        /// What would be right.
        fix: String,
    },
    /// An AnnData zarr cannot be read.
    #[error(transparent)]
    AnnData(#[from] AnnDataError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A value that does not fit, and where it is.
#[derive(Debug, thiserror::Error)]
#[error("{input}: {matrix}: cell '{cell}' (row {row}), gene '{gene}' holds {value}: {problem}; {fix}")]
pub struct BadValue {
    /// The input.
    pub input: String,
    /// The matrix.
    pub matrix: String,
    /// Name of the cell.
    pub cell: String,
    /// Row of the cell.
    pub row: usize,
    /// Name of the gene.
    pub gene: String,
    /// The value.
    pub value: f32,
    /// Why it is wrong.
    pub problem: &'static str,
    /// What would be right.
    pub fix: &'static str,
}

impl IngestError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    pub(crate) fn item(path: &Path, item: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Item { path: path.into(), item: item.into(), what: what.into() }
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "nothing".into() } else { items.join(", ") }
}

fn missing_labels(asked: Option<&str>, columns: &[String]) -> String {
    match asked {
        Some(column) => format!("obs has no column '{column}' (it has {})", list(columns)),
        None => "no column of perturbation labels was found".into(),
    }
}

fn meant_columns(candidates: &[String]) -> String {
    if candidates.is_empty() {
        return "no column of obs looks like labels; name one with --perturbation-key".into();
    }
    format!("{} could be meant; name the column with --perturbation-key", candidates.join("; "))
}

fn wanted_controls(wanted: &[String]) -> String {
    if wanted.is_empty() {
        "no label is a known control word".into()
    } else {
        format!("no cell is labelled {}", wanted.join(" or "))
    }
}
