//! The commands that train and predict: pretraining, heads, diffusion, embedding.

pub mod curriculum;
pub mod data;
pub mod diffuse;
pub mod evaluate;
pub mod finetune;
pub mod frozen;
pub mod latents;
pub mod later;
pub mod methods;
mod pooling;
pub mod pretrain;
pub mod run;

pub use pooling::check as check_pooling;
use syncyte_sharding::loader::{CacheError, LoaderConfigError, LoaderError};
use syncyte_sharding::order::OrderError;
use syncyte_sharding::pairing::PairingError;
use syncyte_sharding::sampling::SamplingError;
use syncyte_sharding::split::SplitError;
use syncyte_sharding::store::StoreError;

use crate::checkpoint::CheckpointError;
use crate::collective::{AgreeError, Blame, CollectiveError, Fault};
use crate::config::ConfigError;
use crate::engine::EngineError;
use crate::log::prometheus::MetricsError;
use crate::model::vocabulary::VocabularyError;

/// Called along the way of a long task, to draw progress.
pub trait Progress {
    /// A task of `total` steps begins at `done`.
    fn begin(&mut self, what: &str, done: u64, total: u64);
    /// A step is done.
    fn step(&mut self, done: u64, loss: f64, cells_per_s: f64);
    /// The task is over.
    fn end(&mut self);
}

/// Draws nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _what: &str, _done: u64, _total: u64) {}
    fn step(&mut self, _done: u64, _loss: f64, _cells_per_s: f64) {}
    fn end(&mut self) {}
}

/// Why a task did not complete.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The configuration does not fit the data or the ranks.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The split does not fit.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The row order does not fit the data or the ranks.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Cells cannot be paired.
    #[error(transparent)]
    Pairing(#[from] PairingError),
    /// Bags cannot be drawn.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The loader's settings are wrong.
    #[error(transparent)]
    LoaderConfig(#[from] LoaderConfigError),
    /// The cache of decoded chunks cannot be used.
    #[error("data.cache_dir: {0}")]
    Cache(#[from] CacheError),
    /// A batch could not be read.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The loader stopped early.
    #[error("the loader ended before step {step}")]
    LoaderEnded {
        /// Step.
        step: u64,
    },
    /// A name is not in the model's vocabulary.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A step failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Ranks failed or disagree.
    #[error(transparent)]
    Ranks(#[from] AgreeError),
    /// An exchange failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// A file of the run cannot be written or read.
    #[error("{path}: {source}")]
    Io {
        /// File.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The run was asked to end and did so at a step boundary.
    #[error("{signal} at step {step}: the run is saved in {checkpoint}; continue it with --resume")]
    Interrupted {
        /// Signal, or a word for it where it came to another rank.
        signal: String,
        /// Steps done.
        step: u64,
        /// Checkpoint.
        checkpoint: String,
    },
    /// A stage that keeps nothing before its end was asked to end.
    #[error(
        "{signal} ended `{stage}` {place}; it writes its result at its end, so nothing of it is kept, and what the run \
         had before stays: start it again"
    )]
    Stopped {
        /// Signal, or a word for it where it came to another rank.
        signal: String,
        /// Name of the command.
        stage: &'static str,
        /// How far it was.
        place: String,
    },
    /// The metrics endpoint cannot be opened.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Something else that the message explains.
    #[error("{0}")]
    Invalid(String),
}

impl Blame for TaskError {
    fn fault(&self) -> Fault {
        match self {
            Self::Config(_)
            | Self::Order(_)
            | Self::LoaderConfig(_)
            | Self::Cache(_)
            | Self::Metrics(_)
            | Self::Invalid(_) => Fault::Usage,
            Self::Store(_)
            | Self::Split(_)
            | Self::Pairing(_)
            | Self::Sampling(_)
            | Self::Loader(_)
            | Self::Vocabulary(_) => Fault::Data,
            Self::Interrupted { .. } => Fault::Requeue,
            Self::Checkpoint(error) => error.fault(),
            Self::Ranks(error) => error.fault(),
            Self::Stopped { .. }
            | Self::LoaderEnded { .. }
            | Self::Engine(_)
            | Self::Collective(_)
            | Self::Io { .. } => Fault::Run,
        }
    }
}

impl TaskError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        |source| Self::Io { path, source }
    }
}
