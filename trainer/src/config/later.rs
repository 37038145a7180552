//! `[finetune]`, `[diffusion]`, `[evaluate]`: the stages after pretraining.

use serde::{Deserialize, Serialize};

/// `[finetune]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Optimizer steps of each head.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Conditions of a global batch, over all ranks; a multiple of the number of ranks.
    pub conditions: usize,
    /// Cells of a bag (set-to-set head).
    pub bag: usize,
    /// Width of the heads.
    pub hidden: i64,
    /// Residual blocks of the set-to-set head.
    pub depth: usize,
    /// Ridge penalty of the linear decoder to expression, as a share of the mean latent variance.
    pub ridge: f64,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self { steps: 500, lr: 1e-3, conditions: 16, bag: 32, hidden: 256, depth: 3, ridge: 1e-3 }
    }
}

/// `[diffusion]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionConfig {
    /// Optimizer steps.
    pub steps: u64,
    /// Cells of a global batch, over all ranks.
    pub batch_size: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Hidden widths of the score network.
    pub hidden: Vec<i64>,
    /// Sampler used by `evaluate` and `predict`.
    pub sampler: SamplerKind,
    /// Steps of the DDIM sampler.
    pub ddim_steps: usize,
    /// Steps of the ancestral sampler.
    pub ancestral_steps: usize,
    /// Momentum of the weight average that sampling uses.
    pub ema: f64,
}

/// Samplers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Deterministic DDIM.
    Ddim,
    /// Ancestral sampling of the discretised process.
    Ancestral,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 256,
            lr: 1e-3,
            hidden: vec![512, 512],
            sampler: SamplerKind::Ddim,
            ddim_steps: 50,
            ancestral_steps: 1000,
            ema: 0.999,
        }
    }
}

/// `[evaluate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateConfig {
    /// Cells a side that distances between sets of cells are taken of at most. Means are always those of all cells.
    pub max_cells: usize,
    /// Held-out controls of a context that a model moves one by one at most, to find the mean change that it makes.
    pub prediction_cells: usize,
    /// Samples of a condition that a model which samples is asked for at least.
    pub samples: usize,
    /// Held-out cells that a condition needs.
    pub min_cells: usize,
    /// Resamples of the bootstrap over conditions.
    pub bootstrap: usize,
    /// Draws of cells and controls within the bootstrap; 0 resamples conditions alone.
    pub cell_draws: usize,
    /// Genes of the expression metrics: those with the highest training control mean.
    pub top_genes: usize,
    /// Principal components of the set distances.
    pub components: usize,
    /// Evaluate on validation and test cells together. A run chooses nothing on the validation fold by
    /// itself (no early stopping); as long as nobody tunes on it either, this only makes the held-out truth less noisy.
    /// Refused where training saw the conditions of one fold and not those of the other.
    pub pool_validation: bool,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self {
            max_cells: 128,
            prediction_cells: 2048,
            samples: 512,
            min_cells: 10,
            bootstrap: 10_000,
            cell_draws: 100,
            top_genes: 1000,
            components: 50,
            pool_validation: false,
        }
    }
}
