//! Predictors of the perturbed state: R2 (cross-attention) and R3 (MLP), with the residual wrapper R7.

use tch::Tensor;

use super::layer::{Block, CrossBlock, Linear, Norm};
use super::perturbation::Condition;
use crate::config::{PredictorConfig, PredictorKind};
use crate::params::{Init, ParamSet, Part, Registry};

/// A predictor of tokens `[B, T, d]` (R2) or pooled embeddings `[B, d]` (R3).
#[derive(Debug)]
pub struct Predictor {
    body: Body,
    /// R7: last layer from zero, so that training starts at "no change".
    residual: Option<Linear>,
}

#[derive(Debug)]
enum Body {
    R2 { project: Linear, norm: Norm, layers: Vec<(CrossBlock, Block)>, norm_out: Norm },
    R3 { layers: Vec<(Linear, Norm)>, out: Linear },
}

impl Predictor {
    /// Declares a predictor between states of `width` under conditions of `condition_width`.
    pub fn new(registry: &mut Registry, config: &PredictorConfig, width: i64, condition_width: i64) -> Self {
        let part = Part::Rest;
        let body = match config.kind {
            PredictorKind::R2 => Body::R2 {
                project: Linear::new(registry, part, "predictor.condition", condition_width, width),
                norm: Norm::new(registry, part, "predictor.condition.norm", width),
                layers: (0..config.depth)
                    .map(|i| {
                        let (cross, block) = (format!("predictor.cross.{i}"), format!("predictor.blocks.{i}"));
                        (
                            CrossBlock::new(registry, part, &cross, width, config.heads, 2 * i + 1),
                            Block::new(registry, part, &block, width, config.heads, 2 * i + 2),
                        )
                    })
                    .collect(),
                norm_out: Norm::new(registry, part, "predictor.norm", width),
            },
            PredictorKind::R3 => {
                let mut inputs = width + condition_width;
                let layers = (0..2)
                    .map(|i| {
                        let name = format!("predictor.hidden.{i}");
                        let layer = Linear::new(registry, part, &name, inputs, config.hidden);
                        inputs = config.hidden;
                        (layer, Norm::new(registry, part, &format!("{name}.norm"), config.hidden))
                    })
                    .collect();
                Body::R3 { layers, out: Linear::new(registry, part, "predictor.out", config.hidden, width) }
            }
        };
        let residual =
            config.residual.then(|| Linear::with_init(registry, part, "predictor.residual", width, width, Init::Zeros));
        Self { body, residual }
    }

    /// Whether the predictor works on pooled embeddings `[B, d]` rather than on tokens `[B, T, d]`.
    pub fn is_pooled(&self) -> bool {
        matches!(self.body, Body::R3 { .. })
    }

    /// Predicted state from the baseline `state` (tokens for R2, pooled for R3).
    ///
    /// With the residual wrapper a control condition returns `state` unchanged.
    pub fn forward(&self, params: &ParamSet, state: &Tensor, condition: &Condition) -> Tensor {
        let kind = state.kind();
        let predicted = match &self.body {
            Body::R2 { project, norm, layers, norm_out } => {
                let context =
                    norm.forward(params, &project.forward(params, &condition.tokens.to_kind(kind))).gelu("none");
                let mut x = state.shallow_clone();
                for (cross, block) in layers {
                    x = block.forward(params, &cross.forward(params, &x, &context, &condition.mask));
                }
                norm_out.forward(params, &x)
            }
            Body::R3 { layers, out } => {
                let mut x = Tensor::cat(&[state, &condition.vector.to_kind(kind)], -1);
                for (linear, norm) in layers {
                    x = norm.forward(params, &linear.forward(params, &x)).relu();
                }
                out.forward(params, &x)
            }
        };
        match &self.residual {
            None => predicted,
            Some(last) => {
                let mut shape = vec![-1];
                shape.resize(state.dim(), 1);
                let moves = condition.perturbed.view(shape.as_slice()).to_kind(kind);
                state + last.forward(params, &predicted) * moves
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(kind: PredictorKind, depth: usize, condition_width: i64) -> usize {
        let mut registry = Registry::default();
        let config = PredictorConfig { kind, depth, ..PredictorConfig::default() };
        let _ = Predictor::new(&mut registry, &config, 256, condition_width);
        registry.layout().n_parameters()
    }

    #[test]
    fn parameter_counts_are_the_specified_ones() {
        assert_eq!(parameters(PredictorKind::R2, 4, 128), 6_354_176);
        assert_eq!(parameters(PredictorKind::R2, 6, 256), 9_547_008);
        assert_eq!(parameters(PredictorKind::R3, 0, 128), 593_152);
    }
}
