//! R6: transformer blocks that the condition shifts, scales and gates (AdaLN-Zero: Peebles & Xie 2023).
//!
//! `x + gate·f(norm(x)·(1 + scale) + shift)` for attention and for the MLP, with shift, scale and gate linear maps of the
//! condition that start at zero: training starts at the identity.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use toml::Table;

use super::{Predictor, Widths};
use crate::batch::view::State;
use crate::component::{Declare, Settings, read};
use crate::layer::{Attention, Linear, Mlp, NORM_EPS, block_macs, check_heads};
use crate::params::{Init, ParamSet};
use crate::perturbation::Condition;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adaln {
    /// Blocks.
    pub depth: usize,
    /// Attention heads; they divide the encoder's width.
    pub heads: i64,
}

impl Default for Adaln {
    fn default() -> Self {
        Self { depth: 4, heads: 8 }
    }
}

impl Settings for Adaln {
    fn check(&self) -> Result<(), String> {
        check_heads(self.heads, self.heads)
    }
}

#[derive(Debug)]
struct Layer {
    modulation: Linear,
    attention: Attention,
    mlp: Mlp,
}

#[derive(Debug)]
struct Network {
    layers: Vec<Layer>,
    widths: Widths,
}

pub(super) fn build(table: &Table, declare: &mut Declare<'_>, widths: Widths) -> Result<Box<dyn Predictor>, String> {
    let Adaln { depth, heads } = read(table)?;
    check_heads(heads, widths.state).map_err(|error| format!("model.predictor ({error} of model.encoder)"))?;
    let Declare { registry, group, .. } = declare;
    let (group, width) = (*group, widths.state);
    let layers = (0..depth).map(|i| {
        let name = format!("predictor.blocks.{i}");
        let modulation = format!("{name}.modulation");
        Layer {
            modulation: Linear::with_init(registry, group, &modulation, widths.condition, 6 * width, Init::Zeros),
            attention: Attention::new(registry, group, &format!("{name}.attention"), width, heads, i + 1),
            mlp: Mlp::new(registry, group, &format!("{name}.mlp"), width, i + 1),
        }
    });
    Ok(Box::new(Network { layers: layers.collect(), widths }))
}

/// Norm over the last axis without an affine map.
fn norm(x: &Tensor) -> Tensor {
    x.layer_norm([x.size()[x.dim() - 1]], None::<&Tensor>, None::<&Tensor>, NORM_EPS, false)
}

/// Sum of the condition tokens that are there: targets, kind and context, or the null condition, `[B, width]`.
fn whole(condition: &Condition) -> Tensor {
    let there = condition.mask.to_kind(Kind::Float).unsqueeze(2);
    (&condition.tokens * there).sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)
}

impl Layer {
    fn forward(&self, params: &ParamSet, x: &Tensor, asked: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let modulation = self.modulation.forward(params, asked).unsqueeze(1).chunk(6, -1);
        let moved = |x: &Tensor, at: usize| norm(x) * (&modulation[at + 1] + 1.0) + &modulation[at];
        let x = x + self.attention.self_attention(params, &moved(x, 0), mask) * &modulation[2];
        &x + self.mlp.forward(params, &moved(&x, 3)) * &modulation[5]
    }
}

impl Predictor for Network {
    fn forward(&self, params: &ParamSet, state: &State, condition: &Condition) -> State {
        let (mut tokens, mask) = state.as_tokens();
        let asked = whole(condition).silu().to_kind(tokens.kind());
        for layer in &self.layers {
            tokens = layer.forward(params, &tokens, &asked, mask.as_ref());
        }
        State::Tokens { tokens, mask }
    }

    fn macs(&self, tokens: u64, _condition_tokens: u64) -> u64 {
        let (width, condition) = (self.widths.state as u64, self.widths.condition as u64);
        self.layers.len() as u64 * (6 * condition * width + block_macs(tokens, width))
    }

    fn tokens(&self, tokens: u64) -> u64 {
        tokens
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::batch::vocabulary::Vocabulary;
    use crate::component::Choice;
    use crate::params::{Group, Registry};

    const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn condition(seed: f64) -> Condition {
        Condition {
            tokens: (Tensor::arange(3 * 2 * 6, OPTIONS) * seed).sin().view([3, 2, 6]),
            mask: Tensor::ones([3, 2], (Kind::Bool, Device::Cpu)),
            vector: Tensor::zeros([3, 6], OPTIONS),
            perturbed: Tensor::ones([3], OPTIONS),
        }
    }

    #[test]
    fn it_is_the_identity_at_first_and_every_condition_moves_it_once_it_has_learned() {
        let choice = Choice::<dyn Predictor>::with("adaln", &Adaln { depth: 2, heads: 2 }).unwrap();
        let (mut registry, vocabulary) = (Registry::default(), Vocabulary::default());
        let group = Group::new("predictor");
        let mut declare = Declare { registry: &mut registry, group, vocabulary: &vocabulary };
        let predictor = (choice.build())(choice.table(), &mut declare, Widths { state: 8, condition: 6 }).unwrap();
        let params = ParamSet::initial(&registry.layout(), 3, Device::Cpu);
        let x = State::tokens((Tensor::arange(3 * 5 * 8, OPTIONS) * 0.37).sin().view([3, 5, 8]));
        assert_eq!(predictor.forward(&params, &x, &condition(0.7)).values(), x.values());

        let noise = params.flat().randn_like() * 0.2;
        tch::no_grad(|| params.flat().shallow_clone().copy_(&noise));
        let [one, other] = [0.7, 0.9].map(|seed| predictor.forward(&params, &x, &condition(seed)));
        assert!((one.values() - other.values()).abs().max().double_value(&[]) > 1e-4);
    }
}
