//! L3: mean squared error of prediction and target, over all entries.

use serde::{Deserialize, Serialize};
use tch::Reduction;
use toml::Table;

use super::moments::Moments;
use super::{Loss, Outputs, Parts, Terms, check_weight, share, weighted_sum};
use crate::component::{Settings, read};

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mse {
    /// Weight of the mean over all entries.
    pub weight: f64,
}

impl Default for Mse {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

impl Settings for Mse {
    fn check(&self) -> Result<(), String> {
        check_weight("weight", self.weight)
    }
}

pub(super) fn build(table: &Table) -> Result<Box<dyn Loss>, String> {
    Ok(Box::new(read::<Mse>(table)?))
}

impl Loss for Mse {
    fn terms(&self) -> &[&'static str] {
        &["mse"]
    }

    fn parts(&self, outputs: &Outputs, batch: usize) -> Parts {
        let (prediction, target) = outputs.pair();
        let sum = prediction.mse_loss(&target, Reduction::Sum);
        Parts { sums: vec![sum * share(outputs, &prediction, batch)], rows: Vec::new() }
    }

    fn measure(&self, sums: &[f64], _moments: &[Moments]) -> Terms {
        weighted_sum(sums, self.weight)
    }
}
