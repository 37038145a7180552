//! What can go wrong when genes are chosen.

use std::path::PathBuf;

use thiserror::Error;

use super::Flavour;
use crate::split::SplitError;
use crate::sweep::SweepError;

/// Why genes cannot be chosen, or a choice cannot be used.
#[derive(Debug, Error)]
pub enum GenesError {
    /// No flavour of that name.
    #[error("unknown flavour `{name}`; known: seurat, seurat_v3, log-variance")]
    UnknownFlavour {
        /// The name given.
        name: String,
    },
    /// No genes, or more than there are, were asked for.
    #[error("{store}: {n} variable genes asked for, but it has {genes}; take 1 to {genes}")]
    Number {
        /// The store.
        store: PathBuf,
        /// Genes asked for.
        n: usize,
        /// Genes of the store.
        genes: usize,
    },
    /// The flavour needs counts.
    #[error(
        "{store}: flavour `{flavour}` needs raw counts, but the store holds log-normalised values; take flavour \
         `seurat`, or import the counts (--matrix layers/NAME, --values counts)"
    )]
    NeedsCounts {
        /// The store.
        store: PathBuf,
        /// The flavour.
        flavour: Flavour,
    },
    /// A variance needs two cells.
    #[error("{store}: the train fold has {cells} cells; a variance needs at least 2")]
    TooFewCells {
        /// The store.
        store: PathBuf,
        /// Cells of the fold.
        cells: u64,
    },
    /// The file is no choice of genes of this store.
    #[error("{path}: no list of variable genes of this store: {what}; make it with `syncyte store hvg`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The split belongs to another store, or the genes to another split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The cells cannot be read.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}
