//! Held-out cells of one condition, or the held-out controls of one context: means and variances over all cells, in
//! two halves, and a bounded sample of each half.
//!
//! Guarantee: cells go to the halves in turn, in the order in which they come, so the halves are disjoint and as equal as
//! they can be, in number and over the batches of a store.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use syncyte_sharding::csr::Csr;

use super::rows::Rows;
use super::sample::Sample;

/// One half of the cells of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Half {
    /// Number of cells, kept or not.
    pub n: u64,
    /// Mean over all of them; zero where there are none.
    pub mean: Array1<f64>,
    /// Mean of their embeddings, by encoder.
    pub latents: Vec<Array1<f64>>,
    /// The kept cells, ascending.
    pub cells: Vec<u64>,
    /// Rows of the kept cells.
    pub rows: Csr,
}

impl Half {
    /// The kept cells, all values.
    pub fn dense(&self) -> Array2<f32> {
        let mut dense = Array2::zeros((self.rows.n_rows(), self.rows.n_cols));
        for (row, mut target) in dense.rows_mut().into_iter().enumerate() {
            let (genes, values) = self.rows.row(row);
            genes.iter().zip(values).for_each(|(&gene, &value)| target[gene as usize] = value);
        }
        dense
    }
}

/// All cells of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Number of cells, kept or not.
    pub n: u64,
    /// Mean over all of them.
    pub mean: Array1<f64>,
    /// Variance of a cell over all of them, with divisor `n − 1`; zero for one cell.
    pub variance: Array1<f64>,
    /// Mean of their embeddings, by encoder.
    pub latents: Vec<Array1<f64>>,
    /// Variance of the embedding of a cell, by encoder.
    pub latent_variances: Vec<Array1<f64>>,
    /// The two halves.
    pub halves: [Half; 2],
}

/// Sums over cells.
#[derive(Clone, Debug)]
struct Sums {
    sum: Array1<f64>,
    latents: Vec<Array1<f64>>,
}

/// Gathers a group, cell by cell.
pub(super) struct Growing {
    n: [u64; 2],
    sums: [Sums; 2],
    samples: [Sample; 2],
    squares: Sums,
}

impl Growing {
    /// Starts with no cells; at most `capacity` of them are kept, half of them of each half.
    pub(super) fn new(n_genes: usize, capacity: usize, seed: u64) -> Self {
        let sums = || Sums { sum: Array1::zeros(n_genes), latents: vec![] };
        let sample = || Sample::new(capacity.div_ceil(2), seed);
        Self { n: [0, 0], sums: [sums(), sums()], samples: [sample(), sample()], squares: sums() }
    }

    /// Adds a row, with the embeddings of the cell by encoder.
    pub(super) fn add(&mut self, cell: u64, rows: Rows<'_>, row: usize, latents: &[ArrayView2<'_, f32>]) {
        let half = usize::from(self.n[0] > self.n[1]);
        self.n[half] += 1;
        rows.add_to(row, |value| value, &mut self.sums[half].sum);
        rows.add_to(row, |value| value * value, &mut self.squares.sum);
        for (at, latents) in latents.iter().enumerate() {
            let latent = latents.row(row);
            add(&mut self.sums[half].latents, at, latent, |value| value);
            add(&mut self.squares.latents, at, latent, |value| value * value);
        }
        self.samples[half].offer(cell, rows, row);
    }

    /// Divides the sums.
    pub(super) fn finish(self) -> Group {
        let [first, second] = self.sums;
        let n = self.n[0] + self.n[1];
        let total = |a: &Array1<f64>, b: &Array1<f64>| (a + b) / n.max(1) as f64;
        let mean = total(&first.sum, &second.sum);
        // Where a half has no cell, its sums are of nothing.
        let part = |sums: &Sums, at: usize, squares: &Array1<f64>| {
            sums.latents.get(at).cloned().unwrap_or_else(|| Array1::zeros(squares.len()))
        };
        let squares = &self.squares.latents;
        let latent =
            |(at, squares): (usize, &Array1<f64>)| total(&part(&first, at, squares), &part(&second, at, squares));
        let latents: Vec<Array1<f64>> = squares.iter().enumerate().map(latent).collect();
        let variance = variance(&self.squares.sum, &mean, n);
        let latent_variances = squares.iter().zip(&latents).map(|(s, m)| self::variance(s, m, n)).collect();
        let n_genes = mean.len();
        let half = |sums: Sums, sample: Sample, n: u64| {
            let (cells, rows) = sample.into_cells(n_genes);
            let count = n.max(1) as f64;
            let latents = squares.iter().enumerate().map(|(at, squares)| part(&sums, at, squares) / count).collect();
            Half { n, mean: sums.sum / count, latents, cells, rows }
        };
        let [first_sample, second_sample] = self.samples;
        let halves = [half(first, first_sample, self.n[0]), half(second, second_sample, self.n[1])];
        Group { n, mean, variance, latents, latent_variances, halves }
    }
}

fn add(sums: &mut Vec<Array1<f64>>, at: usize, row: ArrayView1<'_, f32>, of: impl Fn(f64) -> f64) {
    if sums.len() == at {
        sums.push(Array1::zeros(row.len()));
    }
    sums[at].iter_mut().zip(row).for_each(|(sum, &value)| *sum += of(f64::from(value)));
}

/// `(Σx² − n x̄²) / (n − 1)`, not below zero.
fn variance(squares: &Array1<f64>, mean: &Array1<f64>, n: u64) -> Array1<f64> {
    let n = n as f64;
    ndarray::Zip::from(squares)
        .and(mean)
        .map_collect(|&square, &mean| if n < 2.0 { 0.0 } else { ((square - n * mean * mean) / (n - 1.0)).max(0.0) })
}
