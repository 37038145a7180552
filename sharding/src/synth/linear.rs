//! Cells of W1: counts whose log-normalised expectation is exactly linear.
//!
//! Log-normalised expression of a gene is t = mean + effect + noise, with Gaussian states and Gaussian noise (cut
//! off symmetrically where t would fall below zero, so the mean stays). The count is one of the two integers whose
//! log-normalised values enclose t, drawn so that its expectation *is* t. All libraries have one size: the best
//! expressed genes (the ballast) take what the others leave, so dividing by the realised library changes nothing.
//!
//! Guarantee: expected effects add up gene by gene, to the last bit of their `f32` sum. On the ballast the
//! planted value is additive too, and the cells follow it to second order in the mass that the effects move.

use crate::philox::Philox;

use super::config::SynthConfig;
use super::counts::{Place, Row};
use super::effect::Effects;
use super::expectation::NORMALISED_LIBRARY;
use super::panel::Panel;
use super::stream::normal;

/// Standard deviation of a gene's noise in log-normalised expression.
const NOISE_SD: f64 = 0.25;
/// A single takes at most this share of a gene's mean, so that a double cannot take it all.
const LARGEST_FALL: f64 = 0.45;
/// A single adds at most this much.
const LARGEST_RISE: f64 = 1.2;
/// The ballast keeps at least this share of the library.
const LEAST_BALLAST: f64 = 0.02;

/// Linear-Gaussian expression.
pub(super) struct LinearModel {
    library: f64,
    state_amplitude: f64,
    /// Derivative of log1p expression to log expression: context × gene.
    slope: Vec<Vec<f64>>,
    /// Share of every ballast gene in the ballast: context × ballast gene.
    ballast_share: Vec<Vec<f64>>,
    /// Expected log-normalised expression: context × condition × gene.
    expected: Vec<Vec<Vec<f64>>>,
}

impl LinearModel {
    pub(super) fn new(config: &SynthConfig, panel: &Panel, effects: &Effects) -> Self {
        let library = config.mean_library().round();
        let mut model = Self {
            library,
            state_amplitude: config.state_amplitude,
            slope: Vec::new(),
            ballast_share: Vec::new(),
            expected: Vec::new(),
        };
        let state_variance = panel.state_variance(config.state_amplitude);
        for log_share in &panel.log_share {
            let mean: Vec<f64> = log_share.iter().map(|log| (NORMALISED_LIBRARY * log.exp()).ln_1p()).collect();
            let slope: Vec<f64> = mean.iter().map(|mean| -(-mean).exp_m1()).collect();
            let sd: Vec<f64> = slope
                .iter()
                .zip(&state_variance)
                .map(|(slope, variance)| (slope * slope * variance + NOISE_SD * NOISE_SD).sqrt())
                .collect();
            let held: f64 = panel.ballast.iter().map(|&gene| log_share[gene as usize].exp()).sum();
            let share: Vec<f64> = panel.ballast.iter().map(|&gene| log_share[gene as usize].exp() / held).collect();
            let context = Context { library, mean: &mean, slope: &slope, sd: &sd, share: &share };
            model.expected.push(context.expected(panel, effects));
            model.slope.push(slope);
            model.ballast_share.push(share);
        }
        model
    }

    /// Expected log-normalised expression: context × condition × gene.
    pub(super) fn expected(&self) -> &[Vec<Vec<f64>>] {
        &self.expected
    }

    /// Draws one cell.
    pub(super) fn draw(&self, panel: &Panel, place: Place, random: &mut Philox) -> Row {
        let mut state = vec![0.0; panel.genes.len()];
        for program in &panel.programs {
            program.add_to(&mut state, self.state_amplitude * normal(random));
        }
        let mean = &self.expected[place.context][place.condition];
        let slope = &self.slope[place.context];
        let mut counts = vec![0.0; panel.genes.len()];
        for &gene in &panel.responders {
            let gene = gene as usize;
            let noise = slope[gene] * state[gene] + NOISE_SD * normal(random);
            let (low, chance) = enclose(cut_off(mean[gene], noise), self.library);
            counts[gene] = low + f64::from(u8::from(random.next_f64() < chance));
        }
        let left = (self.library - counts.iter().sum::<f64>()).max(0.0);
        for (&gene, share) in panel.ballast.iter().zip(&self.ballast_share[place.context]) {
            counts[gene as usize] = (left * share + random.next_f64()).floor();
        }
        let mut row = Row::default();
        counts.into_iter().enumerate().for_each(|(gene, count)| row.push(gene, count));
        row
    }
}

