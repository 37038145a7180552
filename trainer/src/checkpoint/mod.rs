//! Checkpoints: whole or absent.
//!
//! Guarantee: a folder `step-XXXXXXXX` is written beside under another name, every file synced, the manifest
//! with sizes and SHA-256 last, then renamed. A folder without a manifest that verifies is refused by name, and
//! [`latest`] goes on to the newest whole one. Weights are safetensors, everything else JSON.
//!
//! A step only copies ([`Checkpointer::begin`]); each rank's thread writes its part and reports in the unfinished
//! folder, and the first rank's completes it.

mod best;
mod checkpointer;
mod completion;
mod disk;
mod export;
#[cfg(test)]
mod fixtures;
mod manifest;
mod part;
mod read;
mod retention;
pub mod room;
mod stream;
mod tensors;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncyte_sharding::store::ValueKind;

pub use best::{Best, read_best};
pub use checkpointer::{Checkpointer, Snapshot, Written, write};
pub use export::{Exported, export};
pub use read::{Checkpoint, has_any, latest, latest_or_named, newest_step};
pub use tensors::load_into;

use crate::batch::vocabulary::{Vocabulary, VocabularyError};
use crate::config::Config;
use crate::engine::EngineError;
use syncyte_fabric::collective::{AgreeError, Blame, CollectiveError, Fault};

/// Version of the layout of a checkpoint folder.
pub const FORMAT: u32 = 3;

/// File of the trained parameters.
pub const MODEL: &str = "model.safetensors";
/// File of the teacher.
pub const TEACHER: &str = "teacher.safetensors";
/// File of everything that is not a tensor.
const STATE: &str = "state.json";

/// Which command wrote a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// `syncyte pretrain`
    Pretrain,
    /// `syncyte finetune`
    Finetune,
    /// `syncyte diffuse`
    Diffuse,
}

impl Stage {
    /// All of them, in the order of a run.
    pub const ALL: [Self; 3] = [Self::Pretrain, Self::Finetune, Self::Diffuse];

    /// Name of the command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Finetune => "finetune",
            Self::Diffuse => "diffuse",
        }
    }

    /// Folder of the stage in the folder of a run.
    pub fn folder(self, run: &Path) -> PathBuf {
        match self {
            Self::Pretrain => run.to_owned(),
            later => run.join(later.name()),
        }
    }
}

