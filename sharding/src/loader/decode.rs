//! Decoding one chunk and checking its shape.

use thiserror::Error;

use super::{LoaderError, RowReader};
use crate::csr::Csr;

/// A chunk that has not as many rows as it should.
#[derive(Debug, Error)]
#[error("decoded to {found} rows of {found_genes} genes, expected {expected} rows of {expected_genes} genes")]
struct WrongShape {
    found: usize,
    found_genes: usize,
    expected: usize,
    expected_genes: usize,
}

/// Chunk `index` of a store, for the batch of `step`.
pub(super) fn chunk(reader: &impl RowReader, index: usize, step: u64) -> Result<Csr, LoaderError> {
    let first = index * reader.chunk_rows();
    let end = (first + reader.chunk_rows()).min(reader.n_cells());
    let failed = |source| LoaderError::Chunk { step, store: reader.name(), chunk: index, first, end, source };
    let mut chunk = reader.read_rows(first..end).map_err(|error| failed(Box::new(error)))?;
    let (expected, expected_genes) = (end - first, reader.n_genes());
    if chunk.n_rows() == expected && chunk.n_cols == expected_genes {
        shrink(&mut chunk);
        return Ok(chunk);
    }
    let (found, found_genes) = (chunk.n_rows(), chunk.n_cols);
    Err(failed(Box::new(WrongShape { found, found_genes, expected, expected_genes })))
}

/// Gives back what a reader that grew its buffers reserved in vain: it would count against the cache.
pub(super) fn shrink(block: &mut Csr) {
    block.indptr.shrink_to_fit();
    block.indices.shrink_to_fit();
    block.values.shrink_to_fit();
}
