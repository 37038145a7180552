//! Gathering rows out of chunks: which rows of a batch lie in which chunk, and where they go.

use std::sync::Arc;

use super::pool::{Pool, Pooled};
use crate::block::{Block, BlockTypes};

/// One row wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) chunk: usize,
    /// Row inside the chunk.
    pub(super) row: usize,
    /// Place in the result.
    pub(super) place: usize,
}

/// Rows wanted, grouped by the chunk they lie in.
pub(super) struct Plan {
    wanted: Vec<Wanted>,
}

impl Plan {
    pub(super) fn new<'a>(rows: impl Iterator<Item = &'a u64>, chunk_rows: usize) -> Self {
        let want = |(place, &row): (usize, &u64)| {
            let row = row as usize;
            Wanted { chunk: row / chunk_rows, row: row % chunk_rows, place }
        };
        let mut wanted: Vec<Wanted> = rows.enumerate().map(want).collect();
        wanted.sort_unstable();
        Self { wanted }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.wanted.len()
    }

    /// Chunks in rising order, each with the rows wanted of it.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (usize, &[Wanted])> {
        self.wanted.chunk_by(|a, b| a.chunk == b.chunk).map(|wanted| (wanted[0].chunk, wanted))
    }
}

/// The rows of a batch, the cells first and then their partners, each in a block of its own.
pub(super) struct Gathered {
    pub(super) cells: Pooled<Block>,
    pub(super) partners: Pooled<Block>,
}

impl Gathered {
    /// Lays out `lengths` rows, the first `cells` of them cells.
    pub(super) fn new(
        pool: &Arc<Pool<Block>>,
        n_genes: usize,
        types: BlockTypes,
        lengths: &[usize],
        cells: usize,
    ) -> Self {
        let lay_out = |lengths: &[usize]| {
            let mut block = pool.take();
            block.lay_out(n_genes, types, lengths.iter().copied());
            block
        };
        Self { cells: lay_out(&lengths[..cells]), partners: lay_out(&lengths[cells..]) }
    }

    /// Fills the row at `place` with row `row` of a block.
    pub(super) fn put(&mut self, place: usize, from: &Block, row: usize) {
        match place.checked_sub(self.cells.n_rows()) {
            None => self.cells.copy_row(place, from, row),
            Some(place) => self.partners.copy_row(place, from, row),
        }
    }
}
