//! What can go wrong with a cell store.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::anndata::{AnnDataError, ZarrError};

/// A cell store that could not be written, opened or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Something is already at the path of a new store.
    #[error("{path}: this path is taken; remove what is there or choose another path")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// There is no whole store at the path.
    #[error("{path}: this is no whole cell store: {problem}; make one with `syncyte store import`")]
    NotAStore {
        /// The path.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// The device has no space left. What was written so far is removed with the writer.
    #[error("{path}: no space is left on the device ({node}); free some or write the store elsewhere")]
    DiskFull {
        /// Path of the new store.
        path: PathBuf,
        /// What was being written.
        node: String,
    },
    /// The file system refused.
    #[error("{path}: {doing}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was handed to the writer cannot make a store.
    #[error("{path}: {problem}")]
    Input {
        /// Path of the new store.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Rows were asked for that are not there.
    #[error("{path}: rows {start} to {end} were asked for, there are {cells}")]
    Rows {
        /// Path of the store.
        path: PathBuf,
        /// First row asked for.
        start: usize,
        /// End of the rows asked for.
        end: usize,
        /// Number of cells.
        cells: usize,
    },
    /// A block of rows could not be read.
    #[error("{source}; `syncyte store verify` lists what is damaged, then restore or import the data again")]
    Damaged {
        /// The array and chunk at fault, and what is wrong.
        source: AnnDataError,
    },
    /// A zarr node could not be read or written.
    #[error(transparent)]
    AnnData(#[from] AnnDataError),
}

impl From<ZarrError> for StoreError {
    fn from(error: ZarrError) -> Self {
        Self::AnnData(error.into())
    }
}

impl StoreError {
    /// Names a full disk as such.
    pub(crate) fn written(path: &Path, error: impl Into<AnnDataError>) -> Self {
        match error.into() {
            AnnDataError::Zarr(error) if error.is_disk_full() => {
                Self::DiskFull { path: path.into(), node: error.node().into() }
            }
            other => Self::AnnData(other),
        }
    }

    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.into(), node: doing.into() }
            }
            _ => Self::Io { path: path.into(), doing, source },
        }
    }
}
