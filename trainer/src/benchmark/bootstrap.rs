//! Percentile bootstrap of a mean over conditions.

use syncyte_sharding::philox::{Philox, Purpose};

use crate::quantile::quantile;

/// Share of the resampled means that an interval leaves out on either side.
const TAIL: f64 = 0.025;

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
    pub fn interval(&mut self, values: &[f64]) -> Option<(f64, f64)> {
        let n = values.len();
        if n < 2 || self.resamples == 0 {
            return None;
        }
        if self.plan.0 != n {
            let mut random = Philox::new(self.seed, Purpose::Bootstrap, n as u64, 0);
            self.plan = (n, (0..n * self.resamples).map(|_| random.below(n as u64) as u32).collect());
        }
        let mean = |draws: &[u32]| draws.iter().map(|&at| values[at as usize]).sum::<f64>() / n as f64;
        let mut means: Vec<f64> = self.plan.1.chunks_exact(n).map(mean).collect();
        means.sort_unstable_by(f64::total_cmp);
        Some((quantile(&means, TAIL), quantile(&means, 1.0 - TAIL)))
    }
}

#[cfg(test)]
mod tests {
    use syncyte_sharding::philox::{Philox, Purpose};

    use super::Bootstrap;

    #[test]
    fn the_interval_covers_the_truth_about_95_times_in_100() {
        let mut bootstrap = Bootstrap::new(400, 3);
        let covered = (0..500).filter(|&trial| {
            let mut random = Philox::new(11, Purpose::Trial, trial, 0);
            // Skewed values with mean 1, as errors are.
            let values: Vec<f64> = (0..60).map(|_| 0.5 * random.normal().powi(2) + 0.5).collect();
            bootstrap.interval(&values).is_some_and(|(low, high)| low <= 1.0 && 1.0 <= high)
        });
        let share = covered.count() as f64 / 500.0;
        assert!((0.90..=0.98).contains(&share), "covers {share}");
    }

    #[test]
    fn it_is_repeatable_and_needs_two_values() {
        let values = [0.1, 0.5, 0.2, 0.9];
        let first = Bootstrap::new(1000, 1).interval(&values);
        assert_eq!(first, Bootstrap::new(1000, 1).interval(&values));
        assert_ne!(first, Bootstrap::new(1000, 2).interval(&values));
        assert_eq!(Bootstrap::new(1000, 1).interval(&[0.4]), None);
        assert_eq!(Bootstrap::new(1000, 1).interval(&[0.5, 0.5]), Some((0.5, 0.5)));
    }
}
