//! R3: an MLP of the pooled state and the perturbation vector.

use serde::{Deserialize, Serialize};
use tch::Tensor;
use toml::Table;

use super::{Predictor, Widths};
use crate::batch::view::State;
use crate::component::{Declare, Settings, read};
use crate::layer::{Linear, Norm};
use crate::params::ParamSet;
use crate::perturbation::Condition;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mlp {
    /// Width of both hidden layers.
    pub hidden: i64,
}

impl Default for Mlp {
    fn default() -> Self {
        Self { hidden: 512 }
    }
}

impl Settings for Mlp {
    fn check(&self) -> Result<(), String> {
        if self.hidden > 0 { Ok(()) } else { Err(format!("hidden = {} must be positive", self.hidden)) }
    }
}

#[derive(Debug)]
struct Network {
    layers: Vec<(Linear, Norm)>,
    out: Linear,
    hidden: u64,
    widths: Widths,
}

pub(super) fn build(table: &Table, declare: &mut Declare<'_>, widths: Widths) -> Result<Box<dyn Predictor>, String> {
    let Mlp { hidden } = read(table)?;
    let Declare { registry, group, .. } = declare;
    let mut inputs = widths.state + widths.condition;
    let mut layers = Vec::new();
    for i in 0..2 {
        let name = format!("predictor.hidden.{i}");
        let layer = Linear::new(registry, *group, &name, inputs, hidden);
        layers.push((layer, Norm::new(registry, *group, &format!("{name}.norm"), hidden)));
        inputs = hidden;
    }
    let out = Linear::new(registry, *group, "predictor.out", hidden, widths.state);
    Ok(Box::new(Network { layers, out, hidden: hidden as u64, widths }))
}

impl Predictor for Network {
    fn forward(&self, params: &ParamSet, state: &State, condition: &Condition) -> State {
        let pooled = state.pooled();
        let mut x = Tensor::cat(&[&pooled, &condition.vector.to_kind(pooled.kind())], -1);
        for (linear, norm) in &self.layers {
            x = norm.forward(params, &linear.forward(params, &x)).relu();
        }
        State::Pooled(self.out.forward(params, &x))
    }

    fn macs(&self, _tokens: u64, _condition_tokens: u64) -> u64 {
        let (width, condition) = (self.widths.state as u64, self.widths.condition as u64);
        (width + condition + self.hidden + width) * self.hidden
    }

    fn tokens(&self, _tokens: u64) -> u64 {
        1
    }
}
