//! L2: one minus the cosine of prediction and target, the mean over cells or tokens.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use toml::Table;

use super::moments::Moments;
use super::{Loss, Outputs, Parts, Terms, check_weight, share, weighted_sum};
use crate::component::{Settings, read};

/// Least length of a vector, so that none divides by zero.
const EPSILON: f64 = 1e-6;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// Weight of the mean.
    pub weight: f64,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

impl Settings for Cosine {
    fn check(&self) -> Result<(), String> {
        check_weight("weight", self.weight)
    }
}

pub(super) fn build(table: &Table) -> Result<Box<dyn Loss>, String> {
    Ok(Box::new(read::<Cosine>(table)?))
}

impl Loss for Cosine {
    fn terms(&self) -> &[&'static str] {
        &["cosine"]
    }

    fn parts(&self, outputs: &Outputs, batch: usize) -> Parts {
        let (prediction, target) = outputs.pair();
        let distance = Tensor::cosine_similarity(&prediction, &target, -1, EPSILON) * -1.0 + 1.0;
        Parts { sums: vec![distance.sum(Kind::Float) * share(outputs, &distance, batch)], rows: Vec::new() }
    }

    fn measure(&self, sums: &[f64], _moments: &[Moments]) -> Terms {
        weighted_sum(sums, self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::view::State;

    fn distance(prediction: &[f32], target: &[f32]) -> f64 {
        let state = |values: &[f32]| State::Pooled(Tensor::from_slice(values).view([-1, 2]));
        let outputs = Outputs { context: state(prediction), prediction: state(prediction), target: state(target) };
        Cosine::default().parts(&outputs, prediction.len() / 2).sums[0].double_value(&[])
    }

    #[test]
    fn it_is_the_closed_form_and_does_not_see_the_length_of_either_side() {
        // Angles of 0, 90 and 180 degrees: 0, 1 and 2, in the mean 1.
        let found = distance(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], &[5.0, 0.0, 0.0, 2.0, -3.0, 0.0]);
        assert!((found - 1.0).abs() < 1e-6, "{found}");
        let (one, other) = (distance(&[0.3, -0.7], &[1.1, 0.4]), distance(&[30.0, -70.0], &[0.011, 0.004]));
        assert!((one - other).abs() < 1e-5, "{one} {other}");
        assert!((distance(&[0.0, 0.0], &[1.0, 0.0]) - 1.0).abs() < 1e-6, "a vector of no length has no direction");
    }
}
