//! R1: transformer blocks on the tokens of a cell. It is not told the condition.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Predictor, Widths};
use crate::batch::view::State;
use crate::component::{Declare, Settings, read};
use crate::layer::{Block, Norm, block_macs, check_heads};
use crate::params::ParamSet;
use crate::perturbation::Condition;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transformer {
    /// Blocks.
    pub depth: usize,
    /// Attention heads; they divide the encoder's width.
    pub heads: i64,
}

impl Default for Transformer {
    fn default() -> Self {
        Self { depth: 6, heads: 8 }
    }
}

impl Settings for Transformer {
    fn check(&self) -> Result<(), String> {
        check_heads(self.heads, self.heads)
    }
}

#[derive(Debug)]
struct Network {
    blocks: Vec<Block>,
    norm: Norm,
    width: u64,
}

pub(super) fn build(table: &Table, declare: &mut Declare<'_>, widths: Widths) -> Result<Box<dyn Predictor>, String> {
    let Transformer { depth, heads } = read(table)?;
    check_heads(heads, widths.state).map_err(|error| format!("model.predictor ({error} of model.encoder)"))?;
    let Declare { registry, group, .. } = declare;
    let (group, width) = (*group, widths.state);
    Ok(Box::new(Network {
        blocks: (0..depth)
            .map(|i| Block::new(registry, group, &format!("predictor.blocks.{i}"), width, heads, i + 1))
            .collect(),
        norm: Norm::new(registry, group, "predictor.norm", width),
        width: width as u64,
    }))
}

impl Predictor for Network {
    fn reads_condition(&self) -> bool {
        false
    }

    fn forward(&self, params: &ParamSet, state: &State, _condition: &Condition) -> State {
        let (mut tokens, mask) = state.as_tokens();
        for block in &self.blocks {
            tokens = block.forward(params, &tokens, mask.as_ref());
        }
        State::Tokens { tokens: self.norm.forward(params, &tokens), mask }
    }

    fn macs(&self, tokens: u64, _condition_tokens: u64) -> u64 {
        self.blocks.len() as u64 * block_macs(tokens, self.width)
    }

    fn tokens(&self, tokens: u64) -> u64 {
        tokens
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::batch::vocabulary::Vocabulary;
    use crate::component::Choice;
    use crate::params::{Group, Registry};

    fn built(settings: &Transformer, state: i64) -> (Box<dyn Predictor>, Registry) {
        let choice = Choice::<dyn Predictor>::with("transformer", settings).unwrap();
        let (mut registry, vocabulary) = (Registry::default(), Vocabulary::default());
        let group = Group::new("predictor");
        let mut declare = Declare { registry: &mut registry, group, vocabulary: &vocabulary };
        let widths = Widths { state, condition: 6 };
        ((choice.build())(choice.table(), &mut declare, widths).unwrap(), registry)
    }

    #[test]
    fn it_has_the_specified_number_of_parameters() {
        assert_eq!(built(&Transformer::default(), 256).1.layout().n_parameters(), 4_739_072);
    }

    #[test]
    fn with_outputs_of_zero_it_is_the_norm_of_its_input() {
        let (predictor, registry) = built(&Transformer { depth: 2, heads: 2 }, 8);
        let params = ParamSet::initial(&registry.layout(), 3, Device::Cpu);
        for (name, value) in params.named().filter(|(name, _)| name.contains("proj") || name.contains("fc2")) {
            let _ = tch::no_grad(|| value.detach().zero_());
            assert!(!name.is_empty());
        }
        let options = (Kind::Float, Device::Cpu);
        let x = Tensor::randn([3, 5, 8], options);
        let condition = Condition {
            tokens: Tensor::zeros([3, 2, 6], options),
            mask: Tensor::ones([3, 2], (Kind::Bool, Device::Cpu)),
            vector: Tensor::zeros([3, 6], options),
            perturbed: Tensor::ones([3], options),
        };
        let predicted = predictor.forward(&params, &State::tokens(x.shallow_clone()), &condition);
        let wanted = x.layer_norm([8], None::<&Tensor>, None::<&Tensor>, crate::layer::NORM_EPS, false);
        assert!((predicted.values() - wanted).abs().max().double_value(&[]) < 1e-6);
    }
}
