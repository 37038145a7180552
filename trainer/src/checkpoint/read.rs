//! Finding and reading checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use tch::Tensor;

use super::manifest::Manifest;
use super::tensors::{load_into, values, with_file};
use super::{CheckpointError, Stage, State};
use crate::engine::FlatState;
use crate::model::vocabulary::Vocabulary;
use crate::params::ParamSet;

/// A whole checkpoint: every file has been checked against the manifest.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    manifest: Manifest,
    /// Its `state.json`.
    pub state: State,
}

/// Step folders, in no order.
pub(super) fn folders(checkpoints: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(checkpoints).map_err(CheckpointError::io(checkpoints))? {
        let path = entry.map_err(CheckpointError::io(checkpoints))?.path();
        let is_step = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("step-"));
        if is_step && path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// The newest whole checkpoint of a folder of checkpoints; damaged ones are refused by name and skipped.
///
/// # Errors
/// When there is none; the message names those that were refused.
pub fn latest(checkpoints: &Path) -> Result<Checkpoint, CheckpointError> {
    let mut found = folders(checkpoints).unwrap_or_default();
    found.sort();
    let mut refused = Vec::new();
    for folder in found.into_iter().rev() {
        match Checkpoint::open(&folder) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) => {
                tracing::warn!("{error}; looking for an older checkpoint");
                refused.push(error.to_string());
            }
        }
    }
    Err(CheckpointError::None { path: checkpoints.display().to_string(), refused })
}

/// A checkpoint by the folder of a step, of checkpoints, or of a run.
///
/// A step folder that is named itself is never replaced by an older one.
///
/// # Errors
/// When there is no whole checkpoint there.
pub fn latest_or_named(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let is_step = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("step-"));
    if is_step {
        return Checkpoint::open(path);
    }
    let inner = path.join("checkpoints");
    latest(if inner.is_dir() { &inner } else { path })
}

impl Checkpoint {
    /// Opens a step folder after checking all of its files.
    ///
    /// # Errors
    /// When a file is missing or is not what the manifest says, by name.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let manifest = Manifest::verify(folder)?;
        let text = fs::read_to_string(folder.join("state.json")).map_err(CheckpointError::io(folder))?;
        let state = serde_json::from_str(&text).map_err(|error| CheckpointError::Damaged {
            path: folder.display().to_string(),
            what: format!("state.json: {error}"),
        })?;
        Ok(Self { folder: folder.to_owned(), manifest, state })
    }

    /// The step folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Refuses a checkpoint of another stage.
    ///
    /// # Errors
    /// Names both stages.
    pub fn require_stage(&self, wanted: Stage) -> Result<(), CheckpointError> {
        if self.state.stage == wanted {
            return Ok(());
        }
        Err(CheckpointError::Stage {
            path: self.folder.display().to_string(),
            found: self.state.stage.name().to_owned(),
            wanted: wanted.name().to_owned(),
        })
    }

    /// Refuses a checkpoint whose model does not know the data.
    ///
    /// # Errors
    /// The first gene, target, context or kind at fault.
    pub fn require_vocabulary(&self, data: &Vocabulary) -> Result<(), CheckpointError> {
        self.state
            .vocabulary
            .fits(data)
            .map_err(|source| CheckpointError::Vocabulary { path: self.folder.display().to_string(), source })
    }

    /// Fills a parameter set from one of the files.
    ///
    /// # Errors
    /// When a parameter is missing or has another shape.
    pub fn load(&self, file: &str, params: &ParamSet) -> Result<(), CheckpointError> {
        load_into(&self.folder.join(file), params)
    }

    /// Puts parameters, teacher and optimizer state back, whatever the number of ranks that wrote them.
    ///
    /// # Errors
    /// When a shape differs or the optimizer files do not cover the state.
    pub fn restore(&self, state: &mut FlatState) -> Result<(), CheckpointError> {
        self.load("model.safetensors", &state.params)?;
        if let Some(teacher) = &state.teacher {
            self.load("teacher.safetensors", teacher)?;
        }
        let len = state.params.flat().numel();
        let (mut m, mut v, mut covered) = (vec![0.0_f32; len], vec![0.0_f32; len], 0);
        for name in self.manifest.files.keys().filter(|name| name.starts_with("optimizer-")) {
            let path = self.folder.join(name);
            let damaged = |what: &str| CheckpointError::Damaged {
                path: self.folder.display().to_string(),
                what: format!("{name}: {what}"),
            };
            let start = start_of(&path)?.ok_or_else(|| damaged("no element range"))?;
            covered += with_file(&path, |tensors| {
                let mut n = 0;
                for (key, into) in [("m", &mut m), ("v", &mut v)] {
                    let (_, part) = values(&path, tensors, key)?;
                    into.get_mut(start..start + part.len())
                        .ok_or_else(|| damaged("its elements lie outside the state"))?
                        .copy_from_slice(&part);
                    n = part.len();
                }
                Ok(n)
            })?;
        }
        if covered != len {
            return Err(CheckpointError::Damaged {
                path: self.folder.display().to_string(),
                what: format!("optimizer files hold {covered} of {len} elements"),
            });
        }
        state.restore(&Tensor::from_slice(&m), &Tensor::from_slice(&v), self.state.step);
        Ok(())
    }
}

/// First element of an optimizer file, from its metadata.
fn start_of(path: &Path) -> Result<Option<usize>, CheckpointError> {
    let bytes = fs::read(path).map_err(CheckpointError::io(path))?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)
        .map_err(|error| CheckpointError::Damaged { path: path.display().to_string(), what: error.to_string() })?;
    Ok(metadata.metadata().as_ref().and_then(|pairs| pairs.get("start")?.parse().ok()))
}
