//! Decoding one chunk and checking its shape.

use std::error::Error;
use std::ops::Range;

use thiserror::Error;

use super::{RowReader, Scratch};
use crate::block::Block;

/// A chunk that has not as many rows as it should.
#[derive(Debug, Error)]
#[error("decoded to {found} rows of {found_genes} genes, expected {expected} rows of {expected_genes} genes")]
struct WrongShape {
    found: usize,
    found_genes: usize,
    expected: usize,
    expected_genes: usize,
}

/// The rows of chunk `index`.
pub(super) fn rows_of(reader: &impl RowReader, index: usize) -> Range<usize> {
    let first = index * reader.chunk_rows();
    first..(first + reader.chunk_rows()).min(reader.n_cells())
}

/// Values for which a buffer of a chunk has room from the start, so that it need not grow with every chunk that is a
/// little larger: those of the largest chunk, unless that is far beyond the mean. Nothing where rows do not say how long
/// they are before they are read.
pub(super) fn room(reader: &impl RowReader) -> Option<usize> {
    let chunks = reader.n_cells().div_ceil(reader.chunk_rows().max(1));
    let values = |index: usize| rows_of(reader, index).map(|row| reader.row_nnz(row)).sum::<Option<usize>>();
    let mut largest = 0;
    for index in 0..chunks {
        largest = largest.max(values(index)?);
    }
    let mean = reader.nnz() as usize / chunks.max(1);
    Some(largest.min(mean * 5 / 4))
}

/// Decodes chunk `index` of a store.
pub(super) fn chunk(
    reader: &impl RowReader,
    index: usize,
    scratch: &mut Scratch,
    block: &mut Block,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let rows = rows_of(reader, index);
    let (expected, expected_genes) = (rows.len(), reader.n_genes());
    reader.read_block(rows, scratch, block)?;
    let (found, found_genes) = (block.n_rows(), block.n_cols);
    if (found, found_genes) == (expected, expected_genes) {
        return Ok(());
    }
    Err(Box::new(WrongShape { found, found_genes, expected, expected_genes }))
}
