//! Noise-free expression: the expectation of log1p(10⁴ · count / library) under the planted count model.
//!
//! Guarantee: integrated over negative-binomial counts, library size, lane, batch and cell state, so that the mean
//! of infinitely many cells of a condition tends to it. The one approximation is that a cell's library is taken
//! as drawn, not as realised by its counts (they differ by a few per cent, independently of the condition).

use rayon::prelude::*;

use super::config::SynthConfig;
use super::panel::Panel;

/// Counts per cell after normalisation.
pub(super) const NORMALISED_LIBRARY: f64 = 1e4;

/// Gauss–Hermite rule of three points for a standard normal: (node, weight).
const THREE_POINTS: [(f64, f64); 3] =
    [(-1.732_050_807_568_877_2, 1.0 / 6.0), (0.0, 2.0 / 3.0), (1.732_050_807_568_877_2, 1.0 / 6.0)];
/// Gauss–Hermite rule of five points for a standard normal.
const FIVE_POINTS: [(f64, f64); 5] = [
    (-2.856_970_013_872_805_6, 0.011_257_411_327_720_69),
    (-1.355_626_179_974_266, 0.222_075_922_005_612_64),
    (0.0, 0.533_333_333_333_333_3),
    (1.355_626_179_974_266, 0.222_075_922_005_612_64),
    (2.856_970_013_872_805_6, 0.011_257_411_327_720_69),
];
/// Probability left out at the tail of a count distribution.
const TAIL: f64 = 1e-10;
/// Longest table of logarithms: counts above it get its last entry, which no sensible panel reaches.
const LONGEST_TABLE: usize = 1 << 17;

/// Mean of the log library size around the log of its mean, per unit: keeps the mean near one at sd 0.35.
pub(super) fn library_log_mean(config: &SynthConfig) -> f64 {
    -0.5 * config.library_sd * config.library_sd
}

/// One value of a library size: log of the library, weight, and ln(1 + 10⁴ k / library) for k = 0, 1, …
struct LibraryNode {
    log_library: f64,
    weight: f64,
    batch: usize,
    log1p: Vec<f64>,
}

/// The expectation of log-normalised expression under the count model of W0 and W2.
pub(super) struct Expectation<'a> {
    panel: &'a Panel,
    state_sd: Vec<f64>,
    nodes: Vec<LibraryNode>,
}

impl<'a> Expectation<'a> {
    pub(super) fn new(config: &SynthConfig, panel: &'a Panel) -> Self {
        let state_sd: Vec<f64> = panel.state_variance(config.state_amplitude).into_iter().map(f64::sqrt).collect();
        // The heaviest gene, well up in every tail, decides how long the tables must be.
        let heaviest = panel.log_share.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let nodes = (0..panel.lane.len())
            .flat_map(|batch| THREE_POINTS.map(|(node, weight)| (batch, node, weight)))
            .map(|(batch, node, weight)| {
                let log_library = config.mean_library().ln()
                    + library_log_mean(config)
                    + panel.lane[batch]
                    + node * config.library_sd;
                let longest = (40.0 * (log_library + heaviest).exp() + 200.0).min(LONGEST_TABLE as f64) as usize;
                let per_count = NORMALISED_LIBRARY / log_library.exp();
                let log1p = (0..longest).map(|count| (per_count * count as f64).ln_1p()).collect();
                LibraryNode { log_library, weight: weight / panel.lane.len() as f64, batch, log1p }
            })
            .collect();
        Self { panel, state_sd, nodes }
    }

