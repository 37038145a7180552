//! Why a task did not complete.

use syncyte_sharding::loader::{CacheError, LoaderConfigError, LoaderError};
use syncyte_sharding::order::OrderError;
use syncyte_sharding::pairing::PairingError;
use syncyte_sharding::sampling::SamplingError;
use syncyte_sharding::split::SplitError;
use syncyte_sharding::store::StoreError;

use crate::batch::vocabulary::VocabularyError;
use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::engine::EngineError;
use crate::log::prometheus::MetricsError;
use syncyte_fabric::collective::{AgreeError, Blame, CollectiveError, Fault};

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
    /// The run was asked to end before there was anything to save.
    #[error("{signal} ended the run {place}, when there was nothing to save; begin it again with --resume")]
    Stopped {
        /// Signal, or a word for it where it came to another rank.
        signal: String,
        /// How far it was.
        place: String,
    },
    /// The metrics endpoint cannot be opened.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Ranks hold different parameters.
    #[error("{0}")]
    Diverged(String),
    /// What was computed or read is not what it can be.
    #[error("{0}")]
    Data(String),
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
            | Self::Vocabulary(_)
            | Self::Data(_) => Fault::Data,
            Self::Interrupted { .. } | Self::Stopped { .. } => Fault::Requeue,
            Self::Checkpoint(error) => error.fault(),
            Self::Ranks(error) => error.fault(),
            Self::Diverged(_) | Self::LoaderEnded { .. } | Self::Engine(_) | Self::Collective(_) | Self::Io { .. } => {
                Fault::Run
            }
        }
    }
}

impl TaskError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        |source| Self::Io { path, source }
    }
}
