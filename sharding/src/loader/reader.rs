//! What the loader needs of a store.

use std::error::Error;
use std::ops::Range;

use crate::csr::Csr;
use crate::store::{CellStore, StoreError};

/// A source of rows that can be read in contiguous pieces from many threads.
pub trait RowReader: Send + Sync + 'static {
    /// What goes wrong in a read.
    type Error: Error + Send + Sync + 'static;

    /// Name for messages: the path of a store.
    fn name(&self) -> String;

    /// Number of rows.
    fn n_cells(&self) -> usize;

    /// Number of columns.
    fn n_genes(&self) -> usize;

    /// Number of stored values.
    fn nnz(&self) -> u64;

    /// Rows in a chunk, the unit of decoding.
    fn chunk_rows(&self) -> usize;

    /// Reads contiguous rows.
    ///
    /// # Errors
    /// When they cannot be read or decoded.
    fn read_rows(&self, rows: Range<usize>) -> Result<Csr, Self::Error>;
}

impl RowReader for CellStore {
    type Error = StoreError;

    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn n_cells(&self) -> usize {
        self.n_cells()
    }

    fn n_genes(&self) -> usize {
        self.n_genes()
    }

    fn nnz(&self) -> u64 {
        self.nnz()
    }

    fn chunk_rows(&self) -> usize {
        self.chunk_rows()
    }

    fn read_rows(&self, rows: Range<usize>) -> Result<Csr, StoreError> {
        self.read_rows(rows)
    }
}
