//! Pearson residuals of counts, the alternative to log-normalisation (D4).
//!
//! Guarantee: what the residuals expect of a gene is fitted on the training fold alone and refused under another
//! split. With `n` the total of a cell and `f` the part of a gene in all training counts, the expected count is
//! `μ = n·f` and the residual `(x − μ)/√(μ + μ²/θ)`, clipped at ±√(training cells) (Lause, Berens and Kobak 2021,
//! equations 3 and 4; `θ` = 100 there). Where nothing is expected and nothing found the residual is 0.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::csr::Csr;
use crate::split::{FittedOn, Fold, Split, SplitError};
use crate::store::{CellStore, ValueKind};
use crate::sweep::{Rows, SweepError, sweep};

/// Overdispersion parameter of the negative binomial that is used where nothing else is said.
pub const THETA: f64 = 100.0;

/// What Pearson residuals expect of every gene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PearsonResiduals {
    fitted_on: FittedOn,
    theta: f64,
    clip: f64,
    /// Part of every gene in all counts of the fold.
    share: Vec<f64>,
}

/// Why residuals cannot be fitted or taken.
#[derive(Debug, Error)]
pub enum ResidualsError {
    /// The store holds no counts.
    #[error(
        "{store}: Pearson residuals need raw counts, but the store holds log-normalised values; import the counts \
         (--matrix layers/NAME, --values counts)"
    )]
    NeedsCounts {
        /// The store.
        store: String,
    },
    /// The training fold is empty of counts.
    #[error("{store}: the train fold has no counts to fit Pearson residuals on")]
    NoCounts {
        /// The store.
        store: String,
    },
    /// The overdispersion is no positive number.
    #[error("Pearson residuals: θ is {theta}; take a positive number, usually {THETA}")]
    Theta {
        /// The value given.
        theta: f64,
    },
    /// A block or a list of columns is of another store.
    #[error("Pearson residuals: column {column} asked for, but they were fitted on {genes} genes")]
    Column {
        /// The column, or the number of columns of the block.
        column: usize,
        /// Genes they were fitted on.
        genes: usize,
    },
    /// Another store or another split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The cells cannot be read.
    #[error(transparent)]
    Sweep(#[from] SweepError),
}

impl PearsonResiduals {
    /// Fits on the training fold of `split`.
    ///
    /// # Errors
    /// When the split belongs to another store, the store holds no counts, `theta` is not positive, or a block
    /// cannot be read.
    pub fn fit(store: &CellStore, split: &Split, theta: f64) -> Result<Self, ResidualsError> {
        let fitted_on = FittedOn::train_of(store, split)?;
        if store.info().value_kind != ValueKind::Counts {
            return Err(ResidualsError::NeedsCounts { store: Rows::name(store) });
        }
        Self::over(store, &split.rows(Fold::Train), fitted_on, theta)
    }

    fn over<R: Rows>(reader: &R, rows: &[u64], fitted_on: FittedOn, theta: f64) -> Result<Self, ResidualsError> {
        if !(theta.is_finite() && theta > 0.0) {
            return Err(ResidualsError::Theta { theta });
        }
        let mut share = vec![0.0; reader.n_genes()];
        sweep(reader, rows, column_sums, |sums| share.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum))?;
        let total: f64 = share.iter().sum();
        if total <= 0.0 {
            return Err(ResidualsError::NoCounts { store: reader.name() });
        }
        for share in &mut share {
            *share /= total;
        }
        Ok(Self { fitted_on, theta, clip: (rows.len() as f64).sqrt(), share })
    }

    /// The fold they were fitted on.
    pub fn fitted_on(&self) -> &FittedOn {
        &self.fitted_on
    }

    /// Number of genes they were fitted on.
    pub fn n_genes(&self) -> usize {
        self.share.len()
    }

    /// The residuals of a block of rows of counts at `columns` (all where `None`), row by row. The block has to
    /// hold all genes, since the total of a cell is taken over them.
    ///
    /// # Errors
    /// When `split` is not the one they were fitted on, or block or columns are of other genes.
    pub fn rows(&self, split: &Split, block: &Csr, columns: Option<&[u32]>) -> Result<Vec<f32>, ResidualsError> {
        self.fitted_on.check("what Pearson residuals expect", split)?;
        self.residuals(block, columns)
    }

    fn residuals(&self, block: &Csr, columns: Option<&[u32]>) -> Result<Vec<f32>, ResidualsError> {
        let genes = self.n_genes();
        let beyond = columns.unwrap_or(&[]).iter().find(|&&column| column as usize >= genes);
        match (block.n_cols == genes, beyond) {
            (true, None) => {}
            (false, _) => return Err(ResidualsError::Column { column: block.n_cols, genes }),
            (true, Some(&column)) => return Err(ResidualsError::Column { column: column as usize, genes }),
        }
        let width = columns.map_or(genes, <[u32]>::len);
        let mut residuals = Vec::with_capacity(block.n_rows() * width);
        let mut counts = vec![0.0; genes];
        for row in 0..block.n_rows() {
            let (stored, values) = block.row(row);
            for (&column, &value) in stored.iter().zip(values) {
                counts[column as usize] = f64::from(value);
            }
            let total: f64 = values.iter().map(|&value| f64::from(value)).sum();
            let residual = |column: usize| self.residual(counts[column], total * self.share[column]) as f32;
            match columns {
                Some(columns) => residuals.extend(columns.iter().map(|&column| residual(column as usize))),
                None => residuals.extend((0..genes).map(residual)),
            }
            for &column in stored {
                counts[column as usize] = 0.0;
            }
        }
        Ok(residuals)
    }

    fn residual(&self, count: f64, expected: f64) -> f64 {
        if count == expected {
            return 0.0;
        }
        let residual = (count - expected) / (expected + expected * expected / self.theta).sqrt();
        residual.clamp(-self.clip, self.clip)
    }
}

