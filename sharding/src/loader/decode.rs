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
