//! The loop over the steps of a stage.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::folder::RunFolder;
use super::observer::{CommunicationSpans, Observer};
use super::record::Logs;
use super::running::Trainer;
use super::{Carried, Progress, Setting, Start, Task, TaskError};
use crate::checkpoint::{self, Checkpoint, CheckpointError, Checkpointer, FORMAT, Snapshot, State, room};
use crate::engine::{FlatState, Spans, StateOptions, StepPlan, Stepped, Stepper};
use crate::log::{MAX_EVENTS, Phase, StepClock, Trace};
use syncyte_fabric::collective::agree;
use syncyte_fabric::guard::Guard;
use syncyte_fabric::watch::signal;

/// Steps that medians of times cover.
const WINDOW: usize = 100;

/// How a training run ended (the last line of `syncyte pretrain --json` and of the later stages).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainReport {
    /// Folder of the run.
    pub run_dir: String,
    /// Steps done.
    pub step: u64,
    /// Epoch of the last step.
    pub epoch: u64,
    /// Loss of the last step.
    pub loss: f64,
    /// Cells read a second, over all ranks, over this process's steps.
    pub cells_per_s: f64,
    /// Newest checkpoint.
    pub checkpoint: String,
    /// SHA-256 over parameters and teacher.
    pub parameter_hash: String,
    /// Wall time in seconds, over all processes of the run.
    pub seconds: f64,
}

/// Trains a task on all ranks, from the newest whole checkpoint where the setting says so.
///
/// # Errors
/// When configuration, data or ranks do not fit, or a step fails on any rank.
pub fn train<T: Task>(setting: Setting<'_>, task: T, progress: &mut dyn Progress) -> Result<TrainReport, TaskError> {
    let mut trainer = Trainer::open(setting, task)?;
    let (first, total) = (trainer.state.step(), trainer.task.total());
    trainer.task.prepare(&Start { first, folder: trainer.folder.root() }, progress)?;
    let mut logs = Logs::open(&trainer)?;
    let mut communication = CommunicationSpans::new(trainer.setting.collective);
    progress.begin(trainer.setting.stage.name(), first, total);
    let (mut cells, began) = (0_u64, Instant::now());
    for step in first..total {
        let clock = Instant::now();
        let batches = trainer.batches(step)?;
        let (stepped, plan, asked_to_end) = trainer.step(&batches, step)?;
        trainer.spans.enter(Phase::Other);
        let read = trainer.task.cells(step);
        cells += read;
        let seconds = clock.elapsed().as_secs_f64();
        logs.step(&mut trainer, step, &stepped, &plan, seconds)?;
        progress.step(step + 1, stepped.loss, read as f64 / seconds);
        if step == first {
            trainer.replan()?;
        }
        let done = step + 1 == total;
        trainer.keep(step + 1, done || asked_to_end)?;
        communication.record(&trainer.trace);
        let times = trainer.spans.finish();
        trainer.observer.step(&times);
        if asked_to_end && !done {
            return Err(trainer.interrupted());
        }
    }
    trainer.spans.begin(total);
    trainer.spans.enter(Phase::Checkpoint);
    trainer.checkpointer.finish(trainer.setting.collective)?;
    progress.end();
    trainer.report(cells as f64 / began.elapsed().as_secs_f64().max(1e-9))
}

impl<'a, T: Task> Trainer<'a, T> {
    fn open(setting: Setting<'a>, task: T) -> Result<Self, TaskError> {
        let Setting { config, collective, resume, stage, .. } = setting;
        // Before the folder: a run that is refused leaves nothing in the way of the next attempt.
        require_room(&setting, &task)?;
        let observer = agree(collective, || Observer::open(config, collective).map_err(TaskError::from))?;
        let folder = RunFolder::open(config, stage, resume, collective, setting.git, setting.place.device)?;
        let options = StateOptions::of(config, setting.place);
        let mut state = FlatState::new(&task.layout(), config.run.seed, options, collective)?;
        let mut seconds_before = 0.0;
        if let Some(found) = newest(&folder, resume)? {
            found.require_stage(stage)?;
            require_same_data(&found, &setting, &task.carried())?;
            found.restore(&mut state)?;
            seconds_before = found.state.seconds;
            tracing::info!("resuming after step {} from {}", state.step(), found.folder().display());
        } else {
            task.initialise(&state)?;
            state.reset_teacher();
        }
        if !state.ranks_agree(collective)? {
            let what = "ranks start from different parameters; is the run folder shared?";
            return Err(TaskError::Diverged(what.into()));
        }
        let started = Instant::now();
        let guard = Guard::start(collective, folder.root().to_owned(), config.engine.limits())?;
        signal::install().map_err(TaskError::io(folder.root()))?;
        let trace = trace(&setting, folder.root());
        let clock = StepClock::new(state.step(), WINDOW, trace.clone());
        let spans = Spans::new(clock, collective, state.step() + 1);
        let limit = config.engine.limits().long;
        let mut checkpointer = Checkpointer::new(&folder.checkpoints(), &config.checkpoint, limit, collective);
        checkpointer.reserve(&state)?;
        Ok(Self {
            setting,
            task,
            state,
            spans,
            folder,
            observer,
            guard,
            measured: BTreeMap::new(),
            trace,
            checkpointer,
            loss: f64::NAN,
            seconds_before,
            started,
        })
    }

