//! Losses that are sums over samples, which a task computes itself.

use super::moments::Moments;
use super::{Loss, Outputs, Parts, Terms};

/// Sums by name, of weight 1; a task gives them as [`Parts::sums`].
#[derive(Debug)]
pub struct Sums(pub &'static [&'static str]);

impl Loss for Sums {
    fn terms(&self) -> &[&'static str] {
        self.0
    }

    /// None: such a task has no states to compare.
    fn parts(&self, _outputs: &Outputs, _batch: usize) -> Parts {
        Parts::default()
    }

    fn measure(&self, sums: &[f64], _moments: &[Moments]) -> Terms {
        let ones = vec![1.0; sums.len()];
        Terms { values: sums.to_vec(), weights: ones.clone(), sums: ones, covariances: Vec::new() }
    }
}
