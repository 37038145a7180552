//! Files and folders of checkpoints on the disk.

use std::fs::{self, File};
use std::path::Path;

use super::manifest::FileRecord;
use super::stream::write_bytes;
use super::{CheckpointError, step_folder};

/// How unfinished folders begin: hidden, so that they are never taken for checkpoints.
pub(super) const STRAY: &str = ".step-";

/// Removes a step folder: under a hidden name first, so that nothing half-removed is ever taken for a checkpoint.
pub(super) fn discard(checkpoints: &Path, step: u64) -> Result<(), CheckpointError> {
    let folder = step_folder(checkpoints, step);
    let hidden = checkpoints.join(format!("{STRAY}{step:08}.removed"));
    fs::rename(&folder, &hidden).and_then(|()| fs::remove_dir_all(&hidden)).map_err(CheckpointError::io(&folder))
}

/// Syncs the entries of a folder to the disk.
pub(super) fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(CheckpointError::io(path))
}

/// Writes a JSON file, synced.
pub(super) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<FileRecord, CheckpointError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CheckpointError::invalid(path, &error))?;
    write_bytes(path, text.as_bytes())
}