fn column_sums(cells: &Csr) -> Vec<f64> {
    let mut sums = vec![0.0; cells.n_cols];
    for (&column, &value) in cells.indices.iter().zip(&cells.values) {
        sums[column as usize] += f64::from(value);
    }
    sums
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{PearsonResiduals, ResidualsError, THETA};
    use crate::csr::Csr;
    use crate::split::{FittedOn, Fold, Scheme, Split, SplitError, SplitOptions};
    use crate::store::{CellStore, ValueKind};
    use crate::trial::{self, Memory};

    #[derive(Deserialize)]
    struct Golden {
        counts: Vec<Vec<f32>>,
        residuals: Vec<Vec<f64>>,
    }

    fn over(counts: &[Vec<f32>], rows: &[u64], theta: f64) -> Result<PearsonResiduals, ResidualsError> {
        let reader = Memory { cells: trial::csr(counts), chunk_rows: 7 };
        let of = |text: &str| text.to_owned();
        let cells = rows.len() as u64;
        let fitted_on = FittedOn { data_hash: of("d"), split_hash: of("s"), fold: Fold::Train, cells };
        PearsonResiduals::over(&reader, rows, fitted_on, theta)
    }

    #[test]
    fn residuals_are_those_of_scanpy() {
        let text =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/oracle/fixtures/pearson_residuals.json"));
        let golden: Golden = serde_json::from_str(text).unwrap();
        let all: Vec<u64> = (0..golden.counts.len() as u64).collect();
        let fitted = over(&golden.counts, &all, THETA).unwrap();
        let block = trial::csr(&golden.counts);
        let found = fitted.residuals(&block, None).unwrap();
        let wanted: Vec<f64> = golden.residuals.concat();
        assert_eq!(found.len(), wanted.len());
        assert!(found.iter().zip(&wanted).all(|(found, wanted)| (f64::from(*found) - wanted).abs() < 1e-6));
        let some = fitted.residuals(&block, Some(&[5, 2])).unwrap();
        let picked = found.chunks(12).flat_map(|row| [row[5], row[2]]).collect::<Vec<_>>();
        assert_eq!(some, picked);
    }

    #[test]
    fn expectations_come_from_the_fitted_cells_and_extremes_are_clipped() {
        // Two training cells: genes have shares 1/4, 3/4 and 0.
        let counts = [vec![1.0, 3.0, 0.0], vec![2.0, 6.0, 0.0], vec![8.0, 0.0, 0.0], vec![0.0, 0.0, 4.0]];
        let fitted = over(&counts, &[0, 1], THETA).unwrap();
        let found = fitted.residuals(&trial::csr(&counts), None).unwrap();
        assert_eq!(found[..6], [0.0; 6]);
        // n = 8, μ = (2, 6): (6/√2.04, −6/√6.36) clipped at √2.
        let clip = 2_f32.sqrt();
        assert_eq!(found[6..9], [clip, -clip, 0.0]);
        // μ = (1, 3, 0); a gene that training never saw is as far out as can be.
        let low = -1.0 / 1.01_f32.sqrt();
        assert!((found[9] - low).abs() < 1e-6 && found[11] == clip);
        let empty = fitted.residuals(&trial::csr(&[vec![0.0; 3]]), None).unwrap();
        assert_eq!(empty, [0.0; 3]);
    }

    fn lab(path: &std::path::Path, kind: ValueKind) -> (CellStore, Split) {
        let rows: Vec<Vec<f32>> = (0..60_u8).map(|cell| vec![1.0, f32::from(cell % 3), 2.0]).collect();
        let labels = trial::labels(&["A", "B"], (0..60).map(|cell| cell % 3).collect());
        let store = trial::store(path, &trial::csr(&rows), &labels, kind);
        let split = Split::make(store.labels(), store.data_hash(), &SplitOptions::new(Scheme::Cells)).unwrap();
        (store, split)
    }

    #[test]
    fn residuals_are_refused_under_another_split_and_without_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (store, split) = lab(&folder.path().join("a.zarr"), ValueKind::Counts);
        let fitted = PearsonResiduals::fit(&store, &split, THETA).unwrap();
        let block = store.read_rows(0..4).unwrap();
        assert_eq!(fitted.rows(&split, &block, None).unwrap().len(), 12);
        assert_eq!(fitted.fitted_on().cells, split.counts(Fold::Train).cells);
        let options = SplitOptions { seed: 43, ..SplitOptions::new(Scheme::Cells) };
        let other = Split::make(store.labels(), store.data_hash(), &options).unwrap();
        let error = fitted.rows(&other, &block, None).unwrap_err();
        assert!(matches!(error, ResidualsError::Split(SplitError::FittedElsewhere { .. })));
        let (logged, split) = lab(&folder.path().join("b.zarr"), ValueKind::Log1p);
        let error = PearsonResiduals::fit(&logged, &split, THETA).unwrap_err().to_string();
        assert!(error.contains("need raw counts"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let counts = [vec![1.0, 3.0], vec![2.0, 6.0]];
        let fitted = over(&counts, &[0, 1], THETA).unwrap();
        let message = |block: &Csr, columns| fitted.residuals(block, columns).unwrap_err().to_string();
        assert!(message(&Csr::empty(5), None).contains("column 5 asked for, but they were fitted on 2"));
        assert!(message(&Csr::empty(2), Some(&[2])).contains("column 2 asked for"));
        assert!(matches!(over(&counts, &[0], 0.0), Err(ResidualsError::Theta { .. })));
        assert!(matches!(over(&[vec![0.0; 2]], &[0], 1.0), Err(ResidualsError::NoCounts { .. })));
    }
}
