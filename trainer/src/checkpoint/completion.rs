//! The end of a checkpoint, on the first rank: all parts are there, the manifest comes last, then the rename.
//!
//! Guarantee: a folder `step-XXXXXXXX` that this made has every file of every rank, synced, and a manifest of them.
//! No collective operation is used, since training's own go on meanwhile: the other ranks report through files.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::{STRAY, discard, sync_folder, write_json};
use super::manifest::{MANIFEST, Manifest};
use super::part::{Report, Written, marker_path, report_path};
use super::retention::Retention;
use super::stream::Stop;
use super::{CheckpointError, FORMAT, MODEL, STATE, State, TEACHER, step_folder};
use crate::engine::joint_digest;

/// Shortest and longest wait between two looks at the folder.
const WAITS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// The folder of a step before it is a checkpoint.
pub(super) fn partial_folder(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("{STRAY}{step:08}.partial"))
}

/// Makes an empty partial folder, after removing what earlier processes left unfinished.
pub(super) fn prepare(checkpoints: &Path, partial: &Path) -> Result<(), CheckpointError> {
    fs::create_dir_all(checkpoints).map_err(CheckpointError::io(checkpoints))?;
    for entry in fs::read_dir(checkpoints).map_err(CheckpointError::io(checkpoints))? {
        let path = entry.map_err(CheckpointError::io(checkpoints))?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(STRAY)) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(CheckpointError::io(&path))?;
        }
    }
    fs::create_dir(partial).map_err(CheckpointError::io(partial))
}

/// Everything that the first rank needs to complete a checkpoint.
pub(super) struct Completion {
    pub(super) checkpoints: PathBuf,
    pub(super) state: State,
    pub(super) retention: Retention,
    /// The number that the best checkpoint is chosen by.
    pub(super) metric: Option<f64>,
    pub(super) world: usize,
    /// Longest wait for the other ranks.
    pub(super) limit: Duration,
}

impl Completion {
    /// Waits for all parts and makes them a checkpoint; gives the hash of its parameters.
    pub(super) fn run(mut self, own: Written, stop: &Stop) -> Result<String, CheckpointError> {
        let step = self.state.step;
        let partial = partial_folder(&self.checkpoints, step);
        let mut all = own;
        for part in collect(&partial, self.world, self.limit, stop)? {
            all.files.extend(part.files);
            all.digests.extend(part.digests);
        }
        self.state.parameter_hash = joint_digest([MODEL, TEACHER].iter().filter_map(|&name| all.digests.remove(name)));
        let mut manifest = Manifest { format: FORMAT, files: all.files };
        manifest.files.insert(STATE.into(), write_json(&partial.join(STATE), &self.state)?);
        write_json(&partial.join(MANIFEST), &manifest)?;
        for rank in 1..self.world {
            let path = report_path(&partial, rank);
            fs::remove_file(&path).map_err(CheckpointError::io(&path))?;
        }
        sync_folder(&partial)?;
        let folder = step_folder(&self.checkpoints, step);
        if folder.exists() {
            discard(&self.checkpoints, step)?;
        }
        fs::rename(&partial, &folder).map_err(CheckpointError::io(&folder))?;
        sync_folder(&self.checkpoints)?;
        self.retention.apply(&self.checkpoints, step, self.metric)?;
        Ok(self.state.parameter_hash)
    }
}

/// What ranks 1 and up have written, once all have reported.
fn collect(partial: &Path, world: usize, limit: Duration, stop: &Stop) -> Result<Vec<Written>, CheckpointError> {
    let (began, mut wait) = (Instant::now(), WAITS[0]);
    let (mut parts, mut missing): (Vec<Written>, Vec<usize>) = (Vec::new(), (1..world).collect());
    while !missing.is_empty() {
        stop.check()?;
        // Opening the folder makes a network file system look at it again; whether a name exists may otherwise be
        // answered from memory for half a minute.
        let names: HashSet<OsString> = fs::read_dir(partial)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(CheckpointError::io(partial))?;
        let present = |path: &Path| path.file_name().is_some_and(|name| names.contains(name));
        let mut waiting = Vec::new();
        for rank in missing {
            let path = report_path(partial, rank);
            if present(&path) {
                parts.push(read(&path, rank)?);
            } else if present(&marker_path(partial, rank)) {
                return Err(CheckpointError::Elsewhere(format!("rank {rank} could not write its part")));
            } else {
                waiting.push(rank);
            }
        }
        missing = waiting;
        if !missing.is_empty() && began.elapsed() > limit {
            return Err(CheckpointError::Unreported {
                path: partial.display().to_string(),
                ranks: missing,
                seconds: limit.as_secs_f64(),
            });
        }
        if !missing.is_empty() {
            std::thread::sleep(wait);
            wait = (2 * wait).min(WAITS[1]);
        }
    }
    Ok(parts)
}

fn read(path: &Path, rank: usize) -> Result<Written, CheckpointError> {
    let text = fs::read(path).map_err(CheckpointError::io(path))?;
    match serde_json::from_slice(&text).map_err(|error| CheckpointError::invalid(path, &error))? {
        Report::Written(written) => Ok(written),
        Report::Failed(why) => Err(CheckpointError::Elsewhere(format!("rank {rank}: {why}"))),
    }
}
