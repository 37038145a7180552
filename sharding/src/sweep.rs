//! One pass over chosen rows of a store, in blocks, on all threads.
//!
//! Guarantee: the blocks are cut at fixed rows of the store and handed over in rising order, whatever the number
//! of threads, so what is summed over them is the same to the last bit. Memory holds a few blocks a thread.

use std::error::Error;
use std::ops::Range;

use rayon::prelude::*;
use thiserror::Error;

use crate::csr::Csr;
use crate::store::CellStore;

/// Rows of a block at least: one or more chunks of the store.
const BLOCK_ROWS: usize = 1024;

/// Why a pass cannot be made.
#[derive(Debug, Error)]
pub enum SweepError {
    /// The rows are not in order, or there are not so many.
    #[error("{store}: row {row} asked for in a pass; rows have to rise and lie below {cells}")]
    Row {
        /// Name of the store.
        store: String,
        /// The row at fault.
        row: u64,
        /// Rows of the store.
        cells: usize,
    },
    /// A block cannot be read.
    #[error("{store}: {source}")]
    Read {
        /// Name of the store.
        store: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What a pass needs of a store.
pub trait Rows: Sync {
    /// Name for messages: the path of a store.
    fn name(&self) -> String;

    /// Number of rows.
    fn n_cells(&self) -> usize;

    /// Number of columns.
    fn n_genes(&self) -> usize;

    /// Rows in a chunk, the unit of decoding.
    fn chunk_rows(&self) -> usize;

    /// Reads contiguous rows.
    ///
    /// # Errors
    /// When they cannot be read or decoded.
    fn read(&self, rows: Range<usize>) -> Result<Csr, Box<dyn Error + Send + Sync>>;
}

impl Rows for CellStore {
    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn n_cells(&self) -> usize {
        self.n_cells()
    }

    fn n_genes(&self) -> usize {
        self.n_genes()
    }

    fn chunk_rows(&self) -> usize {
        self.chunk_rows()
    }

    fn read(&self, rows: Range<usize>) -> Result<Csr, Box<dyn Error + Send + Sync>> {
        Ok(self.read_rows(rows)?)
    }
}

/// Reads `rows` (rising) block by block, turns every block into a `T` on whichever thread is free, and hands the
/// results to `take` in order.
///
/// # Errors
/// When the rows do not rise or exceed the store, or a block cannot be read: the first in order.
pub fn sweep<R: Rows, T: Send>(
    reader: &R,
    rows: &[u64],
    block: impl Fn(&Csr) -> T + Sync,
    mut take: impl FnMut(T),
) -> Result<(), SweepError> {
    check(reader, rows)?;
    let chunk_rows = reader.chunk_rows().max(1);
    let block_rows = BLOCK_ROWS.next_multiple_of(chunk_rows) as u64;
    let blocks: Vec<&[u64]> = rows.chunk_by(|a, b| a / block_rows == b / block_rows).collect();
    for wave in blocks.chunks(2 * rayon::current_num_threads()) {
        let done: Vec<_> = wave.par_iter().map(|rows| read(reader, rows).map(|cells| block(&cells))).collect();
        for result in done {
            take(result?);
        }
    }
    Ok(())
}

fn check<R: Rows>(reader: &R, rows: &[u64]) -> Result<(), SweepError> {
    let at_fault = rows.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| pair[1]);
    match at_fault.or_else(|| rows.last().copied().filter(|&last| last >= reader.n_cells() as u64)) {
        Some(row) => Err(SweepError::Row { store: reader.name(), row, cells: reader.n_cells() }),
        None => Ok(()),
    }
}

/// The chosen rows of one block, which are one or more.
fn read<R: Rows>(reader: &R, rows: &[u64]) -> Result<Csr, SweepError> {
    let (first, end) = (rows[0] as usize, rows[rows.len() - 1] as usize + 1);
    let cells = reader.read(first..end).map_err(|source| SweepError::Read { store: reader.name(), source })?;
    if rows.len() == end - first {
        return Ok(cells);
    }
    let mut chosen = Csr::empty(cells.n_cols);
    for &row in rows {
        let (columns, values) = cells.row(row as usize - first);
        chosen.push_row(columns, values);
    }
    Ok(chosen)
}