    /// This rank's micro-batches of a step.
    fn batches(&mut self, step: u64) -> Result<Vec<T::Batch>, TaskError> {
        self.spans.begin(step + 1);
        self.spans.enter(Phase::Data);
        let own = self.setting.shards.own();
        own.map(|shard| self.task.batch(step, shard)).collect()
    }

    /// One optimizer step on this rank's share of the batch.
    ///
    /// The last answer is whether any rank was asked to end, which all ranks learn with the loss.
    fn step(&mut self, batches: &[T::Batch], step: u64) -> Result<(Stepped, StepPlan, bool), TaskError> {
        let plan = self.task.plan(step);
        let collective = self.setting.collective;
        let config = self.setting.config;
        let mut flags = [signal::requested().is_some(), self.checkpointer.pending_error()].map(f64::from);
        let stepper = Stepper { optimizer: &config.optimizer, engine: &config.engine };
        let told = (collective, &mut self.spans);
        let stepped = stepper.step(&self.task, &mut self.state, batches, &plan, &mut flags, told)?;
        if flags[1] > 0.0 {
            return Err(self.checkpointer.raise(collective).into());
        }
        self.loss = stepped.loss;
        Ok((stepped, plan, flags[0] > 0.0))
    }

    /// Plans the gradients' buckets by the order in which they came in the first step, and writes the plan down.
    fn replan(&self) -> Result<(), TaskError> {
        let collective = self.setting.collective;
        let plan = self.state.replan(collective)?;
        agree(
            collective,
            || {
                if collective.rank() == 0 { self.folder.write_json("buckets.json", &plan) } else { Ok(()) }
            },
        )?;
        Ok(())
    }

    /// Checkpoint, or check of the ranks, after `done` steps; `now` asks for the checkpoint.
    fn keep(&mut self, done: u64, now: bool) -> Result<(), TaskError> {
        let config = self.setting.config;
        if now || done.is_multiple_of(config.checkpoint.every) {
            self.spans.enter(Phase::Checkpoint);
            return self.checkpoint();
        }
        if config.engine.check_every > 0 && done.is_multiple_of(config.engine.check_every) {
            return self.check_ranks();
        }
        Ok(())
    }

    /// Refuses to go on with ranks that hold different parameters.
    fn check_ranks(&self) -> Result<(), TaskError> {
        if self.state.ranks_agree(self.setting.collective)? {
            return Ok(());
        }
        let step = self.state.step();
        Err(TaskError::Diverged(format!("parameters differ between ranks after step {step}; the run stops")))
    }

    fn interrupted(&mut self) -> TaskError {
        if let Err(error) = self.checkpointer.finish(self.setting.collective) {
            return error.into();
        }
        let step = self.state.step();
        TaskError::Interrupted {
            signal: signal::requested().unwrap_or("a signal to another rank").to_owned(),
            step,
            checkpoint: checkpoint::step_folder(&self.folder.checkpoints(), step).display().to_string(),
        }
    }

