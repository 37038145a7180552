//! `[model]`: encoder, perturbation encoder, predictor.

use serde::{Deserialize, Serialize};

/// `[model]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Encoder of cells.
    pub encoder: EncoderConfig,
    /// Encoder of perturbations.
    pub perturbation: PerturbationConfig,
    /// Predictor of the perturbed state.
    pub predictor: PredictorConfig,
}

/// Encoders there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderKind {
    /// Dense MLP to a grid of tokens, then transformer blocks.
    E1,
}

/// `[model.encoder]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderConfig {
    /// Which encoder.
    pub kind: EncoderKind,
    /// Widths of the MLP in front of the tokens.
    pub hidden: Vec<i64>,
    /// Tokens of a cell.
    pub tokens: i64,
    /// Width of a token and of the pooled embedding.
    pub width: i64,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads; they divide `width`.
    pub heads: i64,
    /// Dropout of the MLP, in training only.
    pub dropout: f64,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            kind: EncoderKind::E1,
            hidden: vec![2048, 1024],
            tokens: 64,
            width: 256,
            depth: 4,
            heads: 8,
            dropout: 0.1,
        }
    }
}

/// Perturbation encoders there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerturbationKind {
    /// Learned embedding of each target gene.
    P1,
    /// MLP of the targets as a multi-hot vector with ten slots of metadata.
    P2,
}

/// How the targets of a combination are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Effects add (CPA).
    Sum,
    /// Effects are averaged, which halves those of a pair.
    Mean,
}

/// `[model.perturbation]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerturbationConfig {
    /// Which encoder.
    pub kind: PerturbationKind,
    /// Width of a perturbation vector.
    pub width: i64,
    /// Combination rule.
    pub combine: Combine,
}

impl Default for PerturbationConfig {
    fn default() -> Self {
        Self { kind: PerturbationKind::P1, width: 128, combine: Combine::Sum }
    }
}

/// Predictors there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictorKind {
    /// Cell tokens attend to condition tokens.
    R2,
    /// MLP of the pooled embedding and the perturbation vector.
    R3,
}

/// `[model.predictor]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PredictorConfig {
    /// Which predictor.
    pub kind: PredictorKind,
    /// Layers of R2.
    pub depth: usize,
    /// Attention heads of R2.
    pub heads: i64,
    /// Width of R3.
    pub hidden: i64,
    /// Predict the change from the baseline through a last layer that starts at zero (R7).
    pub residual: bool,
}

impl Default for PredictorConfig {
    fn default() -> Self {
        Self { kind: PredictorKind::R2, depth: 4, heads: 8, hidden: 512, residual: false }
    }
}
