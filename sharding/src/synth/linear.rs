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
use super::counts::Rows;
use super::course::Pace;
use super::effect::Effects;
use super::expectation::NORMALISED_LIBRARY;
use super::panel::Panel;
use super::state::{State, StateModel};
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
    contexts: Vec<Context>,
}

/// What one context has planted.
struct Context {
    /// Expected log-normalised expression of control cells.
    baseline: Vec<f64>,
    /// Derivative of log1p expression to log expression.
    slope: Vec<f64>,
    /// Standard deviation of log-normalised expression.
    sd: Vec<f64>,
    /// Share of every ballast gene in the ballast.
    ballast_share: Vec<f64>,
}

/// A condition in a context, as much of it as is shown.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) context: usize,
    pub(super) condition: usize,
    pub(super) amplitude: f32,
    pub(super) pace: Pace<'a>,
}

impl LinearModel {
    pub(super) fn new(config: &SynthConfig, panel: &Panel, states: &StateModel) -> Self {
        let variance = states.activity_variance(panel);
        let mut model = Self { library: config.mean_library().round(), contexts: Vec::new() };
        for log_share in &panel.log_share {
            let mean: Vec<f64> = log_share.iter().map(|log| (NORMALISED_LIBRARY * log.exp()).ln_1p()).collect();
            let slope: Vec<f64> = mean.iter().map(|mean| -(-mean).exp_m1()).collect();
            let sd = slope
                .iter()
                .zip(&variance)
                .map(|(slope, variance)| (slope * slope * variance + NOISE_SD * NOISE_SD).sqrt())
                .collect();
            let held: f64 = panel.ballast.iter().map(|&gene| log_share[gene as usize].exp()).sum();
            let ballast_share = panel.ballast.iter().map(|&gene| log_share[gene as usize].exp() / held).collect();
            let mut context = Context { baseline: mean, slope, sd, ballast_share };
            let ballast = model.ballast(panel, &context, &context.baseline);
            panel.ballast.iter().zip(ballast).for_each(|(&gene, value)| context.baseline[gene as usize] = value);
            model.contexts.push(context);
        }
        model
    }

    /// Expected log-normalised expression of control cells of a context.
    pub(super) fn baseline(&self, context: usize) -> Vec<f32> {
        self.contexts[context].baseline.iter().map(|&value| value as f32).collect()
    }

    /// Expected change of log-normalised expression, the ballast included.
    pub(super) fn change(&self, panel: &Panel, effects: &Effects, shown: Shown<'_>) -> Vec<f32> {
        Self::summed(effects, shown, |shown| {
            let context = &self.contexts[shown.context];
            let mut change = context.responders(panel, effects, shown);
            if change.iter().any(|&change| change != 0.0) {
                let shifted: Vec<f64> =
                    context.baseline.iter().zip(&change).map(|(base, &change)| base + f64::from(change)).collect();
                for (&gene, value) in panel.ballast.iter().zip(self.ballast(panel, context, &shifted)) {
                    change[gene as usize] = (value - context.baseline[gene as usize]) as f32;
                }
            }
            change
        })
    }

    /// Draws one cell.
    pub(super) fn draw(
        &self,
        (panel, states, effects): (&Panel, &StateModel, &Effects),
        shown: Shown<'_>,
        state: &State,
        random: &mut Philox,
        rows: &mut Rows,
    ) {
        let context = &self.contexts[shown.context];
        let mut moved = vec![0.0; panel.genes.len()];
        states.add_to(panel, state, &mut moved);
        let change = Self::summed(effects, shown, |shown| context.responders(panel, effects, shown));
        let mut counts = vec![0.0; panel.genes.len()];
        for &gene in &panel.responders {
            let gene = gene as usize;
            let noise = context.slope[gene] * f64::from(moved[gene]) + NOISE_SD * normal(random);
            let mean = context.baseline[gene] + f64::from(change[gene]);
            let (low, chance) = enclose(cut_off(mean, noise), self.library);
            counts[gene] = low + f64::from(u8::from(random.next_f64() < chance));
        }
        let left = (self.library - counts.iter().sum::<f64>()).max(0.0);
        for (&gene, share) in panel.ballast.iter().zip(&context.ballast_share) {
            counts[gene as usize] = (left * share + random.next_f64()).floor();
        }
        (0..).zip(&counts).for_each(|(gene, &count)| rows.push(gene, count as f32));
        rows.close();
    }

    /// The change of a single, or the sum of those of a double's singles, as `f32`: so the truth is compared.
    fn summed(effects: &Effects, shown: Shown<'_>, single: impl Fn(Shown<'_>) -> Vec<f32>) -> Vec<f32> {
        match effects.singles_of(shown.condition) {
            Some(singles) => {
                let [first, second] = singles.map(|condition| single(Shown { condition, ..shown }));
                first.iter().zip(&second).map(|(first, second)| first + second).collect()
            }
            None => single(shown),
        }
    }

    /// Expected expression of the ballast genes when the responders have the given means.
    fn ballast(&self, panel: &Panel, context: &Context, mean: &[f64]) -> Vec<f64> {
        let responders = panel.responders.iter().map(|&gene| gene as usize);
        let taken: f64 = responders.map(|gene| expected_count(mean[gene], context.sd[gene], self.library)).sum();
        let left = (self.library - taken).max(LEAST_BALLAST * self.library);
        context.ballast_share.iter().map(|share| (NORMALISED_LIBRARY * left * share / self.library).ln_1p()).collect()
    }
}

impl Context {
    /// Change of the responders under a single perturbation.
    fn responders(&self, panel: &Panel, effects: &Effects, shown: Shown<'_>) -> Vec<f32> {
        let mut log_fold = vec![0.0; self.baseline.len()];
        effects.add_to(panel, shown.context, shown.condition, (shown.amplitude, shown.pace), &mut log_fold);
        for ((change, slope), baseline) in log_fold.iter_mut().zip(&self.slope).zip(&self.baseline) {
            *change = (slope * f64::from(*change)).clamp(-LARGEST_FALL * baseline, LARGEST_RISE) as f32;
        }
        log_fold
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
