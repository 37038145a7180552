//! R2: the tokens of a cell attend to those of the condition, then to each other, layer by layer.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Predictor, Widths};
use crate::batch::view::State;
use crate::component::{Declare, Settings, read};
use crate::layer::{Block, CrossBlock, Linear, Norm, block_macs, check_heads, cross_block_macs};
use crate::params::ParamSet;
use crate::perturbation::Condition;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossAttention {
    /// Layers of a cross-attention and a self-attention block each.
    pub depth: usize,
    /// Attention heads; they divide the encoder's width.
    pub heads: i64,
}

impl Default for CrossAttention {
    fn default() -> Self {
        Self { depth: 4, heads: 8 }
    }
}

impl Settings for CrossAttention {
    fn check(&self) -> Result<(), String> {
        check_heads(self.heads, self.heads)
    }
}

#[derive(Debug)]
struct Network {
    project: Linear,
    norm: Norm,
    layers: Vec<(CrossBlock, Block)>,
    norm_out: Norm,
    widths: Widths,
}

pub(super) fn build(table: &Table, declare: &mut Declare<'_>, widths: Widths) -> Result<Box<dyn Predictor>, String> {
    let CrossAttention { depth, heads } = read(table)?;
    check_heads(heads, widths.state).map_err(|error| format!("model.predictor ({error} of model.encoder)"))?;
    let Declare { registry, group, .. } = declare;
    let (group, width) = (*group, widths.state);
    Ok(Box::new(Network {
        project: Linear::new(registry, group, "predictor.condition", widths.condition, width),
        norm: Norm::new(registry, group, "predictor.condition.norm", width),
        layers: (0..depth)
            .map(|i| {
                let (cross, block) = (format!("predictor.cross.{i}"), format!("predictor.blocks.{i}"));
                (
                    CrossBlock::new(registry, group, &cross, width, heads, 2 * i + 1),
                    Block::new(registry, group, &block, width, heads, 2 * i + 2),
                )
            })
            .collect(),
        norm_out: Norm::new(registry, group, "predictor.norm", width),
        widths,
    }))
}

impl Predictor for Network {
    fn forward(&self, params: &ParamSet, state: &State, condition: &Condition) -> State {
        let (tokens, mask) = state.as_tokens();
        let asked = self.project.forward(params, &condition.tokens.to_kind(tokens.kind()));
        let asked = self.norm.forward(params, &asked).gelu("none");
        let mut x = tokens;
        for (cross, block) in &self.layers {
            x = block.forward(params, &cross.forward(params, &x, &asked, &condition.mask), mask.as_ref());
        }
        State::Tokens { tokens: self.norm_out.forward(params, &x), mask }
    }

    fn macs(&self, tokens: u64, condition_tokens: u64) -> u64 {
        let (width, condition) = (self.widths.state as u64, self.widths.condition as u64);
        let layer = cross_block_macs(tokens, condition_tokens, width) + block_macs(tokens, width);
        condition_tokens * condition * width + self.layers.len() as u64 * layer
    }

    fn tokens(&self, tokens: u64) -> u64 {
        tokens
    }
}
