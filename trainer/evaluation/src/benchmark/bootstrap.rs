//! Bootstrap of a mean over conditions: conditions are drawn again, and within them cells.
//!
//! Guarantee: an interval covers three things. Conditions are drawn with replacement; the cells of a condition are drawn
//! again; and the controls are, once for all conditions of a draw, since they share one sample. What drawing cells
//! again does to a value is known as its deviations ([`Sampled`]); these are centred, since a resampled mean is noisier
//! than the measured one and would move every distance upwards. As drawing both conditions and their cells counts the
//! cells' own noise twice, an interval is wider than it need be rather than narrower.

use syncyte_sharding::philox::{Philox, Purpose};

use crate::quantile::quantile;

/// Share of the resampled means that an interval leaves out on either side.
const TAIL: f64 = 0.025;

/// A value of a condition, and how far it moves when cells and controls are drawn again.
#[derive(Clone, Copy, Debug)]
pub struct Sampled<'a> {
    /// The value.
    pub value: f64,
    /// Its deviations, draw by draw; none where cells were not drawn again. A draw is the same draw of the controls
    /// for every condition.
    pub deviations: &'a [f32],
}

/// Draws conditions with replacement. The draws depend on (seed, number of conditions) alone, so intervals of
/// methods on the same conditions are comparable.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    resamples: usize,
    seed: u64,
    /// The draws for the number of conditions that was asked for last.
    plan: (usize, Vec<u32>),
}

impl Bootstrap {
    /// With a number of resamples and a seed.
    pub fn new(resamples: usize, seed: u64) -> Self {
        Self { resamples, seed, plan: (0, Vec::new()) }
    }

    /// The 95 % interval of the mean; `None` for fewer than two values or no resamples.
    pub fn interval(&mut self, values: &[Sampled<'_>]) -> Option<(f64, f64)> {
        let n = values.len();
        if n < 2 || self.resamples == 0 {
            return None;
        }
        if self.plan.0 != n {
            let mut random = Philox::new(self.seed, Purpose::Bootstrap, n as u64, 0);
            self.plan = (n, (0..n * self.resamples).map(|_| random.below(n as u64) as u32).collect());
        }
        let mean = |(draw, conditions): (usize, &[u32])| {
            let sum: f64 = conditions.iter().map(|&at| values[at as usize].drawn(draw)).sum();
            sum / n as f64
        };
        let mut means: Vec<f64> = self.plan.1.chunks_exact(n).enumerate().map(mean).collect();
        means.sort_unstable_by(f64::total_cmp);
        Some((quantile(&means, TAIL), quantile(&means, 1.0 - TAIL)))
    }
}

impl Sampled<'_> {
    fn drawn(&self, draw: usize) -> f64 {
        let deviation = self.deviations.get(draw % self.deviations.len().max(1)).copied().unwrap_or(0.0);
        self.value + f64::from(deviation)
    }
}

#[cfg(test)]
mod tests {
    use syncyte_sharding::philox::{Philox, Purpose};

    use super::{Bootstrap, Sampled};

    fn alone(values: &[f64]) -> Vec<Sampled<'_>> {
        values.iter().map(|&value| Sampled { value, deviations: &[] }).collect()
    }

    #[test]
    fn the_interval_covers_the_truth_about_95_times_in_100() {
        let mut bootstrap = Bootstrap::new(400, 3);
        let covered = (0..500).filter(|&trial| {
            let mut random = Philox::new(11, Purpose::Trial, trial, 0);
            // Skewed values with mean 1, as errors are.
            let values: Vec<f64> = (0..60).map(|_| 0.5 * random.normal().powi(2) + 0.5).collect();
            bootstrap.interval(&alone(&values)).is_some_and(|(low, high)| low <= 1.0 && 1.0 <= high)
        });
        let share = covered.count() as f64 / 500.0;
        assert!((0.90..=0.98).contains(&share), "covers {share}");
    }

    #[test]
    fn noise_that_all_conditions_share_is_covered_where_its_draws_are_known_and_only_there() {
        let mut bootstrap = Bootstrap::new(400, 3);
        let mut covered = |with_draws: bool| {
            let hits = (0..300).filter(|&trial| {
                let mut random = Philox::new(12, Purpose::Trial, trial, 0);
                let shared = 0.5 * random.normal();
                let values: Vec<f64> = (0..40).map(|_| shared + 0.5 * random.normal()).collect();
                let draws: Vec<f32> = (0..100).map(|_| 0.5 * random.normal() as f32).collect();
                let deviations: &[f32] = if with_draws { &draws } else { &[] };
                let sampled: Vec<_> = values.iter().map(|&value| Sampled { value, deviations }).collect();
                bootstrap.interval(&sampled).is_some_and(|(low, high)| low <= 0.0 && 0.0 <= high)
            });
            hits.count() as f64 / 300.0
        };
        let (with, without) = (covered(true), covered(false));
        assert!((0.90..=0.99).contains(&with) && without < 0.5, "{with} with draws, {without} without");
    }

    #[test]
    fn it_is_repeatable_and_needs_two_values() {
        let values = [0.1, 0.5, 0.2, 0.9];
        let first = Bootstrap::new(1000, 1).interval(&alone(&values));
        assert_eq!(first, Bootstrap::new(1000, 1).interval(&alone(&values)));
        assert_ne!(first, Bootstrap::new(1000, 2).interval(&alone(&values)));
        assert_eq!(Bootstrap::new(1000, 1).interval(&alone(&[0.4])), None);
        assert_eq!(Bootstrap::new(1000, 1).interval(&alone(&[0.5, 0.5])), Some((0.5, 0.5)));
    }
}