/// Everything of a run that is not a tensor (`state.json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`].
    pub format: u32,
    /// Command that wrote it.
    pub stage: Stage,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps of the whole run.
    pub total_steps: u64,
    /// Epoch of the last step, from 0.
    pub epoch: u64,
    /// Number of ranks that wrote it.
    pub world: usize,
    /// Resolved configuration.
    pub config: Config,
    /// Hash of the configuration.
    pub config_hash: String,
    /// Hash of the cell store.
    pub data_hash: String,
    /// Hash of the split.
    pub split_hash: String,
    /// Whether the store holds counts or log-normalised values.
    pub value_kind: ValueKind,
    /// Names the model knows.
    pub vocabulary: Vocabulary,
    /// Hash of parameters and teacher ([`FlatState::parameter_hash`](crate::engine::FlatState::parameter_hash)).
    pub parameter_hash: String,
    /// Length of the flat buffer.
    pub flat_len: usize,
    /// State of the dynamic loss scale, where there is one.
    #[serde(default)]
    pub loss_scale: Option<[f64; 2]>,
    /// Parameter hash of the checkpoint that this one started from.
    pub parent: Option<String>,
    /// Wall time spent so far, in seconds.
    pub seconds: f64,
    /// Numbers of the stage (standardisation of latents and the like).
    #[serde(default)]
    pub vectors: BTreeMap<String, Vec<f64>>,
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system said no.
    #[error("checkpoint {path}: {source}")]
    Io {
        /// File or folder.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
    /// There is too little room on the disk.
    #[error(
        "checkpoint {path}: no space left for it: {what} needs {needed} bytes ({:.3} GB), and {free} bytes ({:.3} GB) are \
         free; free some, lower checkpoint.keep, or choose another run.dir",
        gigabytes(*.needed),
        gigabytes(*.free)
    )]
    Room {
        /// Folder of checkpoints.
        path: String,
        /// What does not fit.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A file of the checkpoint is not what the manifest says.
    #[error("checkpoint {path} is damaged: {what}")]
    Damaged {
        /// Folder.
        path: String,
        /// File and what is wrong with it.
        what: String,
    },
    /// There is no whole checkpoint.
    #[error("no whole checkpoint in {path}{}", refusals(.refused))]
    None {
        /// Folder searched.
        path: String,
        /// Damaged ones.
        refused: Vec<String>,
    },
    /// A parameter is missing or has another shape.
    #[error("{path} does not fit the model: {what}")]
    Shape {
        /// File.
        path: String,
        /// Parameter and both shapes.
        what: String,
    },
    /// The checkpoint is of another stage.
    #[error("{path} was written by `syncyte {found}`, not by `syncyte {wanted}`")]
    Stage {
        /// Folder.
        path: String,
        /// Stage found.
        found: String,
        /// Stage needed.
        wanted: String,
    },
    /// The model does not know the data.
    #[error("{path}: {source}")]
    Vocabulary {
        /// Folder.
        path: String,
        /// First difference.
        source: VocabularyError,
    },
    /// Ranks did not report their parts in time.
    #[error("checkpoint {path}: {} not reported within {seconds} s", named(.ranks))]
    Unreported {
        /// Unfinished folder.
        path: String,
        /// The ranks.
        ranks: Vec<usize>,
        /// Seconds that were waited.
        seconds: f64,
    },
    /// Another rank failed, and tells why itself.
    #[error("the checkpoint was not written: {0}")]
    Elsewhere(String),
    /// `checkpoint.best` names nothing that was measured.
    #[error("checkpoint.best = `{name}` has not been measured by this step; there are: {known}")]
    Metric {
        /// Its value.
        name: String,
        /// What was measured.
        known: String,
    },
    /// There is something where a folder is to be written.
    #[error("{path} exists and is not an empty folder; choose another or remove it")]
    Occupied {
        /// Path.
        path: String,
    },
    /// Ranks disagree or one of them failed.
    #[error("checkpoint not written: {0}")]
    Ranks(#[from] AgreeError),
    /// An exchange between ranks failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// A buffer could not be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// What was found but is damaged, for the end of a message.
fn refusals(refused: &[String]) -> String {
    if refused.is_empty() { String::new() } else { format!("; refused: {}", refused.join("; refused: ")) }
}

/// `rank 3 has`, `ranks 3, 5 have`.
fn named(ranks: &[usize]) -> String {
    let list = ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if ranks.len() == 1 { format!("rank {list} has") } else { format!("ranks {list} have") }
}

impl Blame for CheckpointError {
    fn fault(&self) -> Fault {
        match self {
            Self::Damaged { .. }
            | Self::None { .. }
            | Self::Shape { .. }
            | Self::Stage { .. }
            | Self::Vocabulary { .. } => Fault::Data,
            Self::Ranks(error) => error.fault(),
            Self::Metric { .. } | Self::Occupied { .. } => Fault::Usage,
            Self::Io { .. }
            | Self::Room { .. }
            | Self::Unreported { .. }
            | Self::Elsewhere(_)
            | Self::Collective(_)
            | Self::Engine(_) => Fault::Run,
        }
    }
}

impl CheckpointError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        |source| Self::Io { path, source }
    }

    /// A file that is not the JSON it should be.
    fn invalid(path: &Path, error: &serde_json::Error) -> Self {
        Self::Damaged { path: path.display().to_string(), what: error.to_string() }
    }
}

/// Name of the folder of a step.
pub fn step_folder(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("step-{step:08}"))
}
