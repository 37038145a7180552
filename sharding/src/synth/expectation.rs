//! Noise-free expression: the expectation of log1p(10⁴ · count / library) under the planted count model.
//!
//! Guarantee: integrated over negative-binomial counts, library size, lane, batch and cell state, so that the mean
//! of infinitely many cells of a condition tends to it. Two approximations are well below what a million cells show:
//! a cell's library is taken as drawn, not as realised by its counts (they differ by a few per cent, independently of
//! the condition), and what an effect does to the sum of all expression is averaged over batches. Every gene's
//! expectation is tabulated over its log fold change, so a condition costs one interpolation a gene.

use rayon::prelude::*;

use super::config::SynthConfig;
use super::counts::library_log_mean;
use super::elementary::{exp, ln_1p};
use super::panel::Panel;
use super::state::StateModel;

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
/// Cosines of an even turn: the three points of Gauss–Chebyshev, of equal weight.
const TURN: [f64; 3] = [-0.866_025_403_784_438_6, 0.0, 0.866_025_403_784_438_6];
/// Probability left out at the tail of a count distribution.
const TAIL: f64 = 1e-10;
/// Longest table of logarithms: counts above it get its last entry, which no sensible panel reaches.
const LONGEST_TABLE: usize = 1 << 17;

/// Log fold changes that are tabulated: the first one, their distance and their number. Others are integrated anew.
const FIRST: f64 = -6.0;
const STEP: f64 = 0.2;
const POINTS: usize = 51;

/// One value of a library size: log of the library, weight, and ln(1 + 10⁴ k / library) for k = 0, 1, …
struct LibraryNode {
    log_library: f64,
    weight: f64,
    batch: usize,
    log1p: Vec<f64>,
}

/// What the expectation of one gene in one context depends on.
struct Gene {
    /// Log share at rest, batch by batch, after normalisation.
    log_share: Vec<f64>,
    dispersion: f64,
    /// Standard deviation of its log expression over module activities.
    state_sd: f64,
    /// Amplitude in the cycle.
    cycle: f64,
}

/// The expectation of log-normalised expression under the count model.
pub(super) struct Expectation {
    nodes: Vec<LibraryNode>,
    contexts: Vec<Context>,
}

struct Context {
    genes: Vec<Gene>,
    /// Share of a gene in the expected sum of all rates, mean over batches.
    share: Vec<f64>,
    /// Gene × log fold change.
    table: Vec<[f32; POINTS]>,
}

impl Expectation {
    pub(super) fn new(config: &SynthConfig, panel: &Panel, states: &StateModel) -> Self {
        // The heaviest gene, well up in every tail, decides how long the tables of logarithms must be.
        let heaviest = panel.log_share.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let nodes: Vec<LibraryNode> = (0..panel.lane.len())
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
        let contexts = panel.log_share.iter().map(|log_share| Context::new(panel, states, log_share, &nodes)).collect();
        Self { nodes, contexts }
    }

    /// Expected log-normalised expression of every gene in a context under a log fold change.
    pub(super) fn of(&self, context: usize, log_fold: &[f32]) -> Vec<f32> {
        let Context { genes, share, table } = &self.contexts[context];
        let moved = log_fold.iter().zip(share).filter(|(fold, _)| **fold != 0.0);
        let shift = moved.map(|(&fold, share)| share * (exp(f64::from(fold)) - 1.0)).sum::<f64>().ln_1p();
        log_fold
            .iter()
            .enumerate()
            .map(|(gene, &fold)| {
                let change = f64::from(fold) - shift;
                interpolate(&table[gene], change).unwrap_or_else(|| genes[gene].expected(&self.nodes, change) as f32)
            })
            .collect()
    }
}

impl Context {
    fn new(panel: &Panel, states: &StateModel, log_share: &[f64], nodes: &[LibraryNode]) -> Self {
        let (variance, cycle) = (states.activity_variance(panel), states.cycle_amplitude(panel));
        let expected = |gene: usize, batch: &[f64]| -> f64 {
            (log_share[gene] + batch[gene] + 0.5 * variance[gene]).exp() * bessel_i0(cycle[gene])
        };
        let n = log_share.len();
        let totals: Vec<f64> = panel.batch.iter().map(|batch| (0..n).map(|gene| expected(gene, batch)).sum()).collect();
        let over_batches = || panel.batch.iter().zip(&totals);
        let genes: Vec<Gene> = (0..n)
            .map(|gene| Gene {
                log_share: over_batches().map(|(batch, total)| log_share[gene] + batch[gene] - total.ln()).collect(),
                dispersion: panel.dispersion[gene],
                state_sd: variance[gene].sqrt(),
                cycle: cycle[gene],
            })
            .collect();
        let mean_share = |gene| {
            over_batches().map(|(batch, total)| expected(gene, batch) / total).sum::<f64>() / totals.len() as f64
        };
        let share = (0..n).map(mean_share).collect();
        let tabulate = |gene: &Gene| -> [f32; POINTS] {
            std::array::from_fn(|at| gene.expected(nodes, FIRST + STEP * at as f64) as f32)
        };
        let table = genes.par_iter().map(tabulate).collect();
        Self { genes, share, table }
    }
}

