//! The best checkpoint of a run, by name.
//!
//! Guarantee: `checkpoints/best` is replaced in one step.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::CheckpointError;
use super::disk::{sync_folder, write_json};

/// Name of the file that names the best checkpoint.
pub(super) const BEST: &str = "best";

/// Content of `checkpoints/best`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Step of the checkpoint.
    pub step: u64,
    /// Name of the number it was chosen by (`checkpoint.best`).
    pub metric: String,
    /// That number.
    pub value: f64,
}

/// Reads `checkpoints/best`, where there is one.
///
/// # Errors
/// When it cannot be read or is not what it should be.
pub fn read_best(checkpoints: &Path) -> Result<Option<Best>, CheckpointError> {
    let path = checkpoints.join(BEST);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| CheckpointError::invalid(&path, &error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CheckpointError::io(&path)(error)),
    }
}

/// Writes `checkpoints/best`.
pub(super) fn write_best(checkpoints: &Path, best: &Best) -> Result<(), CheckpointError> {
    let (path, beside) = (checkpoints.join(BEST), checkpoints.join(".best.partial"));
    // A process that was killed may have left one.
    let _ = fs::remove_file(&beside);
    let written =
        write_json(&beside, best).and_then(|_| fs::rename(&beside, &path).map_err(CheckpointError::io(&path)));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    sync_folder(checkpoints)
}
