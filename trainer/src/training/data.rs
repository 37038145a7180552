//! Store, split and vocabulary of a run, opened and checked together.

use std::path::Path;
use std::sync::Arc;

use syncyte_sharding::csr::Csr;
use syncyte_sharding::split::Split;
use syncyte_sharding::store::{CellStore, StoreError};

use super::TaskError;
use crate::batch::query::Query;
use crate::batch::vocabulary::Vocabulary;
use crate::config::Config;

/// The data of a run.
#[derive(Clone)]
pub struct RunData {
    /// Cells.
    pub store: Arc<CellStore>,
    /// Folds.
    pub split: Arc<Split>,
    /// Names in the store.
    pub vocabulary: Vocabulary,
}

impl RunData {
    /// Opens the store and the split of a configuration.
    ///
    /// # Errors
    /// When either cannot be read, or the split is of another store.
    pub fn open(config: &Config) -> Result<Self, TaskError> {
        Self::open_paths(&config.data.store, &config.data.split)
    }

    /// As [`RunData::open`], by paths.
    ///
    /// # Errors
    /// As [`RunData::open`].
    pub fn open_paths(store: &Path, split: &Path) -> Result<Self, TaskError> {
        let store = Arc::new(CellStore::open(store)?);
        let split = Arc::new(Split::load(split, &store)?);
        let vocabulary = Vocabulary::of(store.genes(), store.labels());
        Ok(Self { store, split, vocabulary })
    }

    /// What the model is asked about a cell: its perturbation, context and kind.
    pub fn query(&self, cell: u64) -> Query<'_> {
        let (labels, cell) = (self.store.labels(), cell as usize);
        Query::Known {
            perturbation: &labels.perturbations[labels.perturbation[cell] as usize],
            context: &labels.contexts[labels.context[cell] as usize],
            kind: &labels.kinds[labels.kind[cell] as usize],
        }
    }
}

/// Reads any rows of a store, in the order given.
///
/// # Errors
/// When a chunk cannot be read.
pub fn gather(store: &CellStore, rows: &[u64]) -> Result<Csr, StoreError> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| rows[i]);
    let chunk = store.chunk_rows().max(1) as u64;
    let mut found: Vec<(Vec<u32>, Vec<f32>)> = vec![Default::default(); rows.len()];
    for group in order.chunk_by(|&a, &b| rows[a] / chunk == rows[b] / chunk) {
        let (first, last) = (rows[group[0]], rows[group[group.len() - 1]]);
        let block = store.read_rows(first as usize..last as usize + 1)?;
        for &i in group {
            let (indices, values) = block.row((rows[i] - first) as usize);
            found[i] = (indices.to_vec(), values.to_vec());
        }
    }
    let mut out = Csr::empty(store.n_genes());
    for (indices, values) in &found {
        out.push_row(indices, values);
    }
    Ok(out)
}