impl Gene {
    /// Expected log-normalised expression after a log fold change of its share.
    fn expected(&self, nodes: &[LibraryNode], change: f64) -> f64 {
        let turn: &[f64] = if self.cycle > 0.0 { &TURN } else { &[0.0] };
        let mut sum = 0.0;
        for node in nodes {
            let log_mean = self.log_share[node.batch] + change + node.log_library;
            for (state, weight) in FIVE_POINTS {
                for cosine in turn {
                    let mean = exp(log_mean + state * self.state_sd + cosine * self.cycle);
                    sum += node.weight * weight * mean_log1p(mean, self.dispersion, &node.log1p) / turn.len() as f64;
                }
            }
        }
        sum
    }
}

/// Lagrange's cubic through the four points around a change; `None` outside the table.
fn interpolate(table: &[f32; POINTS], change: f64) -> Option<f32> {
    let place = (change - FIRST) / STEP;
    if !(1.0..(POINTS - 2) as f64).contains(&place) {
        return None;
    }
    let at = place as usize;
    let x = place - at as f64;
    let y = |offset: usize| f64::from(table[at + offset - 1]);
    let (before, after, last) = (x + 1.0, x - 1.0, x - 2.0);
    let cubic = -y(0) * x * after * last / 6.0 + y(1) * before * after * last / 2.0 - y(2) * before * x * last / 2.0
        + y(3) * before * x * after / 6.0;
    Some(cubic as f32)
}

/// Expectation of `table[count]` for a negative binomial of mean `mean` and dispersion `dispersion`.
fn mean_log1p(mean: f64, dispersion: f64, table: &[f64]) -> f64 {
    let size = 1.0 / dispersion;
    let odds = dispersion * mean / (1.0 + dispersion * mean);
    let mut probability = exp(-size * ln_1p(dispersion * mean));
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

/// I₀(x), the mean of exp(x cos θ) over a turn, by its series.
fn bessel_i0(x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..30 {
        term *= (0.5 * x / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, Gamma, Poisson};

    use super::{
        Expectation, FIRST, FIVE_POINTS, POINTS, STEP, THREE_POINTS, TURN, bessel_i0, interpolate, mean_log1p,
    };
    use crate::philox::{Philox, Purpose};
    use crate::synth::panel::Panel;
    use crate::synth::state::StateModel;
    use crate::synth::{Preset, SynthConfig, World};

    #[test]
    fn quadrature_has_the_moments_of_a_standard_normal_and_of_a_turn() {
        for rule in [&THREE_POINTS[..], &FIVE_POINTS[..]] {
            let moment = |power: i32| rule.iter().map(|(node, weight)| weight * node.powi(power)).sum::<f64>();
            assert!((moment(0) - 1.0).abs() < 1e-12 && moment(1).abs() < 1e-12);
            assert!((moment(2) - 1.0).abs() < 1e-12 && (moment(4) - 3.0).abs() < 1e-10);
        }
        let moment = |power: i32| TURN.iter().map(|cosine| cosine.powi(power)).sum::<f64>() / 3.0;
        assert!(moment(1).abs() < 1e-15 && (moment(2) - 0.5).abs() < 1e-12 && (moment(4) - 0.375).abs() < 1e-12);
        assert!((bessel_i0(0.0) - 1.0).abs() < 1e-15 && (bessel_i0(1.0) - 1.266_065_877_752_008_4).abs() < 1e-12);
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

    #[test]
    fn the_table_agrees_with_the_integral_between_its_points() {
        let config = SynthConfig { genes: 200, ..SynthConfig::preset(Preset::Demo, World::W3, 1) };
        let config = SynthConfig { singles: 20, ..config };
        let panel = Panel::plant(&config);
        let states = StateModel::plant(&config, &panel).unwrap();
        let expectation = Expectation::new(&config, &panel, &states);
        let context = &expectation.contexts[0];
        assert!((context.share.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        for (gene, table) in context.genes.iter().zip(&context.table).step_by(7) {
            for change in [-5.7, -3.33, -0.71, 0.0, 0.09, 1.5, 3.3] {
                let (found, whole) = (interpolate(table, change).unwrap(), gene.expected(&expectation.nodes, change));
                assert!((f64::from(found) - whole).abs() < 2e-4, "{change}: {found} {whole}");
            }
            assert!(interpolate(table, FIRST).is_none() && interpolate(table, FIRST + STEP * POINTS as f64).is_none());
        }
        let far = expectation.of(0, &vec![-8.0; 200]);
        let near = expectation.of(0, &vec![0.0; 200]);
        assert!(far.iter().zip(&near).all(|(far, near)| (far - near).abs() < 1e-4), "only shares matter");
    }
}
