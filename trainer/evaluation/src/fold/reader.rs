//! The cells of a run, streamed: the training fold and what is held out, log-normalised, block by block.
//!
//! Guarantee: a pass holds one block of the store at a time; blocks come in the order of the store; what learns is given
//! cells of the training fold and no others ([`TrainingCells`]).

use ndarray::ArrayView2;
use syncyte_kernels::expression::Genes;
use syncyte_kernels::rows::Scale;
use syncyte_sharding::block::Block;
use syncyte_sharding::csr::Csr;
use syncyte_sharding::expression::log_normalise;
use syncyte_sharding::split::{Fold, Split};
use syncyte_sharding::store::{CellStore, ValueKind};

use super::FoldError;
use super::rows::RowLabel;

/// Which side of the split a cell is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What methods learn from.
    Training,
    /// What they are asked about.
    HeldOut,
}

/// What is given each block: the side of its cells, their labels, and their log-normalised expression, cells × genes.
pub type Visit<'a> = dyn FnMut(Side, &[RowLabel], ArrayView2<'_, f32>) -> Result<(), FoldError> + 'a;

/// What is given each block of training cells: their labels and their log-normalised expression, cells × genes.
pub type Learn<'a> = dyn FnMut(&[RowLabel], ArrayView2<'_, f32>) -> Result<(), FoldError> + 'a;

/// The training fold, and nothing else.
pub trait TrainingCells: Sync {
    /// Visits every training cell, in blocks.
    ///
    /// # Errors
    /// When cells cannot be read, or the error of `visit`.
    fn visit(&self, visit: &mut Learn<'_>) -> Result<(), FoldError>;
}

/// A store, and who is held out of it.
#[derive(Clone, Copy)]
pub struct FoldReader<'a> {
    store: &'a CellStore,
    split: &'a Split,
    /// Whether cells of the validation fold are held out with those of the test fold; else they are left out.
    pool_validation: bool,
}

impl<'a> FoldReader<'a> {
    /// Of a store and its split.
    pub fn new(store: &'a CellStore, split: &'a Split, pool_validation: bool) -> Self {
        Self { store, split, pool_validation }
    }

    /// Visits the cells of both sides in one pass; `done` is told how many cells of the store lie behind.
    ///
    /// # Errors
    /// When cells cannot be read, or the error of `visit`.
    pub fn visit(&self, done: &mut dyn FnMut(usize), visit: &mut Visit<'_>) -> Result<(), FoldError> {
        self.pass(&[Side::Training, Side::HeldOut], done, visit)
    }

    fn side(&self, row: usize) -> Option<Side> {
        match self.split.fold_of(row) {
            Fold::Train => Some(Side::Training),
            Fold::Test => Some(Side::HeldOut),
            Fold::Val => self.pool_validation.then_some(Side::HeldOut),
        }
    }

    fn pass(&self, sides: &[Side], done: &mut dyn FnMut(usize), visit: &mut Visit<'_>) -> Result<(), FoldError> {
        let n = self.store.n_cells();
        let step = self.store.chunk_rows().max(1);
        for start in (0..n).step_by(step) {
            let end = n.min(start + step);
            let wanted = |side: Side| (start..end).filter(move |&row| self.side(row) == Some(side)).collect::<Vec<_>>();
            let parts = sides.iter().map(|&side| (side, wanted(side))).filter(|(_, rows)| !rows.is_empty());
            let parts: Vec<(Side, Vec<usize>)> = parts.collect();
            if !parts.is_empty() {
                let block = self.store.read_rows(start..end)?;
                for (side, rows) in parts {
                    self.give(side, &rows, &block, start, visit)?;
                }
            }
            done(end);
        }
        Ok(())
    }

    /// Gives some rows of a block that starts at row `start` of the store.
    fn give(
        &self,
        side: Side,
        rows: &[usize],
        block: &Csr,
        start: usize,
        visit: &mut Visit<'_>,
    ) -> Result<(), FoldError> {
        let mut part = Csr::empty(block.n_cols);
        for &row in rows {
            let (indices, values) = block.row(row - start);
            part.push_row(indices, values);
        }
        let totals: Vec<f32> = rows.iter().map(|&row| self.store.library_size()[row]).collect();
        let scale = match self.store.info().value_kind {
            ValueKind::Counts => Scale::Library(&totals),
            ValueKind::Log1p => Scale::LogNormalised,
        };
        let mut values = vec![0.0_f32; rows.len() * block.n_cols];
        log_normalise(&Block::from(&part), scale, Genes::All(block.n_cols), &mut values)?;
        let cells = ArrayView2::from_shape((rows.len(), block.n_cols), &values)
            .map_err(|_| FoldError::Genes { expected: self.store.n_genes(), found: block.n_cols })?;
        let labels: Vec<RowLabel> = rows.iter().map(|&row| RowLabel::of(self.store.labels(), row as u64)).collect();
        visit(side, &labels, cells)
    }
}

impl TrainingCells for FoldReader<'_> {
    fn visit(&self, visit: &mut Learn<'_>) -> Result<(), FoldError> {
        self.pass(&[Side::Training], &mut |_| (), &mut |_, labels, cells| visit(labels, cells))
    }
}
