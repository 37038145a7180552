//! Rows by the piece, from many threads: what a loader needs of a store.

use std::error::Error;
use std::ops::Range;

use super::{CellStore, StoreError, ValueKind};
use crate::anndata::zarr;
use crate::block::{Block, BlockTypes};

/// Memory that a decoding thread uses again and again.
#[derive(Default)]
pub struct Scratch(pub(crate) zarr::Scratch);

/// A source of rows that can be read in contiguous pieces from many threads.
pub trait RowReader: Send + Sync + 'static {
    /// What goes wrong in a read.
    type Error: Error + Send + Sync + 'static;

    /// Name for messages: the path of a store.
    fn name(&self) -> String;

    /// What tells this content from any other, for caches of it; nothing where that is not known.
    fn content_hash(&self) -> Option<&str>;

    /// Number of rows.
    fn n_cells(&self) -> usize;

    /// Number of columns.
    fn n_genes(&self) -> usize;

    /// Number of stored values.
    fn nnz(&self) -> u64;

    /// Rows in a chunk, the unit of decoding.
    fn chunk_rows(&self) -> usize;

    /// Types of the blocks that are read.
    fn block_types(&self) -> BlockTypes;

    /// Total of a row over all genes that passed quality control, where the store knows it.
    fn library_size(&self, row: usize) -> Option<f32>;

    /// Whether the values are log-normalised already, and not counts.
    fn is_log_normalised(&self) -> bool;

    /// Number of stored values of a row, where it is known without reading.
    fn row_nnz(&self, row: usize) -> Option<usize>;

    /// Reads contiguous rows into a block, whose memory is used again.
    ///
    /// # Errors
    /// When they cannot be read or decoded.
    fn read_block(&self, rows: Range<usize>, scratch: &mut Scratch, block: &mut Block) -> Result<(), Self::Error>;

    /// Says that these rows will be read soon, so that a slow medium may begin.
    fn will_read(&self, _rows: Range<usize>) {}

    /// Rows that may stand in for `row` where it cannot be read, the best first: a pure function of the store.
    /// Rows of one label are preferred where labels are known.
    fn substitutes(&self, row: u64) -> Box<dyn Iterator<Item = u64> + '_> {
        let (rows, step) = (self.n_cells() as u64, self.chunk_rows() as u64);
        let further = (1..=rows.div_ceil(step.max(1))).map(move |chunks| (row + chunks * step) % rows);
        Box::new(further)
    }
}

impl RowReader for CellStore {
    type Error = StoreError;

    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn content_hash(&self) -> Option<&str> {
        Some(self.data_hash())
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

    fn block_types(&self) -> BlockTypes {
        self.block_types()
    }

    fn library_size(&self, row: usize) -> Option<f32> {
        self.library_size().get(row).copied()
    }

    fn is_log_normalised(&self) -> bool {
        self.info().value_kind == ValueKind::Log1p
    }

    fn row_nnz(&self, row: usize) -> Option<usize> {
        self.rows_nnz(row..row + 1).map(|nnz| nnz as usize)
    }

    fn read_block(&self, rows: Range<usize>, scratch: &mut Scratch, block: &mut Block) -> Result<(), StoreError> {
        self.read_block(rows, &mut scratch.0, block)
    }

    fn will_read(&self, rows: Range<usize>) {
        self.will_read(rows);
    }

    /// Cells of the same perturbation, context and batch, then of the same perturbation and context, in the order of
    /// the store from `row` on, around its end; then any cell.
    fn substitutes(&self, row: u64) -> Box<dyn Iterator<Item = u64> + '_> {
        let labels = self.labels();
        let rows = self.n_cells();
        let around = move || (1..rows).map(move |step| (row as usize + step) % rows);
        let row = row as usize;
        let alike = move |&other: &usize| {
            labels.perturbation[other] == labels.perturbation[row] && labels.context[other] == labels.context[row]
        };
        let batch = move |&other: &usize| labels.batch[other] == labels.batch[row];
        let best = around().filter(alike).filter(batch);
        let good = around().filter(alike).filter(move |other| !batch(other));
        Box::new(best.chain(good).chain(around().filter(move |other| !alike(other))).map(|row| row as u64))
    }
}
