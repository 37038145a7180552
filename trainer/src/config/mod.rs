//! The configuration of a run: one TOML file, overridden key by key.
//!
//! Guarantee: every key has a type and a default that `RUN/config.toml` shows resolved; an unknown key is an
//! error that names the nearest known one; values are checked before anything is read or written.

mod load;
mod validate;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use load::ConfigError;

/// Whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the run lives and its seed.
    pub run: RunConfig,
    /// Cells and their order.
    pub data: DataConfig,
    /// Encoder, perturbation encoder, predictor.
    pub model: ModelConfig,
    /// What is minimised.
    pub objective: ObjectiveConfig,
    /// Views of a cell in augmentation training.
    pub mask: MaskConfig,
    /// `AdamW` and its schedules.
    pub optimizer: OptimizerConfig,
    /// EMA teacher.
    pub teacher: TeacherConfig,
    /// Length, threads, logging.
    pub engine: EngineConfig,
    /// When to write checkpoints and how many to keep.
    pub checkpoint: CheckpointConfig,
    /// Perturbation heads on the frozen encoder.
    pub finetune: FinetuneConfig,
    /// Latent diffusion.
    pub diffusion: DiffusionConfig,
    /// Evaluation on held-out cells.
    pub evaluate: EvaluateConfig,
}

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Run folder.
    pub dir: PathBuf,
    /// Seed of everything that is random.
    pub seed: u64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { dir: PathBuf::new(), seed: 42 }
    }
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Cell store.
    pub store: PathBuf,
    /// Split file.
    pub split: PathBuf,
    /// Virtual streams of the row order; the number of ranks must divide it.
    pub streams: usize,
    /// Blocks of rows that a stream shuffles together.
    pub window_blocks: usize,
    /// Rows of a block; 0 takes the store's chunk size.
    pub block_rows: usize,
    /// Cells of a global batch, over all ranks; a multiple of `streams`.
    pub batch_size: usize,
    /// Decoding threads of each rank.
    pub threads: usize,
    /// Batches decoded ahead.
    pub prefetch: usize,
    /// Memory for decoded chunks of each rank, MiB.
    pub cache_mib: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            store: PathBuf::new(),
            split: PathBuf::new(),
            streams: 64,
            window_blocks: 4,
            block_rows: 0,
            batch_size: 256,
            threads: 1,
            prefetch: 4,
            cache_mib: 256,
        }
    }
}

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

/// Number formats of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
}

/// `[engine]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Optimizer steps; ignored where `epochs` is set.
    pub steps: u64,
    /// Passes over the training cells; 0 leaves the length to `steps`.
    pub epochs: u64,
    /// Number format.
    pub precision: Precision,
    /// Bit-equal results at every world size. Not there yet: `true` is refused.
    pub deterministic: bool,
    /// Micro-batches that `deterministic` will cut the global batch into.
    pub logical_shards: usize,
    /// Threads of the tensor library on each rank; 0 shares the machine's cores among its ranks.
    pub threads: usize,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Steps between collapse monitors.
    pub monitor_every: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            epochs: 0,
            precision: Precision::F32,
            deterministic: false,
            logical_shards: 8,
            threads: 0,
            log_every: 1,
            monitor_every: 50,
        }
    }
}

/// `[checkpoint]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; the last step always writes one.
    pub every: u64,
    /// Newest checkpoints that are kept.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 200, keep: 2 }
    }
}

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
    /// Held-out cells of a condition that are used at most.
    pub max_cells: usize,
    /// Held-out cells that a condition needs.
    pub min_cells: usize,
    /// Resamples of the bootstrap over conditions.
    pub bootstrap: usize,
    /// Principal components of the set distances.
    pub components: usize,
    /// Evaluate on validation and test cells together. Nothing is chosen on the validation fold in these runs
    /// (no early stopping, no tuning), so this only makes the held-out truth less noisy.
    pub pool_validation: bool,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { max_cells: 128, min_cells: 10, bootstrap: 10_000, components: 50, pool_validation: false }
    }
}
