//! TF-IDF weights of peaks.
//!
//! Guarantee: in how many cells a peak is open is counted over the training fold alone, and the weights are refused
//! under another split.

use serde::{Deserialize, Serialize};

use super::ModalityError;
use crate::csr::Csr;
use crate::split::{FittedOn, Fold, Split};
use crate::store::{CellStore, ValueKind};
use crate::sweep::{Rows, sweep};

/// Scale of the products before the logarithm.
const SCALE: f64 = 1e4;

/// Weights of the peaks of a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TfIdf {
    fitted_on: FittedOn,
    /// Training cells over training cells with the peak; 0 for a peak that none has.
    weight: Vec<f64>,
}

impl TfIdf {
    /// Fits on the training fold of a store whose columns are peaks.
    ///
    /// # Errors
    /// When the split belongs to another store, the store holds no counts, or a block cannot be read.
    pub fn fit(store: &CellStore, split: &Split) -> Result<Self, ModalityError> {
        let fitted_on = FittedOn::train_of(store, split)?;
        if store.info().value_kind != ValueKind::Counts {
            return Err(ModalityError::NeedsCounts { store: Rows::name(store) });
        }
        let weight = weights(store, &split.rows(Fold::Train))?;
        Ok(Self { fitted_on, weight })
    }

    /// The fold they were fitted on.
    pub fn fitted_on(&self) -> &FittedOn {
        &self.fitted_on
    }

    /// Peaks that no training cell has: their values come out as 0.
    pub fn n_unseen(&self) -> usize {
        self.weight.iter().filter(|weight| **weight == 0.0).count()
    }

    /// `ln(1 + 10⁴·tf·idf)` of every stored count, `tf` its part in the cell and `idf` the training cells over
    /// those with the peak (Stuart et al. 2019, and Signac's default).
    ///
    /// # Errors
    /// When `split` is not the one they were fitted on, or the block has other columns.
    pub fn rows(&self, split: &Split, block: &Csr) -> Result<Csr, ModalityError> {
        self.fitted_on.check("the TF-IDF weights", split)?;
        self.weigh(block)
    }

    fn weigh(&self, block: &Csr) -> Result<Csr, ModalityError> {
        if block.n_cols != self.weight.len() {
            return Err(ModalityError::Columns { found: block.n_cols, fitted: self.weight.len() });
        }
        let mut weighted = block.clone();
        for row in block.indptr.windows(2) {
            let (columns, values) = (&block.indices[row[0]..row[1]], &mut weighted.values[row[0]..row[1]]);
            let total: f64 = values.iter().map(|&value| f64::from(value)).sum();
            for (value, &column) in values.iter_mut().zip(columns).filter(|_| total > 0.0) {
                *value = (SCALE * f64::from(*value) / total * self.weight[column as usize]).ln_1p() as f32;
            }
        }
        Ok(weighted)
    }
}

/// Cells over cells with the peak, of every peak.
fn weights<R: Rows>(reader: &R, rows: &[u64]) -> Result<Vec<f64>, ModalityError> {
    let mut open = vec![0_u64; reader.n_genes()];
    let count = |cells: &Csr| {
        let mut open = vec![0_u64; cells.n_cols];
        for (&column, _) in cells.indices.iter().zip(&cells.values).filter(|(_, value)| **value > 0.0) {
            open[column as usize] += 1;
        }
        open
    };
    sweep(reader, rows, count, |block| open.iter_mut().zip(block).for_each(|(all, cells)| *all += cells))?;
    let weight = |&cells: &u64| if cells == 0 { 0.0 } else { rows.len() as f64 / cells as f64 };
    Ok(open.iter().map(weight).collect())
}

#[cfg(test)]
mod tests {
    use super::TfIdf;
    use crate::modality::ModalityError;
    use crate::split::{Fold, Scheme, Split, SplitError, SplitOptions};
    use crate::store::{CellStore, ValueKind};
    use crate::trial;

    /// Peak 0 is open in every cell, peak 1 in the cells of perturbation 1, peak 2 in none but held-out cells.
    fn lab(path: &std::path::Path, kind: ValueKind) -> (CellStore, Split) {
        let labels = trial::labels(&["A"], (0..80).map(|cell| cell % 2).collect());
        let split = Split::make(&labels, "unknown yet", &SplitOptions::new(Scheme::Cells)).unwrap();
        let row = |cell: usize| {
            let held_out = split.fold_of(cell) != Fold::Train;
            vec![2.0, (cell % 2) as f32 * 2.0, if held_out { 4.0 } else { 0.0 }]
        };
        let rows: Vec<Vec<f32>> = (0..80).map(row).collect();
        let store = trial::store(path, &trial::csr(&rows), &labels, kind);
        let split = Split::make(&labels, store.data_hash(), &SplitOptions::new(Scheme::Cells)).unwrap();
        (store, split)
    }

    #[test]
    fn rare_peaks_weigh_more_and_held_out_cells_count_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (store, split) = lab(&folder.path().join("a.zarr"), ValueKind::Counts);
        let fitted = TfIdf::fit(&store, &split).unwrap();
        assert_eq!(fitted.n_unseen(), 1);
        let train = split.rows(Fold::Train);
        let with_peak = train.iter().filter(|cell| *cell % 2 == 1).count() as f64;
        let weight = train.len() as f64 / with_peak;
        let cell = train.iter().copied().find(|cell| cell % 2 == 1).unwrap() as usize;
        let found = fitted.rows(&split, &store.read_rows(cell..cell + 1).unwrap()).unwrap();
        assert_eq!(found.indices, [0, 1]);
        let wanted = [5000_f64.ln_1p(), (5000.0 * weight).ln_1p()];
        assert!(found.values.iter().zip(wanted).all(|(found, wanted)| (f64::from(*found) - wanted).abs() < 1e-6));
        let held_out = split.rows(Fold::Test)[0] as usize;
        let found = fitted.rows(&split, &store.read_rows(held_out..held_out + 1).unwrap()).unwrap();
        assert_eq!(found.row(0).1.last(), Some(&0.0));
    }

    #[test]
    fn weights_are_refused_under_another_split_without_counts_and_for_other_peaks() {
        let folder = tempfile::tempdir().unwrap();
        let (store, split) = lab(&folder.path().join("a.zarr"), ValueKind::Counts);
        let fitted = TfIdf::fit(&store, &split).unwrap();
        let block = store.read_rows(0..2).unwrap();
        let options = SplitOptions { seed: 43, ..SplitOptions::new(Scheme::Cells) };
        let other = Split::make(store.labels(), store.data_hash(), &options).unwrap();
        let error = fitted.rows(&other, &block).unwrap_err();
        assert!(matches!(error, ModalityError::Split(SplitError::FittedElsewhere { .. })));
        let narrow = crate::csr::Csr::empty(2);
        assert!(fitted.rows(&split, &narrow).unwrap_err().to_string().contains("a block of 2 columns"));
        let (logged, split) = lab(&folder.path().join("b.zarr"), ValueKind::Log1p);
        assert!(matches!(TfIdf::fit(&logged, &split), Err(ModalityError::NeedsCounts { .. })));
    }
}