    /// Begins a checkpoint, which is written while training goes on.
    fn checkpoint(&mut self) -> Result<(), TaskError> {
        self.check_ranks()?;
        let step = self.state.step();
        let Carried { sets, vectors, parent, model } = self.task.carried();
        let Setting { config, data, collective, stage, .. } = &self.setting;
        let mut carried = (*config).clone();
        let mut vocabulary = &data.vocabulary;
        if let Some((shape, names)) = model {
            (carried.model, vocabulary) = (shape.clone(), names);
        }
        let state = State {
            format: FORMAT,
            stage: *stage,
            step,
            total_steps: self.task.total(),
            epoch: self.task.place(step.saturating_sub(1)).epoch,
            world: collective.size(),
            config_hash: carried.hash()?,
            config: carried,
            data_hash: data.store.data_hash().to_owned(),
            split_hash: data.split.hash().to_owned(),
            value_kind: data.store.info().value_kind,
            vocabulary: vocabulary.clone(),
            parameter_hash: String::new(),
            flat_len: self.state.params.layout().len(),
            loss_scale: self.state.scaler().map(|scaler| scaler.state()),
            parent,
            seconds: self.seconds(),
            vectors,
        };
        self.measured.insert("loss".into(), self.loss);
        let snapshot = Snapshot { trained: &self.state, extra: sets, state, metrics: self.measured.clone() };
        Ok(self.checkpointer.begin(snapshot, *collective)?)
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn report(&self, cells_per_s: f64) -> Result<TrainReport, TaskError> {
        let step = self.state.step();
        let loss = if self.loss.is_nan() { last_loss(&self.folder).unwrap_or(f64::NAN) } else { self.loss };
        Ok(TrainReport {
            run_dir: self.setting.config.run.dir.display().to_string(),
            step,
            epoch: self.task.place(step.saturating_sub(1)).epoch,
            loss,
            cells_per_s,
            checkpoint: checkpoint::step_folder(&self.folder.checkpoints(), step).display().to_string(),
            parameter_hash: self.state.parameter_hash()?,
            seconds: self.seconds(),
        })
    }
}

fn trace(setting: &Setting<'_>, root: &Path) -> Trace {
    let metrics = &setting.config.metrics;
    let traced = metrics.trace_from..metrics.trace_to;
    if traced.is_empty() { Trace::off() } else { Trace::new(root, setting.collective.rank(), traced, MAX_EVENTS) }
}

/// Refuses a run whose checkpoints, or what it lays down beside them, do not fit on the disk.
fn require_room<T: Task>(setting: &Setting<'_>, task: &T) -> Result<(), TaskError> {
    let Setting { config, collective, stage, resume, .. } = setting;
    let layout = task.layout();
    let kept = task.carried().sets.iter().map(|(_, set)| set.layout().len()).sum();
    let one = room::bytes(layout.len(), layout.averaged_len(), kept);
    let checkpoints = stage.folder(&config.run.dir).join("checkpoints");
    Ok(agree(*collective, || {
        if collective.rank() != 0 {
            return Ok(());
        }
        let done = if *resume { checkpoint::newest_step(&checkpoints) } else { 0 };
        let steps = done..task.total().max(done);
        room::require_for_run(&checkpoints, &config.checkpoint, steps, (one, task.scratch_bytes()))
    })?)
}

/// Refuses to go on with other cells, another split or another parent than the run began with.
fn require_same_data(found: &Checkpoint, setting: &Setting<'_>, carried: &Carried<'_>) -> Result<(), TaskError> {
    let data = &setting.data;
    let names = carried.model.map_or(&data.vocabulary, |(_, names)| names);
    found.require_vocabulary(names)?;
    let parent = |parent: &Option<String>| parent.clone().unwrap_or_default();
    for (what, then, now) in [
        ("the cell store", found.state.data_hash.clone(), data.store.data_hash().to_owned()),
        ("the split", found.state.split_hash.clone(), data.split.hash().to_owned()),
        ("the checkpoint that it started from", parent(&found.state.parent), parent(&carried.parent)),
    ] {
        if then != now {
            return Err(TaskError::Invalid(format!(
                "--resume needs the data the run started with, but {what} has changed (hash {then} then, {now} now)"
            )));
        }
    }
    Ok(())
}

fn newest(folder: &RunFolder, resume: bool) -> Result<Option<Checkpoint>, TaskError> {
    if !resume {
        return Ok(None);
    }
    match checkpoint::latest(&folder.checkpoints()) {
        Ok(found) => Ok(Some(found)),
        Err(CheckpointError::None { refused, .. }) if refused.is_empty() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn last_loss(folder: &RunFolder) -> Option<f64> {
    let text = std::fs::read_to_string(folder.root().join("metrics.jsonl")).ok()?;
    serde_json::from_str::<serde_json::Value>(text.lines().last()?).ok()?["loss"].as_f64()
}
