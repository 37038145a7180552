//! Checkpoints of a run, written while training goes on, one at a time.
//!
//! Guarantee: [`Checkpointer::begin`] only copies; a thread of each rank writes, without collective operations. Every
//! error of such a thread becomes one of the run on all ranks, at the latest with the next checkpoint or the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use super::completion::{Completion, partial_folder, prepare};
use super::part::{Buffers, Part, Report, report};
use super::retention::Retention;
use super::stream::Stop;
use super::{CheckpointError, State, room, step_folder};
use crate::config::CheckpointConfig;
use crate::engine::FlatState;
use crate::params::ParamSet;
use syncyte_fabric::collective::{Collective, agree};

/// Time between two questions to all ranks whether they have written.
const POLL: Duration = Duration::from_millis(10);

/// What goes into a checkpoint. Every rank passes the same values.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// Trained state: `model.safetensors`, `teacher.safetensors` and one `optimizer-R-of-N.safetensors` a rank.
    pub trained: &'a FlatState,
    /// Further parameter sets by file name, e.g. the frozen encoder of a fine-tuned head.
    pub extra: Vec<(&'static str, &'a ParamSet)>,
    /// Everything else; the hash of the parameters is filled in when they are written.
    pub state: State,
    /// Numbers of the step, by name, that `checkpoint.best` may choose from. Those of the first rank count.
    pub metrics: BTreeMap<String, f64>,
}

/// A checkpoint that is whole and on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its step.
    pub step: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// Hash of its parameters.
    pub parameter_hash: String,
}

/// What has become of the last checkpoint, on this rank.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// There was none, or this rank has done its part of it.
    Idle,
    /// The one of this step is being written.
    Writing(u64),
    /// It is whole; only the first rank knows.
    Written(Written),
    /// This rank could not do its part.
    Failed(String),
}

/// A checkpoint in flight.
struct Job {
    step: u64,
    stop: Stop,
    /// Gives the buffers back and, on the first rank, the hash of the parameters.
    thread: JoinHandle<(Buffers, Result<Option<String>, CheckpointError>)>,
}

/// Writes the checkpoints of a run. Every rank has one and calls it alike.
///
/// Dropped, it lets the checkpoint in flight end first.
pub struct Checkpointer {
    checkpoints: PathBuf,
    retention: Retention,
    limit: Duration,
    place: (usize, usize),
    buffers: Buffers,
    job: Option<Job>,
    failure: Option<CheckpointError>,
    last: Option<Written>,
    /// Folder that is not a checkpoint yet, on the first rank.
    partial: Option<PathBuf>,
}

impl Checkpointer {
    /// For the folder of checkpoints of a run. The first rank waits at most `limit` for the parts of the others.
    pub fn new(checkpoints: &Path, config: &CheckpointConfig, limit: Duration, collective: &dyn Collective) -> Self {
        Self {
            checkpoints: checkpoints.to_owned(),
            retention: Retention::new(config),
            limit,
            place: (collective.rank(), collective.size()),
            buffers: Buffers::new(),
            job: None,
            failure: None,
            last: None,
            partial: None,
        }
    }

    /// Takes the memory that copies of this state need now, rather than in the first checkpoint.
    ///
    /// # Errors
    /// When a buffer of the state is not flat.
    pub fn reserve(&mut self, trained: &FlatState) -> Result<(), CheckpointError> {
        self.buffers = Part::copy(trained, &[], self.place, &mut self.buffers)?.into_buffers();
        Ok(())
    }

    /// Begins a checkpoint: waits for the one before, copies what this rank writes, and returns. Collective.
    ///
    /// That all ranks hold the same parameters is for the caller to check ([`FlatState::ranks_agree`]).
    ///
    /// # Errors
    /// On all ranks, when the checkpoint before could not be written on one of them (the message names rank, file and
    /// cause), when a folder cannot be made, or `checkpoint.best` names no number of the step.
    pub fn begin(&mut self, snapshot: Snapshot<'_>, collective: &dyn Collective) -> Result<(), CheckpointError> {
        self.open(&snapshot, collective)?;
        if let Err(error) = self.launch(snapshot) {
            // The other ranks are on their way already, and learn of it as of any other failure.
            self.failure = Some(error);
        }
        Ok(())
    }

