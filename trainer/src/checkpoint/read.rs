//! Finding and reading checkpoints.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::best::{BEST, read_best};
use super::manifest::Manifest;
use super::tensors::{load_into, values, with_file};
use super::{CheckpointError, MODEL, STATE, Stage, State, TEACHER, step_folder};
use crate::batch::vocabulary::Vocabulary;
use crate::engine::{FlatState, LossScaler};
use crate::params::ParamSet;
use crate::shim::map_finished;

/// A whole checkpoint: every file has been checked against the manifest.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    manifest: Manifest,
    /// Its `state.json`.
    pub state: State,
}

/// Step of a folder by its name, `step-` and at least eight digits.
fn step_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_prefix("step-")?;
    (digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Step folders, oldest first.
pub(super) fn step_folders(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(checkpoints).map_err(CheckpointError::io(checkpoints))? {
        let path = entry.map_err(CheckpointError::io(checkpoints))?.path();
        if let Some(step) = step_of(&path).filter(|_| path.is_dir()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether there is a checkpoint, whole or damaged. What a run that was ended left unfinished is none.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn has_any(checkpoints: &Path) -> Result<bool, CheckpointError> {
    if !checkpoints.is_dir() {
        return Ok(false);
    }
    Ok(!step_folders(checkpoints)?.is_empty())
}

/// The step of the newest checkpoint, whole or damaged; 0 where there is none.
pub fn newest_step(checkpoints: &Path) -> u64 {
    step_folders(checkpoints).unwrap_or_default().last().map_or(0, |(step, _)| *step)
}

/// The newest whole checkpoint of a folder of checkpoints; damaged ones are refused by name and skipped.
///
/// # Errors
/// When there is none; the message names those that were refused.
pub fn latest(checkpoints: &Path) -> Result<Checkpoint, CheckpointError> {
    let found = step_folders(checkpoints).unwrap_or_default();
    let mut refused = Vec::new();
    for (_, folder) in found.into_iter().rev() {
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

/// A checkpoint by the folder of a step, of checkpoints, or of a run, or by the file `checkpoints/best`.
///
/// A step folder that is named itself is never replaced by an older one.
///
/// # Errors
/// When there is no whole checkpoint there.
pub fn latest_or_named(path: &Path) -> Result<Checkpoint, CheckpointError> {
    if step_of(path).is_some() {
        return Checkpoint::open(path);
    }
    if path.ends_with(BEST)
        && let Some(checkpoints) = path.parent()
        && let Some(best) = read_best(checkpoints)?
    {
        return Checkpoint::open(&step_folder(checkpoints, best.step));
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
        let text = fs::read_to_string(folder.join(STATE)).map_err(CheckpointError::io(folder))?;
        let state = serde_json::from_str(&text).map_err(|error| CheckpointError::Damaged {
            path: folder.display().to_string(),
            what: format!("{STATE}: {error}"),
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
    /// When the checkpoint has no such file, or a parameter is missing or has another shape.
    pub fn load(&self, file: &str, params: &ParamSet) -> Result<(), CheckpointError> {
        if !self.manifest.files.contains_key(file) {
            return Err(self.damaged(format!("it has no {file}")));
        }
        load_into(&self.folder.join(file), params)
    }

    /// Puts parameters, teacher and optimizer state back, whatever the number of ranks that wrote them.
    ///
    /// # Errors
    /// When a shape differs or the optimizer files do not cover the state.
    pub fn restore(&self, state: &mut FlatState) -> Result<(), CheckpointError> {
        self.load(MODEL, &state.params)?;
        if let Some(teacher) = &state.teacher {
            self.load(TEACHER, teacher)?;
        }
        let len = state.params.flat().numel();
        let (mut m, mut v) = (vec![0.0_f32; len], vec![0.0_f32; len]);
        let mut covered: Vec<Range<usize>> = Vec::new();
        for name in self.manifest.files.keys().filter(|name| name.starts_with("optimizer-")) {
            covered.extend(self.read_moments(name, &mut m, &mut v)?);
        }
        if let Some(hole) = first_hole(covered, len) {
            return Err(self.damaged(format!("the optimizer files do not hold element {hole} once")));
        }
        state.restore(&m, &v, self.state.step, self.state.loss_scale.map(LossScaler::from_state));
        Ok(())
    }

    fn damaged(&self, what: String) -> CheckpointError {
        CheckpointError::Damaged { path: self.folder.display().to_string(), what }
    }

    /// Puts the moments of one optimizer file in their places; gives the elements that it holds.
    fn read_moments(&self, name: &str, m: &mut [f32], v: &mut [f32]) -> Result<Vec<Range<usize>>, CheckpointError> {
        let path = self.folder.join(name);
        let ranges = ranges_of(&path)?.ok_or_else(|| self.damaged(format!("{name}: no element ranges")))?;
        with_file(&path, |tensors| {
            for (key, into) in [("m", m), ("v", v)] {
                let (_, part) = values(&path, tensors, key)?;
                let misfit =
                    || self.damaged(format!("{name}: `{key}` does not have the elements that its ranges name"));
                let mut rest = part.as_slice();
                for range in &ranges {
                    let (own, after) = rest.split_at_checked(range.len()).ok_or_else(misfit)?;
                    into.get_mut(range.clone()).ok_or_else(misfit)?.copy_from_slice(own);
                    rest = after;
                }
                if !rest.is_empty() {
                    return Err(misfit());
                }
            }
            Ok(())
        })?;
        Ok(ranges)
    }
}

/// The first of `len` elements that the ranges do not cover exactly once.
fn first_hole(mut ranges: Vec<Range<usize>>, len: usize) -> Option<usize> {
    ranges.sort_by_key(|range| range.start);
    let mut at = 0;
    for range in ranges {
        if range.start != at {
            return Some(at.min(range.start));
        }
        at = range.end;
    }
    (at != len).then_some(at.min(len))
}

/// Parses `0-64,128-192`.
fn parse_ranges(text: &str) -> Option<Vec<Range<usize>>> {
    let parse = |word: &str| {
        let (start, end) = word.split_once('-')?;
        let range = start.parse().ok()?..end.parse().ok()?;
        (range.start <= range.end).then_some(range)
    };
    text.split(',').filter(|word| !word.is_empty()).map(parse).collect()
}

/// Elements of an optimizer file, from its metadata.
fn ranges_of(path: &Path) -> Result<Option<Vec<Range<usize>>>, CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io(path))?;
    let bytes = map_finished(&file).map_err(CheckpointError::io(path))?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)
        .map_err(|error| CheckpointError::Damaged { path: path.display().to_string(), what: error.to_string() })?;
    Ok(metadata.metadata().as_ref().and_then(|pairs| parse_ranges(pairs.get("ranges")?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_cover_has_no_hole_and_a_missing_or_doubled_range_is_found(
            cuts in prop::collection::btree_set(1_usize..1000, 0..12), victim in any::<prop::sample::Index>(),
        ) {
            let mut ends: Vec<usize> = cuts.into_iter().collect();
            ends.push(1000);
            let mut at = 0;
            let ranges: Vec<_> = ends.into_iter().map(|end| { let range = at..end; at = end; range }).collect();
            prop_assert_eq!(first_hole(ranges.iter().rev().cloned().collect(), 1000), None);
            let victim = victim.index(ranges.len());
            let mut fewer = ranges.clone();
            let gone = fewer.remove(victim);
            prop_assert_eq!(first_hole(fewer, 1000), Some(gone.start));
            let mut more = ranges.clone();
            more.push(gone);
            prop_assert!(first_hole(more, 1000).is_some());
        }

        #[test]
        fn any_text_of_ranges_is_parsed_or_refused(text in "[0-9,-]{0,40}") {
            for range in parse_ranges(&text).unwrap_or_default() {
                prop_assert!(range.start <= range.end);
            }
        }
    }
}
