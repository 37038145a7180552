//! L4: smooth L1 distance (β = 1) of prediction and target, the target normalised per cell or token (ijepa).

use serde::{Deserialize, Serialize};
use tch::{Reduction, Tensor};
use toml::Table;

use super::moments::Moments;
use super::{Loss, Outputs, Parts, Terms, check_weight, share, weighted_sum};
use crate::component::{Settings, read};
use crate::layer::NORM_EPS;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothL1 {
    /// Weight of the mean over all entries.
    pub weight: f64,
}

impl Default for SmoothL1 {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

impl Settings for SmoothL1 {
    fn check(&self) -> Result<(), String> {
        check_weight("weight", self.weight)
    }
}

pub(super) fn build(table: &Table) -> Result<Box<dyn Loss>, String> {
    Ok(Box::new(read::<SmoothL1>(table)?))
}

impl Loss for SmoothL1 {
    fn terms(&self) -> &[&'static str] {
        &["smooth_l1"]
    }

    fn parts(&self, outputs: &Outputs, batch: usize) -> Parts {
        let (prediction, target) = outputs.pair();
        let d = target.size()[target.dim() - 1];
        let target = target.layer_norm([d], None::<&Tensor>, None::<&Tensor>, NORM_EPS, false);
        let sum = prediction.smooth_l1_loss(&target, Reduction::Sum, 1.0);
        Parts { sums: vec![sum * share(outputs, &prediction, batch)], rows: Vec::new() }
    }

    fn measure(&self, sums: &[f64], _moments: &[Moments]) -> Terms {
        weighted_sum(sums, self.weight)
    }
}
