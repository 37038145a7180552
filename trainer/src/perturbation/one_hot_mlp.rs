//! P2: an MLP of the targets as a multi-hot vector with ten slots of metadata.
//!
//! It sees a whole combination at once, as one token.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use toml::Table;

use super::{PerturbationEncoder, Targets, rows};
use crate::batch::query::{EncodedQueries, KINDS};
use crate::component::{Declare, Settings, read};
use crate::layer::{Linear, Norm};
use crate::params::ParamSet;

/// Slots of metadata behind the multi-hot: six kinds, log dose, log time, number of targets, dose known.
pub const METADATA: i64 = 10;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneHotMlp {
    /// Width of a perturbation vector.
    pub width: i64,
}

impl Default for OneHotMlp {
    fn default() -> Self {
        Self { width: 128 }
    }
}

impl Settings for OneHotMlp {
    fn check(&self) -> Result<(), String> {
        if self.width > 0 { Ok(()) } else { Err(format!("width = {} must be positive", self.width)) }
    }
}

#[derive(Debug)]
struct Network {
    fc1: Linear,
    norm: Norm,
    fc2: Linear,
    width: i64,
    n_targets: i64,
}

pub(super) fn build(table: &Table, declare: &mut Declare<'_>) -> Result<Box<dyn PerturbationEncoder>, String> {
    let OneHotMlp { width } = read(table)?;
    let n_targets = rows(&declare.vocabulary.targets);
    let Declare { registry, group, .. } = declare;
    Ok(Box::new(Network {
        fc1: Linear::new(registry, *group, "perturbation.fc1", n_targets + METADATA, width),
        norm: Norm::new(registry, *group, "perturbation.norm", width),
        fc2: Linear::new(registry, *group, "perturbation.fc2", width, width),
        width,
        n_targets,
    }))
}

impl Network {
    fn multi_hot(&self, queries: &EncodedQueries) -> Tensor {
        let (present, count) = (queries.targets.ge(0), queries.n_targets());
        let batch = queries.len();
        let options = (Kind::Float, queries.targets.device());
        let genes = Tensor::zeros([batch, self.n_targets], options).scatter_add(
            1,
            &queries.targets.clamp_min(0),
            &present.to_kind(Kind::Float),
        );
        let slots = KINDS.len() as i64;
        let kinds = Tensor::zeros([batch, slots + 1], options)
            .scatter_add(1, &queries.slots.unsqueeze(1), &Tensor::ones([batch, 1], options))
            .narrow(1, 0, slots);
        // Dose and time are not in the store yet: zero, and the "dose known" slot says so.
        let unknown = Tensor::zeros([batch, 2], options);
        let dose_known = Tensor::zeros([batch, 1], options);
        Tensor::cat(&[genes, kinds, unknown, count.unsqueeze(1), dose_known], 1)
    }
}

impl PerturbationEncoder for Network {
    fn targets(&self, params: &ParamSet, queries: &EncodedQueries) -> Targets {
        let perturbed = queries.n_targets().gt(0).to_kind(Kind::Float);
        let hidden = self.norm.forward(params, &self.fc1.forward(params, &self.multi_hot(queries))).gelu("none");
        let vector = self.fc2.forward(params, &hidden) * perturbed.unsqueeze(1);
        Targets { tokens: vector.unsqueeze(1), mask: perturbed.gt(0.5).unsqueeze(1), vector }
    }

    fn width(&self) -> i64 {
        self.width
    }

    fn tokens(&self) -> u64 {
        1
    }

    fn macs(&self) -> u64 {
        ((self.n_targets + METADATA + self.width) * self.width) as u64
    }
}