    /// The part of [`Checkpointer::begin`] that ranks do together.
    fn open(&mut self, snapshot: &Snapshot<'_>, collective: &dyn Collective) -> Result<(), CheckpointError> {
        self.settle(collective)?;
        agree(collective, || {
            if self.place.0 != 0 {
                return Ok(());
            }
            self.retention.metric(&snapshot.metrics)?;
            let partial = partial_folder(&self.checkpoints, snapshot.state.step);
            prepare(&self.checkpoints, &partial)?;
            self.partial = Some(partial);
            let trained = snapshot.trained;
            let len = |set: &ParamSet| set.layout().len();
            let extra = snapshot.extra.iter().map(|(_, set)| len(set)).sum();
            let one = room::bytes(len(&trained.params), trained.teacher.as_ref().map_or(0, len), extra);
            if let Err(error) = room::require(&self.checkpoints, one, &format!("that of step {}", snapshot.state.step))
            {
                self.clear();
                return Err(error);
            }
            Ok::<_, CheckpointError>(())
        })?;
        Ok(())
    }

    /// Copies, and starts this rank's thread.
    fn launch(&mut self, snapshot: Snapshot<'_>) -> Result<(), CheckpointError> {
        let (rank, world) = self.place;
        let step = snapshot.state.step;
        let folder = partial_folder(&self.checkpoints, step);
        let part = Part::copy(snapshot.trained, &snapshot.extra, self.place, &mut self.buffers)?;
        let completion = (rank == 0)
            .then(|| {
                Ok::<_, CheckpointError>(Completion {
                    checkpoints: self.checkpoints.clone(),
                    metric: self.retention.metric(&snapshot.metrics)?,
                    retention: self.retention.clone(),
                    state: snapshot.state,
                    world,
                    limit: self.limit,
                })
            })
            .transpose()?;
        let stop = Stop::default();
        let (stopped, path) = (stop.clone(), folder.clone());
        let write = move || {
            let written = part.write(&folder, &stopped);
            let outcome = match (written, completion) {
                (written, Some(completion)) => written.and_then(|own| completion.run(own, &stopped)).map(Some),
                (Ok(own), None) => report(&folder, rank, &Report::Written(own)).map(|()| None),
                (Err(error), None) => {
                    // Where not even this can be written, the flags of the next step tell.
                    let _ = report(&folder, rank, &Report::Failed(error.to_string()));
                    Err(error)
                }
            };
            (part.into_buffers(), outcome)
        };
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(write);
        let thread = thread.map_err(CheckpointError::io(&path))?;
        self.job = Some(Job { step, stop, thread });
        Ok(())
    }

    /// What has become of the last checkpoint on this rank, without waiting.
    #[cfg(test)]
    fn outcome(&mut self) -> Outcome {
        self.collect();
        match (&self.job, &self.failure, &self.last) {
            (Some(job), _, _) => Outcome::Writing(job.step),
            (None, Some(error), _) => Outcome::Failed(error.to_string()),
            (None, None, Some(written)) => Outcome::Written(written.clone()),
            (None, None, None) => Outcome::Idle,
        }
    }

    /// Whether a checkpoint could not be written, on this rank, without waiting. To be summed over ranks in each step;
    /// where any rank says so, all of them call [`Checkpointer::raise`].
    pub fn pending_error(&mut self) -> bool {
        self.collect();
        self.failure.is_some()
    }

    /// Gives up the checkpoint in flight and makes all ranks agree on why. Collective.
    pub fn raise(&mut self, collective: &dyn Collective) -> CheckpointError {
        if let Some(job) = &self.job {
            job.stop.set();
        }
        self.join();
        let (mut here, mut elsewhere) = (None, None);
        match self.failure.take() {
            Some(error @ CheckpointError::Elsewhere(_)) => elsewhere = Some(error),
            other => here = other,
        }
        // What a rank says of itself comes first; what it says of others only where they are silent.
        let said = [&mut here, &mut elsewhere]
            .into_iter()
            .find_map(|own| agree(collective, || own.take().map_or(Ok(()), Err)).err());
        self.clear();
        said.map_or_else(|| CheckpointError::Elsewhere("no rank says why".into()), CheckpointError::from)
    }

