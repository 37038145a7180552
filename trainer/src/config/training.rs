//! `[objective]`, `[optimizer]`, `[teacher]`: what is minimised, and how.

use serde::{Deserialize, Serialize};

use crate::component::{Choice, Role};
use crate::loss::Loss;
use crate::pretext::Pretext;

/// `[objective]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// Pretraining tasks, one phase after the other.
    pub tasks: Vec<Choice<dyn Pretext>>,
    /// Shares of all steps that the phases take; equal ones if empty.
    pub shares: Vec<f64>,
    /// Share of a phase after the first during which the encoder is frozen.
    pub freeze_share: f64,
    /// Factor on the encoder's learning rate in phases after the first.
    pub encoder_lr_scale: f64,
    /// Losses, whose sum is minimised.
    pub losses: Vec<Choice<dyn Loss>>,
}

impl ObjectiveConfig {
    /// The share of every phase.
    pub fn shares(&self) -> Vec<f64> {
        if self.shares.is_empty() { vec![1.0; self.tasks.len()] } else { self.shares.clone() }
    }
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self {
            tasks: kinds(&["augmentation", "paired"]),
            shares: Vec::new(),
            freeze_share: 0.1,
            encoder_lr_scale: 0.1,
            losses: kinds(&["smooth_l1", "vicreg"]),
        }
    }
}

/// Kinds of the table with their defaults.
fn kinds<R: Role + ?Sized>(names: &[&str]) -> Vec<Choice<R>> {
    names.iter().filter_map(|name| Choice::of_kind(name).ok()).collect()
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
