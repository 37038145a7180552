//! What is kept of the cells of a fold: means of the training conditions, a bounded sample of the held-out
//! cells, principal components.
//!
//! Guarantee: everything is accumulated block by block in memory that is set by the number of conditions and the
//! sample sizes, not by the number of cells; and everything carries the id of the split it was made under, so
//! that its use under another split is an error ([`FoldError::OtherSplit`]).

use syncyte_kernels::rows::ShapeError;
use syncyte_sharding::store::StoreError;

mod components;
mod group;
mod held_out;
mod reader;
mod rows;
mod sample;
mod statistics;
mod training;

pub use components::{Components, ComponentsBuilder, ComponentsConfig};
pub use group::{Group, Half};
pub use held_out::{HeldOutBuilder, HeldOutConfig, TestCells};
pub use reader::{FoldReader, Learn, Side, TrainingCells, Visit};
pub use rows::{Condition, RowLabel, Rows};
pub use statistics::{Embed, Names, Statistics};
pub use training::{ConditionMean, Origin, Shift, TrainingMeans, TrainingMeansBuilder};

/// Why statistics of a fold cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// Labels and rows of a block do not belong together.
    #[error("a block has {labels} labels but {rows} rows")]
    Labels {
        /// Number of labels.
        labels: usize,
        /// Number of rows.
        rows: usize,
    },
    /// A block has other genes than the fold.
    #[error("a block has {found} genes, but the fold has {expected}; pass the rows of the store the genes came from")]
    Genes {
        /// Genes of the fold.
        expected: usize,
        /// Genes of the block.
        found: usize,
    },
    /// A value is NaN or infinite.
    #[error(
        "cell {cell}, gene `{gene}`: the log-normalised value is {value}; check the store with `syncyte store verify`"
    )]
    NotFinite {
        /// Cell of the store.
        cell: u64,
        /// Gene.
        gene: String,
        /// Value.
        value: f32,
    },
    /// A label points outside the list of perturbations.
    #[error("cell {cell} has perturbation number {perturbation}, but there are {known}")]
    Perturbation {
        /// Cell of the store.
        cell: u64,
        /// Its number.
        perturbation: u32,
        /// Number of perturbations.
        known: usize,
    },
    /// A context has perturbed cells but nothing to compare them with.
    #[error("context {context} of the {fold} fold has perturbed cells but no control cell; split again so that it has")]
    NoControl {
        /// Number of the context.
        context: u32,
        /// Fold, e.g. `train`.
        fold: &'static str,
    },
    /// A fold has no perturbed cells.
    #[error("the {fold} fold has no perturbed cell")]
    Empty {
        /// Fold.
        fold: &'static str,
    },
    /// Something that was fitted under one split is used under another.
    #[error("the {what} was made under split {made_under}, but this is split {used_under}; fit it again")]
    OtherSplit {
        /// What was fitted.
        what: &'static str,
        /// Split it was made under.
        made_under: String,
        /// Split it is used under.
        used_under: String,
    },
    /// Cells cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Rows and genes of a block do not fit together.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// What was done with the cells failed.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// The decomposition failed.
    #[error("principal components: {0}")]
    Linalg(#[from] crate::linalg::LinalgError),
}

/// Refuses what was made under another split.
fn require_split(what: &'static str, made_under: &str, used_under: &str) -> Result<(), FoldError> {
    if made_under == used_under {
        return Ok(());
    }
    Err(FoldError::OtherSplit { what, made_under: made_under.into(), used_under: used_under.into() })
}
