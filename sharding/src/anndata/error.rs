//! What can be wrong with an AnnData hierarchy.

use thiserror::Error;

use super::zarr::ZarrError;

/// An AnnData zarr that could not be read or written.
#[derive(Debug, Error)]
pub enum AnnDataError {
    /// A zarr node could not be read or written.
    #[error(transparent)]
    Zarr(#[from] ZarrError),
    /// A node is there, but it is not encoded as AnnData encodes it.
    #[error("{store}: {node}: {problem}")]
    Encoding {
        /// The folder or zip file.
        store: String,
        /// Path of the node inside it.
        node: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl AnnDataError {
    pub(crate) fn encoding(store: &str, node: &str, problem: impl Into<String>) -> Self {
        Self::Encoding { store: store.into(), node: node.into(), problem: problem.into() }
    }
}
