//! Keeps each gene of log-normalised values with a probability and adds normal noise; never below zero.

use serde::{Deserialize, Serialize};
use syncyte_sharding::philox::Philox;
use toml::Table;

use super::{Augmentation, check_keep};
use crate::component::{Settings, read};

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gaussian {
    /// Probability that a gene is kept.
    pub keep: f64,
    /// Standard deviation of the noise.
    pub noise: f64,
}

impl Default for Gaussian {
    fn default() -> Self {
        Self { keep: 0.8, noise: 0.1 }
    }
}

impl Settings for Gaussian {
    fn check(&self) -> Result<(), String> {
        check_keep(self.keep)?;
        if self.noise >= 0.0 && self.noise.is_finite() {
            Ok(())
        } else {
            Err(format!("noise = {} must be a number of at least 0", self.noise))
        }
    }
}

pub(super) fn build(table: &Table) -> Result<Box<dyn Augmentation>, String> {
    Ok(Box::new(read::<Gaussian>(table)?))
}

impl Augmentation for Gaussian {
    fn needs_counts(&self) -> bool {
        false
    }

    fn draw(&self, random: &mut Philox, value: f32) -> f32 {
        let kept = if random.next_f64() < self.keep { value } else { 0.0 };
        if kept > 0.0 { (kept + (random.normal() * self.noise) as f32).max(0.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use syncyte_sharding::philox::Purpose;

    use super::*;

    #[test]
    fn a_kept_value_has_the_noise_and_none_is_negative() {
        let gaussian = Gaussian { keep: 0.5, noise: 0.2 };
        let draws: Vec<f32> =
            (0..20_000).map(|row| gaussian.draw(&mut Philox::new(1, Purpose::Augment, row, 0), 3.0)).collect();
        let kept: Vec<f64> = draws.iter().filter(|&&x| x > 0.0).map(|&x| f64::from(x)).collect();
        assert!((kept.len() as f64 / 20_000.0 - 0.5).abs() < 0.02);
        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
        let sd = (kept.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / kept.len() as f64).sqrt();
        assert!((mean - 3.0).abs() < 0.01 && (sd - 0.2).abs() < 0.01, "{mean} {sd}");
        assert!(gaussian.draw(&mut Philox::new(1, Purpose::Augment, 1, 0), 0.001) >= 0.0);
    }
}
