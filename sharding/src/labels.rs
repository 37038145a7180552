//! What is known of every cell: perturbation, context, batch, kind of perturbation.
//!
//! Guarantee: the perturbation at index 0 is always the control (no targets); names are canonical
//! (sorted target genes joined by `+`), so one condition has one spelling.

use serde::{Deserialize, Serialize};

/// Name of the control perturbation in every store.
pub const CONTROL: &str = "control";

/// One condition: a set of target genes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Perturbation {
    /// Canonical name: sorted targets joined by `+`, or [`CONTROL`].
    pub name: String,
    /// Sorted target genes; empty for the control.
    pub targets: Vec<String>,
}

impl Perturbation {
    /// The control: no targets.
    pub fn control() -> Self {
        Self { name: CONTROL.into(), targets: Vec::new() }
    }

    /// The perturbation of a set of genes, in any order; an empty set is the control.
    pub fn of(targets: impl IntoIterator<Item = String>) -> Self {
        let mut targets: Vec<String> = targets.into_iter().collect();
        targets.sort();
        targets.dedup();
        if targets.is_empty() {
            return Self::control();
        }
        Self { name: targets.join("+"), targets }
    }

    /// Whether this is the control.
    pub fn is_control(&self) -> bool {
        self.targets.is_empty()
    }
}

/// Labels of all cells of a store, coded: `perturbations[perturbation[cell]]` and so on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Distinct perturbations; index 0 is the control, the rest sorted by name.
    pub perturbations: Vec<Perturbation>,
    /// Perturbation of every cell.
    pub perturbation: Vec<u32>,
    /// Distinct contexts (cell line, cell type, patient …); one named `all` where the data has none.
    pub contexts: Vec<String>,
    /// Context of every cell.
    pub context: Vec<u32>,
    /// Distinct batches; one named `all` where the data has none.
    pub batches: Vec<String>,
    /// Batch of every cell.
    pub batch: Vec<u32>,
    /// Distinct kinds of perturbation as the data names them (`CRISPRa`, `CRISPRi`, `drug` …), or `unknown`.
    pub kinds: Vec<String>,
    /// Kind of every cell.
    pub kind: Vec<u32>,
}

impl Labels {
    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.perturbation.len()
    }

    /// Whether a cell is a control.
    pub fn is_control(&self, cell: usize) -> bool {
        self.perturbation[cell] == 0
    }

    /// Index of a perturbation by its canonical name.
    pub fn perturbation_index(&self, name: &str) -> Option<u32> {
        self.perturbations.iter().position(|p| p.name == name).map(|at| at as u32)
    }
}
