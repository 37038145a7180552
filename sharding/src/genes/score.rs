//! How variable a gene is: the scores of the flavours, from moments of its expression.
//!
//! Guarantee: the score of a gene depends on the set of the genes' moments, not on their order.

use super::loess::loess;
use super::moments::Moments;

/// Bins of genes of like mean in `seurat`.
const BINS: usize = 20;
/// Part of the genes in a local fit of `seurat_v3`.
const SPAN: f64 = 0.3;

/// `seurat` (Satija et al. 2015, as scanpy computes it): the logarithm of variance over mean, standardised among
/// the genes of one of 20 equal-width bins of `ln(1 + mean)`. A gene alone in its bin scores 1; one without
/// variance has no score (NaN).
pub(super) fn seurat(moments: &Moments) -> Vec<f64> {
    let dispersion: Vec<f64> = moments
        .mean()
        .iter()
        .zip(moments.variance())
        .map(|(&mean, variance)| match variance / if mean == 0.0 { 1e-12 } else { mean } {
            0.0 => f64::NAN,
            ratio => ratio.ln(),
        })
        .collect();
    let level: Vec<f64> = moments.mean().iter().map(|mean| mean.ln_1p()).collect();
    let bin = bins(&level);
    let mut members: Vec<Vec<f64>> = vec![Vec::new(); BINS];
    for (&bin, &dispersion) in bin.iter().zip(&dispersion) {
        if !dispersion.is_nan() {
            members[bin].push(dispersion);
        }
    }
    let scale: Vec<Option<(f64, f64)>> = members.iter_mut().map(|members| centre_and_spread(members)).collect();
    let score = |(&dispersion, &bin): (&f64, &usize)| match scale[bin] {
        _ if dispersion.is_nan() => f64::NAN,
        Some((centre, spread)) => (dispersion - centre) / spread,
        None => 1.0,
    };
    dispersion.iter().zip(&bin).map(score).collect()
}

/// The bin of every value among equal-width bins that are open below and closed above, the lowest value included,
/// as `pandas.cut` draws them.
fn bins(values: &[f64]) -> Vec<usize> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low >= high {
        // One value only: pandas widens the range by a thousandth to both sides, so it falls in the middle.
        return vec![BINS / 2 - 1; values.len()];
    }
    let step = (high - low) / BINS as f64;
    let edge = |at: usize| if at == BINS { high } else { low + at as f64 * step };
    let edges: Vec<f64> = (1..=BINS).map(edge).collect();
    values.iter().map(|value| edges.partition_point(|edge| edge < value).min(BINS - 1)).collect()
}

/// Mean and standard deviation (n − 1) of a bin of two genes or more.
fn centre_and_spread(members: &mut [f64]) -> Option<(f64, f64)> {
    if members.len() < 2 {
        return None;
    }
    // Sums in sorted order do not depend on the order of the genes.
    members.sort_by(f64::total_cmp);
    let n = members.len() as f64;
    let mean = members.iter().sum::<f64>() / n;
    let squares: f64 = members.iter().map(|member| (member - mean).powi(2)).sum();
    Some((mean, (squares / (n - 1.0)).sqrt()))
}

/// What `seurat_v3` (Stuart et al. 2019) expects of a gene, given the mean of its counts.
pub(super) struct Expected {
    /// Mean of the counts.
    pub(super) mean: Vec<f64>,
    /// Standard deviation on the trend of log₁₀ variance over log₁₀ mean; 1 for a gene without variance.
    pub(super) deviation: Vec<f64>,
    /// Counts above `mean + deviation·√n` are taken as that.
    pub(super) clip: Vec<f64>,
}

impl Expected {
    /// The trend over all genes with variance.
    pub(super) fn of(moments: &Moments) -> Self {
        let (mean, variance) = (moments.mean(), moments.variance());
        let varying: Vec<usize> = (0..mean.len()).filter(|&gene| variance[gene] > 0.0).collect();
        let log10 = |values: &[f64]| -> Vec<f64> { varying.iter().map(|&gene| values[gene].log10()).collect() };
        let trend = loess(&log10(mean), &log10(&variance), SPAN);
        let mut deviation = vec![1.0; mean.len()];
        for (&gene, trend) in varying.iter().zip(trend) {
            deviation[gene] = 10_f64.powf(trend).sqrt();
        }
        let root = (moments.n_rows() as f64).sqrt();
        let clip = mean.iter().zip(&deviation).map(|(mean, deviation)| mean + deviation * root).collect();
        Self { mean: mean.to_vec(), deviation, clip }
    }
}

/// Squared deviations from [`Expected::mean`] of counts clipped at [`Expected::clip`].
pub(super) struct ClippedSquares {
    n_rows: u64,
    stored: Vec<u64>,
    sums: Vec<f64>,
}

impl ClippedSquares {
    pub(super) fn new(n_cols: usize) -> Self {
        Self { n_rows: 0, stored: vec![0; n_cols], sums: vec![0.0; n_cols] }
    }

    /// Takes up a block of `n_rows` rows: the column and count of every stored element.
    pub(super) fn push_rows(&mut self, expected: &Expected, n_rows: usize, columns: &[u32], counts: &[f64]) {
        self.n_rows += n_rows as u64;
        for (&column, count) in columns.iter().zip(counts) {
            let gene = column as usize;
            self.sums[gene] += (count.min(expected.clip[gene]) - expected.mean[gene]).powi(2);
            self.stored[gene] += 1;
        }
    }

    /// Joins the sums of other rows.
    pub(super) fn merge(&mut self, other: &Self) {
        self.n_rows += other.n_rows;
        self.stored.iter_mut().zip(&other.stored).for_each(|(stored, other)| *stored += other);
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
    }

    /// Variance of the clipped counts in units of the expected one.
    pub(super) fn scores(&self, expected: &Expected) -> Vec<f64> {
        let of_gene = |gene: usize| {
            let absent = (self.n_rows - self.stored[gene]) as f64 * expected.mean[gene].powi(2);
            (self.sums[gene] + absent) / ((self.n_rows as f64 - 1.0) * expected.deviation[gene].powi(2))
        };
        (0..self.sums.len()).map(of_gene).collect()
    }
}
