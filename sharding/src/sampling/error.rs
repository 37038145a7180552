//! What can be wrong with a plan by label.

use thiserror::Error;

/// Why cells cannot be drawn by label.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SamplingError {
    /// No cell is perturbed.
    #[error("sampling: none of the {cells} cells is perturbed; check the split, or the labels given at import")]
    NoPerturbed {
        /// Cells there are.
        cells: usize,
    },
    /// Perturbed cells without any control to compare them with.
    #[error(
        "sampling: context `{context}` has {cells} perturbed cells but no control cell in the fold; \
         check the control label given at import, import control cells of `{context}`, or leave the context out"
    )]
    NoControl {
        /// The context without controls.
        context: String,
        /// Perturbed cells of the fold in it.
        cells: usize,
    },
    /// A row that the labels do not have.
    #[error("sampling: row {row} is not one of the {cells} labelled cells")]
    Row {
        /// The row.
        row: u64,
        /// Cells with labels.
        cells: usize,
    },
    /// A size that has to be positive is 0.
    #[error("sampling: `{setting}` is 0; it has to be at least 1")]
    Zero {
        /// Name of the setting.
        setting: &'static str,
    },
    /// The ranks cannot share a batch evenly.
    #[error("sampling: rank {rank} of {world} has no equal part of {count}; take a number of ranks that divides it")]
    Ranks {
        /// Cells or bags of a batch.
        count: usize,
        /// The rank.
        rank: usize,
        /// Number of ranks.
        world: usize,
    },
}
