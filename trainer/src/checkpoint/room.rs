//! Room on the disk for checkpoints: what they will take is known before a run begins.
//!
//! Guarantee: a run that cannot keep the checkpoints that it is to keep is refused with both numbers before it writes
//! anything, and a checkpoint that does not fit is refused before its first byte.

use std::path::Path;

use super::CheckpointError;
use super::read::step_folders;
use crate::config::CheckpointConfig;

/// Everything of a checkpoint that is not a tensor, at least.
const DESCRIPTION: u64 = 4096;

/// Bytes of a checkpoint with so many parameters, so many of a teacher, and so many values besides.
pub fn bytes(parameters: usize, teacher: usize, extra: usize) -> u64 {
    // Two moments a parameter.
    let values = 3 * parameters + teacher + extra;
    (values * size_of::<f32>()) as u64 + DESCRIPTION
}

/// Refuses a run that does `steps` (a range behind those that are done) where the checkpoints that there will be at once
/// do not fit, `one` byte count each, with what the run keeps `beside` them on the same disk.
///
/// # Errors
/// When they do not, with the bytes needed and free.
pub fn require_for_run(
    checkpoints: &Path,
    config: &CheckpointConfig,
    steps: std::ops::Range<u64>,
    (one, beside): (u64, u64),
) -> Result<(), CheckpointError> {
    let there = step_folders(checkpoints).unwrap_or_default().len() as u64;
    let more = at_once(config, steps).saturating_sub(there).max(1);
    let embeddings = if beside > 0 { " with the embeddings of the training cells" } else { "" };
    let what = format!("{more} of them, which the run is to have at once,{embeddings}");
    require(checkpoints, one * more + beside, &what)
}

/// Checkpoints that a run will have at once at most: the newest, one being written, those that stay, the best.
fn at_once(config: &CheckpointConfig, steps: std::ops::Range<u64>) -> u64 {
    let multiples = |of: u64| steps.end / of - steps.start / of;
    let written = multiples(config.every) + u64::from(!steps.is_empty() && !steps.end.is_multiple_of(config.every));
    let kept = if config.keep_every == 0 { 0 } else { multiples(config.keep_every) };
    let newest = config.keep as u64 + 1 + u64::from(!config.best.is_empty());
    written.min(kept + newest)
}

/// Refuses to begin what does not fit.
///
/// # Errors
/// When it does not, with the bytes needed and free.
pub fn require(folder: &Path, needed: u64, what: &str) -> Result<(), CheckpointError> {
    // The folder itself may not be there yet.
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let disk = rustix::fs::statvfs(there).map_err(|error| CheckpointError::io(there)(error.into()))?;
    let free = disk.f_bavail * disk.f_frsize;
    if free >= needed {
        return Ok(());
    }
    Err(CheckpointError::Room { path: folder.display().to_string(), what: what.to_owned(), needed, free })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(every: u64, keep: usize, keep_every: u64) -> CheckpointConfig {
        CheckpointConfig { every, keep, keep_every, ..CheckpointConfig::default() }
    }

    #[test]
    fn a_run_has_its_newest_checkpoints_and_the_one_being_written_at_once() {
        assert_eq!(at_once(&config(10, 2, 0), 0..100), 3);
        assert_eq!(at_once(&config(10, 20, 0), 0..100), 10);
        assert_eq!(at_once(&config(10, 20, 0), 0..95), 10, "the last step always writes one");
        assert_eq!(at_once(&config(10, 2, 50), 0..1000), 23);
        assert_eq!(at_once(&config(10, 20, 0), 60..100), 4);
        assert_eq!(at_once(&config(10, 2, 0), 100..100), 0);
        let best = CheckpointConfig { best: "loss".into(), ..config(10, 2, 0) };
        assert_eq!(at_once(&best, 0..100), 4);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = folder.path().join("run/checkpoints");
        require_for_run(&checkpoints, &config(10, 2, 0), 0..100, (1 << 10, 0)).unwrap();
        let error = require_for_run(&checkpoints, &config(10, 2, 0), 0..100, (1 << 60, 0)).unwrap_err().to_string();
        assert!(error.contains(&format!("{}", 3_u64 << 60)) && error.contains("checkpoint.keep"), "{error}");
        assert!(!folder.path().join("run").exists());
    }
}
