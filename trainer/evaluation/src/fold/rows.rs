//! Blocks of log-normalised cells and their labels, as the accumulators take them.

use ndarray::ArrayView2;
use syncyte_sharding::csr::Csr;
use syncyte_sharding::labels::Labels;

use super::FoldError;

/// One perturbation of one kind in one context: the unit of training statistics and of evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// Number of the context in [`Labels::contexts`].
    pub context: u32,
    /// Number of the kind in [`Labels::kinds`]: activation and interference of one gene are two conditions.
    pub kind: u32,
    /// Number of the perturbation in [`Labels::perturbations`].
    pub perturbation: u32,
}

/// Labels of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLabel {
    /// Row of the store; decides which cells a bounded sample keeps.
    pub cell: u64,
    /// What was done to the cell.
    pub condition: Condition,
}

impl RowLabel {
    /// The labels of a cell of a store.
    ///
    /// # Panics
    /// When the store has no such cell.
    pub fn of(labels: &Labels, cell: u64) -> Self {
        let at = cell as usize;
        let condition =
            Condition { context: labels.context[at], kind: labels.kind[at], perturbation: labels.perturbation[at] };
        Self { cell, condition }
    }

    /// Whether the cell is a control.
    pub fn is_control(&self) -> bool {
        self.condition.perturbation == 0
    }
}

/// Log-normalised rows, cells × genes.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// All values.
    Dense(ArrayView2<'a, f32>),
    /// The values that are not zero.
    Sparse(&'a Csr),
}

impl Rows<'_> {
    /// Number of cells.
    pub fn n_rows(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.nrows(),
            Self::Sparse(rows) => rows.n_rows(),
        }
    }

    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.ncols(),
            Self::Sparse(rows) => rows.n_cols,
        }
    }

    /// Genes and values of a row that are not zero.
    pub(super) fn non_zero(&self, row: usize) -> (Vec<u32>, Vec<f32>) {
        match self {
            Self::Dense(rows) => {
                let stored = rows.row(row);
                stored.iter().enumerate().filter(|(_, value)| **value != 0.0).map(|(gene, &v)| (gene as u32, v)).unzip()
            }
            Self::Sparse(rows) => {
                let (genes, values) = rows.row(row);
                (genes.to_vec(), values.to_vec())
            }
        }
    }

    /// Adds a function of the values of a row to sums over cells; it must take zero to zero.
    pub(super) fn add_to(&self, row: usize, of: impl Fn(f64) -> f64, sums: &mut ndarray::Array1<f64>) {
        match self {
            Self::Dense(rows) => {
                sums.iter_mut().zip(rows.row(row)).for_each(|(sum, &value)| *sum += of(f64::from(value)));
            }
            Self::Sparse(rows) => {
                let (genes, values) = rows.row(row);
                genes.iter().zip(values).for_each(|(&gene, &value)| sums[gene as usize] += of(f64::from(value)));
            }
        }
    }

    /// Checks a block against its labels and the genes of the fold.
    pub(super) fn check(&self, labels: &[RowLabel], genes: &[String]) -> Result<(), FoldError> {
        if labels.len() != self.n_rows() {
            return Err(FoldError::Labels { labels: labels.len(), rows: self.n_rows() });
        }
        if self.n_genes() != genes.len() {
            return Err(FoldError::Genes { expected: genes.len(), found: self.n_genes() });
        }
        let bad = match self {
            Self::Dense(rows) => {
                rows.indexed_iter().find(|(_, v)| !v.is_finite()).map(|((row, gene), &v)| (row, gene, v))
            }
            Self::Sparse(rows) => (0..rows.n_rows()).find_map(|row| {
                let (genes, values) = rows.row(row);
                let at = values.iter().position(|value| !value.is_finite())?;
                Some((row, genes[at] as usize, values[at]))
            }),
        };
        match bad {
            Some((row, gene, value)) => {
                Err(FoldError::NotFinite { cell: labels[row].cell, gene: genes[gene].clone(), value })
            }
            None => Ok(()),
        }
    }
}