    /// Expected log-normalised expression of every gene in a context under a log fold change.
    pub(super) fn of(&self, context: usize, log_fold: &[f64]) -> Vec<f64> {
        let log_share = &self.panel.log_share[context];
        let log_total: Vec<f64> = (0..self.panel.lane.len())
            .map(|batch| self.log_rates(log_share, log_fold, batch).map(|(rate, sd)| (rate + 0.5 * sd * sd).exp()))
            .map(|rates| rates.sum::<f64>().ln())
            .collect();
        (0..log_fold.len())
            .into_par_iter()
            .map(|gene| {
                let sd = self.state_sd[gene];
                self.nodes
                    .iter()
                    .map(|node| {
                        let log_mean = log_share[gene] + log_fold[gene] + self.panel.batch[node.batch][gene]
                            - log_total[node.batch]
                            + node.log_library;
                        let over_states = |(state, weight): &(f64, f64)| {
                            let mean = (log_mean + state * sd).exp();
                            weight * mean_log1p(mean, self.panel.dispersion[gene], &node.log1p)
                        };
                        node.weight * FIVE_POINTS.iter().map(over_states).sum::<f64>()
                    })
                    .sum()
            })
            .collect()
    }

    fn log_rates<'b>(
        &'b self,
        log_share: &'b [f64],
        log_fold: &'b [f64],
        batch: usize,
    ) -> impl Iterator<Item = (f64, f64)> + 'b {
        log_share
            .iter()
            .zip(log_fold)
            .zip(&self.panel.batch[batch])
            .zip(&self.state_sd)
            .map(|(((share, fold), shift), &sd)| (share + fold + shift, sd))
    }
}

/// Expectation of `table[count]` for a negative binomial of mean `mean` and dispersion `dispersion`.
fn mean_log1p(mean: f64, dispersion: f64, table: &[f64]) -> f64 {
    let size = 1.0 / dispersion;
    let odds = dispersion * mean / (1.0 + dispersion * mean);
    let mut probability = (-size * (dispersion * mean).ln_1p()).exp();
    let mut covered = probability;
    let mut sum = 0.0;
    for (count, value) in table.iter().enumerate().skip(1) {
        probability *= odds * (size + count as f64 - 1.0) / count as f64;
        covered += probability;
        sum += probability * value;
        if covered > 1.0 - TAIL {
            return sum;
        }
    }
    sum + (1.0 - covered).max(0.0) * table.last().copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, Gamma, Poisson};

    use super::{FIVE_POINTS, THREE_POINTS, mean_log1p};
    use crate::philox::{Philox, Purpose};

    #[test]
    fn quadrature_has_the_moments_of_a_standard_normal() {
        for rule in [&THREE_POINTS[..], &FIVE_POINTS[..]] {
            let moment = |power: i32| rule.iter().map(|(node, weight)| weight * node.powi(power)).sum::<f64>();
            assert!((moment(0) - 1.0).abs() < 1e-12 && moment(1).abs() < 1e-12);
            assert!((moment(2) - 1.0).abs() < 1e-12 && (moment(4) - 3.0).abs() < 1e-10);
        }
    }

    #[test]
    fn expectation_agrees_with_sampled_negative_binomials() {
        let mut random = Philox::new(1, Purpose::Trial, 0, 0);
        for (mean, dispersion, per_count) in [(0.2, 0.2, 3.0), (1.6, 0.3, 3.0), (40.0, 0.1, 2.0)] {
            let table: Vec<f64> = (0..2_000).map(|count| (per_count * f64::from(count)).ln_1p()).collect();
            let gamma = Gamma::new(1.0 / dispersion, dispersion).unwrap();
            let draws = 200_000;
            let sampled = (0..draws)
                .map(|_| {
                    let count: f64 = Poisson::new(mean * gamma.sample(&mut random)).unwrap().sample(&mut random);
                    table[count as usize]
                })
                .sum::<f64>()
                / f64::from(draws);
            let expected = mean_log1p(mean, dispersion, &table);
            assert!((sampled - expected).abs() < 0.006, "mean {mean}: sampled {sampled}, expected {expected}");
        }
    }

    #[test]
    fn a_geometric_count_has_its_textbook_probability_of_zero() {
        // Dispersion 1 is geometric: P(0) = 1 / (1 + mean).
        let table = [0.0, 1.0, 1.0, 1.0];
        assert!((mean_log1p(3.0, 1.0, &table) - 0.75).abs() < 1e-12);
    }
}
