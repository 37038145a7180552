//! Cells of a store as dense tensors, and their augmented views.

use syncyte_kernels::expression::{Genes, log_normalise};
use syncyte_kernels::rows::{Rows, Scale};
use syncyte_sharding::block::Block;
use syncyte_sharding::csr::Csr;
use syncyte_sharding::expression;
use syncyte_sharding::philox::{Philox, Purpose};
use syncyte_sharding::store::{CellStore, ValueKind};
use tch::Tensor;

use crate::config::{MaskConfig, MaskKind};

/// Log-normalised expression `[rows, genes]` (D4): `log1p(1e4·x/Σx)` with the total over all genes that passed
/// quality control; values that are log-normalised already pass through.
pub fn dense(store: &CellStore, rows: &[u64], cells: &Csr) -> Tensor {
    Tensor::from_slice(&dense_values(store, rows, cells)).view([cells.n_rows() as i64, cells.n_cols as i64])
}

/// As [`dense`], as values in row order.
pub fn dense_values(store: &CellStore, rows: &[u64], cells: &Csr) -> Vec<f32> {
    match store.info().value_kind {
        ValueKind::Counts => {
            let totals: Vec<f32> = rows.iter().map(|&row| store.library_size()[row as usize]).collect();
            normalised(cells, Scale::Library(&totals))
        }
        ValueKind::Log1p => normalised(cells, Scale::LogNormalised),
    }
}

fn normalised(cells: &Csr, scale: Scale<'_>) -> Vec<f32> {
    let mut out = vec![0.0; cells.n_rows() * cells.n_cols];
    let rows = Rows { indptr: &cells.indptr, indices: &cells.indices, values: &cells.values };
    let done = log_normalise(rows, scale, Genes::All(cells.n_cols), &mut out);
    debug_assert!(done.is_ok(), "a block of the store has the lengths that its own indptr says: {done:?}");
    out
}

/// As [`dense`], of a block as it is stored.
pub fn dense_block(store: &CellStore, rows: &[u64], cells: &Block) -> Tensor {
    let mut out = vec![0.0_f32; cells.n_rows() * cells.n_cols];
    let totals: Vec<f32> = rows.iter().map(|&row| store.library_size()[row as usize]).collect();
    let scale = match store.info().value_kind {
        ValueKind::Counts => Scale::Library(&totals),
        ValueKind::Log1p => Scale::LogNormalised,
    };
    let done = expression::log_normalise(cells, scale, Genes::All(cells.n_cols), &mut out);
    debug_assert!(done.is_ok(), "a block of the store has the lengths that its own starts say: {done:?}");
    Tensor::from_slice(&out).view([cells.n_rows() as i64, cells.n_cols as i64])
}

/// What makes the random numbers of a view.
#[derive(Clone, Copy, Debug)]
pub struct ViewKey {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run.
    pub step: u64,
    /// 0 for the student's view, 1 for the teacher's.
    pub view: u64,
}

/// One augmented view of every cell (D11), a pure function of (seed, step, cell, view), as `[rows, genes]`.
///
/// On counts: each gene is kept with probability `keep`, then a Poisson count of that mean is drawn and the
/// row is normalised by its new total (genes without counts stay at zero). On log-normalised values: each gene
/// is kept with probability `keep` and a kept value gets normal noise; it is never below zero.
pub fn augmented(config: &MaskConfig, rows: &[u64], cells: &Csr, key: ViewKey) -> Tensor {
    let mut view = Csr { values: Vec::with_capacity(cells.nnz()), ..cells.clone() };
    let mut totals = Vec::with_capacity(rows.len());
    for (index, &row) in rows.iter().enumerate() {
        let mut random = Philox::new(key.seed, Purpose::Augment, row, key.step * 2 + key.view);
        let start = view.values.len();
        for &value in cells.row(index).1 {
            let kept = if random.next_f64() < config.keep { value } else { 0.0 };
            view.values.push(match config.kind {
                MaskKind::Poisson => poisson(&mut random, kept),
                MaskKind::Gaussian if kept > 0.0 => (kept + (random.normal() * config.noise) as f32).max(0.0),
                MaskKind::Gaussian => 0.0,
            });
        }
        totals.push(view.values[start..].iter().sum());
    }
    let scale = match config.kind {
        MaskKind::Poisson => Scale::Library(&totals),
        MaskKind::Gaussian => Scale::LogNormalised,
    };
    Tensor::from_slice(&normalised(&view, scale)).view([cells.n_rows() as i64, cells.n_cols as i64])
}

fn poisson(random: &mut Philox, mean: f32) -> f32 {
    use rand_distr::Distribution;
    if mean <= 0.0 {
        return 0.0;
    }
    rand_distr::Poisson::new(mean).map_or(0.0, |distribution| distribution.sample(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_view_has_the_specified_mean_and_variance() {
        let x = 10.0_f32;
        let n = 20_000;
        let draws: Vec<f64> = (0..n)
            .map(|row| {
                let mut random = Philox::new(1, Purpose::Augment, row, 0);
                let kept = if random.next_f64() < 0.8 { x } else { 0.0 };
                f64::from(poisson(&mut random, kept))
            })
            .collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        assert!((mean - 8.0).abs() < 0.12, "{mean}");
        assert!((variance - (8.0 + 16.0)).abs() < 0.8, "{variance}");
    }

    #[test]
    fn views_depend_on_the_cell_and_not_on_its_place_in_the_batch() {
        let mut cells = Csr::empty(3);
        cells.push_row(&[0, 2], &[5.0, 7.0]);
        cells.push_row(&[1], &[9.0]);
        let mut swapped = Csr::empty(3);
        swapped.push_row(&[1], &[9.0]);
        swapped.push_row(&[0, 2], &[5.0, 7.0]);
        let key = ViewKey { seed: 3, step: 11, view: 0 };
        let config = MaskConfig::default();
        let one = augmented(&config, &[40, 41], &cells, key);
        let two = augmented(&config, &[41, 40], &swapped, key);
        assert_eq!(one, two.flip([0]));
        assert_ne!(one, augmented(&config, &[40, 41], &cells, ViewKey { view: 1, ..key }));
    }
}
