//! `[objective]`, `[mask]`, `[optimizer]`, `[teacher]`: what is minimised, and how.

use serde::{Deserialize, Serialize};

/// Training objectives there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveKind {
    /// Two views of one cell (J2).
    Augmentation,
    /// Control cell and condition to perturbed cell (J3).
    Paired,
    /// Augmentation first, then paired (phases 2a and 2b).
    TwoPhase,
}

/// Weightings of the VICReg loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Smooth-L1 on normalised targets; variance 25 and covariance 1 on pooled context and prediction.
    Default,
    /// 25 MSE, 25 variance and 1 covariance on flattened tokens of prediction and target.
    S0,
    /// MSE, 0.1 × (1.0 variance + 0.04 covariance) on the pooled prediction.
    S1,
}

/// `[objective]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// Which objective.
    pub kind: ObjectiveKind,
    /// Weighting of the terms.
    pub preset: Preset,
    /// Share of all steps that the augmentation phase takes in `two_phase`.
    pub augmentation_share: f64,
    /// Share of the paired phase during which the encoder is frozen.
    pub freeze_share: f64,
    /// Factor on the encoder's learning rate in the paired phase of `two_phase`.
    pub encoder_lr_scale: f64,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self {
            kind: ObjectiveKind::TwoPhase,
            preset: Preset::Default,
            augmentation_share: 0.5,
            freeze_share: 0.1,
            encoder_lr_scale: 0.1,
        }
    }
}

/// Augmentations there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskKind {
    /// Keep each gene with probability `keep`, then draw Poisson counts; needs counts.
    Poisson,
    /// Keep each gene with probability `keep`, then add normal noise of `noise` to log-normalised values.
    Gaussian,
}

/// `[mask]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// Which augmentation.
    pub kind: MaskKind,
    /// Probability that a gene is kept.
    pub keep: f64,
    /// Standard deviation of the normal noise.
    pub noise: f64,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self { kind: MaskKind::Poisson, keep: 0.8, noise: 0.1 }
    }
}

/// `[optimizer]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate.
    pub lr: f64,
    /// Learning rate at the end.
    pub lr_min: f64,
    /// Share of all steps in which the rate rises from zero.
    pub warmup_share: f64,
    /// Decoupled weight decay at the start.
    pub weight_decay: f64,
    /// Decoupled weight decay at the end (cosine between).
    pub weight_decay_end: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Largest L2 norm of the gradient.
    pub clip: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            lr_min: 1e-6,
            warmup_share: 0.1,
            weight_decay: 0.01,
            weight_decay_end: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            clip: 1.0,
        }
    }
}

/// `[teacher]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherConfig {
    /// EMA momentum at the start.
    pub momentum: f64,
    /// EMA momentum at the end (linear between).
    pub momentum_end: f64,
}

impl Default for TeacherConfig {
    fn default() -> Self {
        Self { momentum: 0.996, momentum_end: 1.0 }
    }
}
