//! Genes: their names, which of them vary most, and how those of several data sets correspond.
//!
//! Guarantee: what is fitted here is fitted on the training fold alone and carries that fold; nothing depends on
//! the number of threads.

pub mod alignment;
mod error;
mod hvg;
mod loess;
pub mod moments;
mod names;
mod options;
mod score;
mod selection;
#[cfg(test)]
mod tests;

pub use error::GenesError;
pub use hvg::hvg;
pub use names::{duplicates, is_ensembl, is_mitochondrial, make_unique, vocabulary_key};
pub use options::{Flavour, HvgOptions};
pub use selection::{GeneSelection, SelectedGene};
