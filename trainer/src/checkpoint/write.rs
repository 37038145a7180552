//! Writing a checkpoint from all ranks.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tch::Tensor;

use super::manifest::{FileRecord, MANIFEST, Manifest, seal};
use super::tensors::{save, save_named};
use super::{CheckpointError, FORMAT, State, step_folder};
use crate::collective::{Collective, agree};
use crate::engine::{FlatState, MomentsRun};
use crate::params::ParamSet;

/// What goes into a checkpoint. Every rank passes the same values.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// Trained state: `model.safetensors`, `teacher.safetensors` and one `optimizer-R-of-N.safetensors` a rank.
    pub trained: &'a FlatState,
    /// Further parameter sets by file name, e.g. the frozen encoder of a fine-tuned head.
    pub extra: Vec<(&'static str, &'a ParamSet)>,
    /// Everything else.
    pub state: State,
}

/// The elements whose optimizer state rank `rank` of `world` keeps.
pub(super) fn optimizer_range(len: usize, rank: usize, world: usize) -> Range<usize> {
    len * rank / world..len * (rank + 1) / world
}

/// Writes a checkpoint and drops all but the newest `keep`. Returns its folder.
///
/// Every rank writes its own optimizer file into a folder that is not yet a checkpoint; rank 0 adds the rest,
/// the manifest last, and renames. An error on one rank is an error on all, and nothing is left behind.
///
/// # Errors
/// When a file cannot be written on any rank (the message names the rank), or ranks hold different parameters.
pub fn write(
    checkpoints: &Path,
    snapshot: &Snapshot<'_>,
    keep: usize,
    collective: &dyn Collective,
) -> Result<PathBuf, CheckpointError> {
    let folder = step_folder(checkpoints, snapshot.state.step);
    let partial = checkpoints.join(format!(".step-{:08}.partial", snapshot.state.step));
    let outcome = write_partial(&partial, &folder, snapshot, collective);
    if outcome.is_err() && collective.rank() == 0 {
        let _ = fs::remove_dir_all(&partial);
    }
    outcome?;
    agree(collective, || if collective.rank() == 0 { prune(checkpoints, keep) } else { Ok(()) })?;
    Ok(folder)
}

fn write_partial(
    partial: &Path,
    folder: &Path,
    snapshot: &Snapshot<'_>,
    collective: &dyn Collective,
) -> Result<(), CheckpointError> {
    let (rank, world) = (collective.rank(), collective.size());
    agree(collective, || if rank == 0 { fresh_folder(partial) } else { Ok(()) })?;
    let own = agree(collective, || write_optimizer(partial, snapshot.trained, rank, world))?;
    let records = collective.all_gather_text(&serde_json::to_string(&own).unwrap_or_default())?;
    agree(collective, || {
        if rank != 0 {
            return Ok(());
        }
        let mut manifest = Manifest { format: FORMAT, ..Manifest::default() };
        for text in &records {
            let (name, record): (String, FileRecord) = serde_json::from_str(text).map_err(|error| {
                CheckpointError::Damaged { path: partial.display().to_string(), what: error.to_string() }
            })?;
            manifest.files.insert(name, record);
        }
        write_shared(partial, snapshot, &mut manifest)?;
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(CheckpointError::io(folder))?;
        }
        fs::rename(partial, folder).map_err(CheckpointError::io(folder))?;
        sync_folder(folder.parent().unwrap_or(folder))
    })?;
    Ok(())
}

fn fresh_folder(partial: &Path) -> Result<(), CheckpointError> {
    if partial.exists() {
        fs::remove_dir_all(partial).map_err(CheckpointError::io(partial))?;
    }
    fs::create_dir_all(partial).map_err(CheckpointError::io(partial))
}

fn write_optimizer(
    partial: &Path,
    trained: &FlatState,
    rank: usize,
    world: usize,
) -> Result<(String, FileRecord), CheckpointError> {
    let name = format!("optimizer-{rank}-of-{world}.safetensors");
    let path = partial.join(&name);
    let share = optimizer_range(trained.params.layout().len(), rank, world);
    let runs = trained.moments(&share)?;
    let joined =
        |pick: fn(&MomentsRun<'_>) -> Vec<f32>| Tensor::from_slice(&runs.iter().flat_map(pick).collect::<Vec<f32>>());
    let (m, v) = (joined(|run| run.m.to_vec()), joined(|run| run.v.to_vec()));
    let ranges: Vec<String> = runs.iter().map(|run| format!("{}-{}", run.range.start, run.range.end)).collect();
    save_named(&path, [("m", &m), ("v", &v)].into_iter(), &[("ranges", ranges.join(","))])?;
    Ok((name, seal(&path)?))
}

/// Everything that rank 0 alone writes; the manifest comes last.
fn write_shared(partial: &Path, snapshot: &Snapshot<'_>, manifest: &mut Manifest) -> Result<(), CheckpointError> {
    let sets = std::iter::once(("model.safetensors", &snapshot.trained.params))
        .chain(snapshot.trained.teacher.as_ref().map(|teacher| ("teacher.safetensors", teacher)))
        .chain(snapshot.extra.iter().copied());
    for (name, set) in sets {
        let path = partial.join(name);
        save(&path, set)?;
        manifest.files.insert(name.to_owned(), seal(&path)?);
    }
    manifest.files.insert("state.json".into(), write_json(&partial.join("state.json"), &snapshot.state)?);
    write_json(&partial.join(MANIFEST), manifest)?;
    sync_folder(partial)
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<FileRecord, CheckpointError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CheckpointError::Damaged { path: path.display().to_string(), what: error.to_string() })?;
    fs::write(path, text).map_err(CheckpointError::io(path))?;
    seal(path)
}

fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(CheckpointError::io(path))
}

fn prune(checkpoints: &Path, keep: usize) -> Result<(), CheckpointError> {
    let mut folders = super::read::folders(checkpoints)?;
    folders.sort();
    let surplus = folders.len().saturating_sub(keep);
    for folder in folders.into_iter().take(surplus) {
        fs::remove_dir_all(&folder).map_err(CheckpointError::io(&folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::optimizer_range;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn optimizer_ranges_cover_the_state_once(len in 0_usize..10_000, world in 1_usize..17) {
            let mut at = 0;
            for rank in 0..world {
                let range = optimizer_range(len, rank, world);
                prop_assert_eq!(range.start, at);
                at = range.end;
            }
            prop_assert_eq!(at, len);
        }
    }
}