    /// Waits until the last checkpoint is whole. `None` where there was none. Collective.
    ///
    /// # Errors
    /// On all ranks, when it could not be written on one of them.
    pub fn finish(&mut self, collective: &dyn Collective) -> Result<Option<Written>, CheckpointError> {
        self.settle(collective)?;
        let own = self.last.as_ref().map_or_else(String::new, |last| format!("{} {}", last.step, last.parameter_hash));
        let texts = collective.all_gather_text(&own)?;
        let parsed = texts[0].split_once(' ').and_then(|(step, hash)| Some((step.parse().ok()?, hash.to_owned())));
        Ok(parsed.map(|(step, parameter_hash)| Written {
            step,
            folder: step_folder(&self.checkpoints, step),
            parameter_hash,
        }))
    }

    /// Waits until no rank writes any more. Ranks ask each other in short operations, so that a slow disk does not
    /// look like a stuck collective.
    fn settle(&mut self, collective: &dyn Collective) -> Result<(), CheckpointError> {
        loop {
            self.collect();
            let mut status = [self.job.is_some(), self.failure.is_some()].map(f64::from);
            collective.all_reduce_sum_f64(&mut status)?;
            match status {
                [_, failed] if failed > 0.0 => return Err(self.raise(collective)),
                [running, _] if running > 0.0 => std::thread::sleep(POLL),
                _ => return Ok(()),
            }
        }
    }

    /// Takes the result of this rank's thread, if it has ended.
    fn collect(&mut self) {
        if self.job.as_ref().is_some_and(|job| job.thread.is_finished()) {
            self.join();
        }
    }

    fn join(&mut self) {
        let Some(job) = self.job.take() else { return };
        let folder = step_folder(&self.checkpoints, job.step);
        let (buffers, outcome) = job.thread.join().unwrap_or_else(|_| {
            let panicked = std::io::Error::other("the thread that writes it panicked");
            (Buffers::new(), Err(CheckpointError::io(&folder)(panicked)))
        });
        self.buffers = buffers;
        match outcome {
            Ok(None) => {}
            Ok(Some(parameter_hash)) => {
                self.last = Some(Written { step: job.step, folder, parameter_hash });
                self.partial = None;
            }
            Err(error) => self.failure = Some(error),
        }
    }

    /// Removes the folder of a checkpoint that was not completed.
    fn clear(&mut self) {
        if let Some(partial) = self.partial.take() {
            // What went wrong is told already; the next checkpoint tries again to remove it.
            let _ = std::fs::remove_dir_all(partial);
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.join();
        if let Some(error) = &self.failure {
            tracing::warn!("{error}");
        }
        self.clear();
    }
}

impl std::fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let step = self.job.as_ref().map(|job| job.step);
        f.debug_struct("Checkpointer")
            .field("checkpoints", &self.checkpoints)
            .field("writing", &step)
            .finish_non_exhaustive()
    }
}

/// Writes one checkpoint and waits for it: for stages that end with theirs. Collective.
///
/// # Errors
/// As [`Checkpointer::begin`] and [`Checkpointer::finish`].
pub fn write(
    checkpoints: &Path,
    snapshot: Snapshot<'_>,
    limit: Duration,
    collective: &dyn Collective,
) -> Result<Written, CheckpointError> {
    let mut checkpointer = Checkpointer::new(checkpoints, &CheckpointConfig::default(), limit, collective);
    checkpointer.begin(snapshot, collective)?;
    let written = checkpointer.finish(collective)?;
    written.ok_or_else(|| CheckpointError::None { path: checkpoints.display().to_string(), refused: Vec::new() })
}

#[cfg(test)]
mod tests;
