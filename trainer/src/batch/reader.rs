//! Cells of a store in the form that an encoder reads.

use std::sync::Arc;

use syncyte_sharding::block::Block;
use syncyte_sharding::csr::Csr;
use syncyte_sharding::store::CellStore;
use tch::Tensor;

use super::cells::{dense, dense_block};
use super::view::{Input, View};
use crate::augmentation::{Augmentation, ViewKey, augmented};

/// Makes views of cells; used by many threads.
pub struct CellReader {
    store: Arc<CellStore>,
    input: Input,
    augmentation: Box<dyn Augmentation>,
    seed: u64,
}

impl CellReader {
    /// For an encoder that reads `input`; `seed` is that of the random views.
    pub fn new(store: Arc<CellStore>, input: Input, augmentation: Box<dyn Augmentation>, seed: u64) -> Self {
        Self { store, input, augmentation, seed }
    }

    /// Genes that are read of a cell, on average.
    pub fn genes_a_cell(&self) -> u64 {
        match self.input {
            Input::Dense => self.store.n_genes() as u64,
        }
    }

    /// Whole cells, as they are stored.
    pub fn whole(&self, rows: &[u64], cells: &Block) -> View {
        match self.input {
            Input::Dense => View::Dense(dense_block(&self.store, rows, cells)),
        }
    }

    /// Random view number `view` of cells.
    pub fn augmented(&self, rows: &[u64], cells: &Block, step: u64, view: u64) -> View {
        let key = ViewKey { seed: self.seed, step, view };
        let values = augmented(&*self.augmentation, rows, &cells.to_csr(), key);
        match self.input {
            Input::Dense => View::Dense(Tensor::from_slice(&values).view([rows.len() as i64, cells.n_cols as i64])),
        }
    }
}

/// Whole cells of a store in a form.
pub fn view(store: &CellStore, input: Input, rows: &[u64], cells: &Csr) -> View {
    match input {
        Input::Dense => View::Dense(dense(store, rows, cells)),
    }
}