/// What one context has planted, while expectations are worked out.
struct Context<'a> {
    library: f64,
    mean: &'a [f64],
    slope: &'a [f64],
    sd: &'a [f64],
    share: &'a [f64],
}

impl Context<'_> {
    fn expected(&self, panel: &Panel, effects: &Effects) -> Vec<Vec<f64>> {
        let mut baseline = self.mean.to_vec();
        let ballast = self.ballast(panel, &baseline);
        panel.ballast.iter().zip(&ballast).for_each(|(&gene, value)| baseline[gene as usize] = *value);
        let doubles = effects.doubles();
        let mut change: Vec<Vec<f64>> =
            effects.log_fold.iter().map(|fold| self.single(panel, &baseline, fold)).collect();
        for (double, first, second) in doubles {
            // Summed as f32, for that is how the truth is stored and compared.
            change[double] = change[first]
                .iter()
                .zip(&change[second])
                .map(|(&first, &second)| f64::from(first as f32 + second as f32))
                .collect();
        }
        change.iter().map(|change| baseline.iter().zip(change).map(|(base, change)| base + change).collect()).collect()
    }

    /// Change of expected expression under a single perturbation, the ballast included.
    fn single(&self, panel: &Panel, baseline: &[f64], log_fold: &[f64]) -> Vec<f64> {
        let mut change = vec![0.0; baseline.len()];
        if log_fold.iter().all(|&fold| fold == 0.0) {
            return change;
        }
        for &gene in &panel.responders {
            let gene = gene as usize;
            let linear = self.slope[gene] * log_fold[gene];
            change[gene] = f64::from(linear.clamp(-LARGEST_FALL * baseline[gene], LARGEST_RISE) as f32);
        }
        let shifted: Vec<f64> = baseline.iter().zip(&change).map(|(base, change)| base + change).collect();
        for (&gene, value) in panel.ballast.iter().zip(self.ballast(panel, &shifted)) {
            change[gene as usize] = f64::from((value - baseline[gene as usize]) as f32);
        }
        change
    }

    /// Expected expression of the ballast genes when the responders have the given means.
    fn ballast(&self, panel: &Panel, mean: &[f64]) -> Vec<f64> {
        let taken: f64 = panel
            .responders
            .iter()
            .map(|&gene| expected_count(mean[gene as usize], self.sd[gene as usize], self.library))
            .sum();
        let left = (self.library - taken).max(LEAST_BALLAST * self.library);
        self.share.iter().map(|share| (NORMALISED_LIBRARY * left * share / self.library).ln_1p()).collect()
    }
}

/// Mean plus noise, the noise cut off symmetrically so that the sum is never negative and its mean stays.
fn cut_off(mean: f64, noise: f64) -> f64 {
    mean + noise.clamp(-mean, mean)
}

/// The count below log-normalised value `value`, and the chance of the next one that makes `value` the expectation.
fn enclose(value: f64, library: f64) -> (f64, f64) {
    let per_count = NORMALISED_LIBRARY / library;
    let low = (value.exp_m1() / per_count).floor().max(0.0);
    let (below, above) = ((per_count * low).ln_1p(), (per_count * (low + 1.0)).ln_1p());
    (low, (value - below) / (above - below))
}

/// Expected count of a gene of given mean and noise (three-point quadrature).
fn expected_count(mean: f64, sd: f64, library: f64) -> f64 {
    [(-3.0_f64.sqrt(), 1.0 / 6.0), (0.0, 2.0 / 3.0), (3.0_f64.sqrt(), 1.0 / 6.0)]
        .iter()
        .map(|(node, weight)| {
            let (low, chance) = enclose(cut_off(mean, node * sd), library);
            weight * (low + chance)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{cut_off, enclose};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_enclosing_counts_have_the_value_as_expectation(value in 0.0..8.0_f64, library in 500.0..20_000.0_f64) {
            let (low, chance) = enclose(value, library);
            prop_assert!((-1e-9..=1.0 + 1e-9).contains(&chance));
            let log1p = |count: f64| (1e4 * count / library).ln_1p();
            let expectation = (1.0 - chance) * log1p(low) + chance * log1p(low + 1.0);
            prop_assert!((expectation - value).abs() < 1e-9);
        }

        #[test]
        fn cutting_off_keeps_the_mean_and_the_sign(mean in 0.0..3.0_f64, noise in -5.0..5.0_f64) {
            let (up, down) = (cut_off(mean, noise), cut_off(mean, -noise));
            prop_assert!(up >= 0.0 && down >= 0.0 && (f64::midpoint(up, down) - mean).abs() < 1e-12);
        }
    }
}
