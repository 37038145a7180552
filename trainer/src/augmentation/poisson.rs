//! Keeps each gene with a probability, then draws a Poisson count of that mean; a gene without counts stays without.

use rand_distr::Distribution;
use serde::{Deserialize, Serialize};
use syncyte_sharding::philox::Philox;
use toml::Table;

use super::{Augmentation, check_keep};
use crate::component::{Settings, read};

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poisson {
    /// Probability that a gene is kept.
    pub keep: f64,
}

impl Default for Poisson {
    fn default() -> Self {
        Self { keep: 0.8 }
    }
}

impl Settings for Poisson {
    fn check(&self) -> Result<(), String> {
        check_keep(self.keep)
    }
}

pub(super) fn build(table: &Table) -> Result<Box<dyn Augmentation>, String> {
    Ok(Box::new(read::<Poisson>(table)?))
}

impl Augmentation for Poisson {
    fn needs_counts(&self) -> bool {
        true
    }

    fn draw(&self, random: &mut Philox, value: f32) -> f32 {
        let mean = if random.next_f64() < self.keep { value } else { 0.0 };
        if mean <= 0.0 {
            return 0.0;
        }
        rand_distr::Poisson::new(mean).map_or(0.0, |distribution| distribution.sample(random))
    }
}

#[cfg(test)]
mod tests {
    use syncyte_sharding::philox::Purpose;

    use super::*;

    #[test]
    fn a_view_has_the_specified_mean_and_variance() {
        let n = 20_000;
        let draw = |row| f64::from(Poisson::default().draw(&mut Philox::new(1, Purpose::Augment, row, 0), 10.0));
        let draws: Vec<f64> = (0..n).map(draw).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        // Of keep · x with x = 10: mean 8, variance keep·x + keep·(1 − keep)·x².
        assert!((mean - 8.0).abs() < 0.12, "{mean}");
        assert!((variance - (8.0 + 16.0)).abs() < 0.8, "{variance}");
    }
}
