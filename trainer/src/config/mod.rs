//! The configuration of a run: one TOML file, overridden key by key.
//!
//! Guarantee: every key has a type and a default that `RUN/config.toml` shows resolved; an unknown key is an
//! error that names the nearest known one; values are checked before anything is read or written.

mod later;
mod load;
mod training;
mod validate;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::augmentation::Augmentation;
use crate::component::Choice;
use syncyte_fabric::collective::Wire;
use syncyte_fabric::watch::Limits;

pub use later::{DiffusionConfig, EvaluateConfig, FinetuneConfig, SamplerKind};
pub use load::ConfigError;
pub use training::{ObjectiveConfig, OptimizerConfig, TeacherConfig};

pub use crate::device::DeviceChoice;
pub use crate::model::ModelConfig;

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
    /// Random views of a cell.
    pub augmentation: Choice<dyn Augmentation>,
    /// `AdamW` and its schedules.
    pub optimizer: OptimizerConfig,
    /// EMA teacher.
    pub teacher: TeacherConfig,
    /// Length, threads, logging.
    pub engine: EngineConfig,
    /// When to write checkpoints and how many to keep.
    pub checkpoint: CheckpointConfig,
    /// Where a running run can be looked at.
    pub metrics: MetricsConfig,
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
    /// Folder on a local disk for decoded chunks, shared by the ranks of a node and by later runs; none if empty.
    pub cache_dir: PathBuf,
    /// Share of the store's chunks that may be unreadable: their rows are replaced and recorded. 0 allows none.
    pub bad_chunk_share: f64,
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
            cache_dir: PathBuf::new(),
            bad_chunk_share: 0.001,
        }
    }
}

/// Number formats of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// Matrix products and activations in bfloat16; parameters, moments, teacher, gradients and losses in f32.
    Bf16,
    /// As bf16, in IEEE half precision with a dynamic loss scale. For devices that are faster in it.
    Fp16,
}

impl Precision {
    /// Name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        }
    }

    /// Kind that parameters are rounded to for matrix products, where it is not their own.
    pub fn shadow(self) -> Option<tch::Kind> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(tch::Kind::BFloat16),
            Self::Fp16 => Some(tch::Kind::Half),
        }
    }
}

/// Who keeps the optimizer's moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharding {
    /// Every rank has all.
    None,
    /// Every rank has those of its part (ZeRO stage 1).
    Optimizer,
}

/// How gradients are summed over ranks while backward runs. The sums are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Each bucket as soon as its gradients are complete.
    Hooks,
    /// Backward in two segments, predictor and encoder; the first is summed during the second.
    Segments,
    /// After backward.
    None,
}

/// Who sums over ranks what lies on GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceCollectives {
    /// NCCL, unless it cannot be used or the sums must have a fixed order.
    #[default]
    Auto,
    /// NCCL, or the run is refused.
    Nccl,
    /// The collectives of the processor, through copies in its memory.
    Host,
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
    /// What pretraining computes on. Each rank of a node takes the GPU of its number there.
    pub device: DeviceChoice,
    /// Who sums over ranks what lies on GPUs.
    pub device_collectives: DeviceCollectives,
    /// Bit-equal results at every world size: the global batch is cut into `logical_shards` micro-batches whose
    /// gradients are summed by a fixed tree. One thread a rank.
    pub deterministic: bool,
    /// Micro-batches that `deterministic` cuts the global batch into: a power of two that the ranks divide.
    pub logical_shards: usize,
    /// Micro-batches that each rank cuts its share of a batch into, to save memory.
    pub micro_batches: usize,
    /// How gradients are summed while backward runs.
    pub overlap: Overlap,
    /// Who keeps the optimizer's moments.
    pub sharding: Sharding,
    /// Number format in which gradients travel between nodes.
    pub wire: Wire,
    /// Steps in a row that are skipped when their gradient is not finite; one more stops the run.
    pub max_skipped: u32,
    /// Threads of the tensor library on each rank; 0 shares the machine's cores among its ranks.
    pub threads: usize,
    /// Seconds after which a collective operation counts as stuck and the run ends, naming the ranks to blame.
    pub timeout_s: f64,
    /// The same for the first operations, evaluation and checkpoints, where ranks may wait longer for each other.
    pub startup_timeout_s: f64,
    /// Steps between checks that all ranks hold the same parameters; 0 checks at checkpoints only.
    pub check_every: u64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Steps between collapse monitors.
    pub monitor_every: u64,
}

impl EngineConfig {
    /// Threads of each rank, 0 to share the cores: one in the deterministic mode, since sums over parts of an array
    /// depend on how many threads share it.
    pub fn n_threads(&self) -> usize {
        if self.deterministic { 1 } else { self.threads }
    }

    /// Limits of collective operations.
    pub fn limits(&self) -> Limits {
        let seconds = std::time::Duration::from_secs_f64;
        Limits { long: seconds(self.startup_timeout_s), short: seconds(self.timeout_s), ..Limits::default() }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            epochs: 0,
            precision: Precision::F32,
            device: DeviceChoice::Auto,
            device_collectives: DeviceCollectives::Auto,
            deterministic: false,
            logical_shards: 8,
            micro_batches: 1,
            overlap: Overlap::Hooks,
            sharding: Sharding::None,
            wire: Wire::F32,
            max_skipped: 3,
            timeout_s: 300.0,
            startup_timeout_s: 600.0,
            check_every: 100,
            threads: 0,
            log_every: 1,
            monitor_every: 50,
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// `HOST:PORT` (or a port of this machine alone) where the first rank answers Prometheus; empty for none.
    pub address: String,
    /// First step of a Chrome trace, from 0, written to `trace-rank-R.json`.
    pub trace_from: u64,
    /// Step after the last one of the trace; no trace unless it is above `trace_from`.
    pub trace_to: u64,
}

/// Which of two values of a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BestMode {
    /// The lower one.
    Min,
    /// The higher one.
    Max,
}

/// `[checkpoint]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; the last step always writes one.
    pub every: u64,
    /// Newest checkpoints that are kept.
    pub keep: usize,
    /// Checkpoints whose step is a multiple of this are kept for ever; 0 for none.
    pub keep_every: u64,
    /// Number by which the best checkpoint is chosen, which is kept and named in `checkpoints/best`: a tag of the
    /// TensorBoard file, e.g. `loss` or `monitors/student/effective_rank`. None if empty.
    pub best: String,
    /// Whether lower or higher values of it are better.
    pub best_mode: BestMode,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 200, keep: 2, keep_every: 0, best: String::new(), best_mode: BestMode::Min }
    }
}
