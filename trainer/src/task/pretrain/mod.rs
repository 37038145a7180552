//! Pretraining: the whole method in one loop.
//!
//! Each step (`learner`): target from the teacher, context and prediction from the student, loss, backward, one
//! update of parameters and teacher. Ranks share the global batch; gradients are summed while backward runs.

mod checkup;
mod clocked;
pub(crate) mod learner;
mod observer;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use syncyte_sharding::loader::{CachedRows, LoadedBatch, Loader, LoaderConfig};
use tch::{Device, Tensor};

use super::curriculum::{Curriculum, Phase, Place, Shards};
use super::data::RunData;
use super::run::RunFolder;
use super::{Progress, TaskError};
use crate::cells::{ViewKey, augmented, dense_block};
use crate::checkpoint::{self, Checkpoint, CheckpointError, Checkpointer, FORMAT, Snapshot, Stage, State, room};
use crate::collective::{Collective, agree};
use crate::config::Config;
use crate::device::moved;
use crate::engine::{self, StepPlan, schedule};
use crate::log::{MAX_EVENTS, Phase as Section, StepClock, Trace};
use crate::model::Jepa;
use crate::model::perturbation::{EncodedQueries, Query};
use crate::watch::{Guard, Phase as Doing, signal};
use learner::{Learner, MicroBatch, Stepped, dropout_keys};
use observer::{CommunicationSpans, Observer};
use record::Logs;

/// How a pretraining run ended (the last line of `syncyte pretrain --json`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PretrainReport {
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
}

/// Everything that a step needs.
struct Trainer<'a> {
    config: &'a Config,
    data: RunData,
    curriculum: Arc<Curriculum>,
    shards: Shards,
    learner: Learner<'a>,
    /// Where the networks compute.
    device: Device,
    clock: StepClock,
    trace: Trace,
    observer: Observer,
    guard: Option<Guard>,
    collective: &'a dyn Collective,
    folder: RunFolder,
    checkpointer: Checkpointer,
    /// Newest values of what the first rank logs, by tag.
    measured: BTreeMap<String, f64>,
    loss: f64,
    seconds_before: f64,
    started: Instant,
}

/// Runs pretraining on all ranks of `collective`, from the newest whole checkpoint where `resume` is set.
///
/// # Errors
/// When configuration, data or ranks do not fit, or a step fails on any rank.
pub fn pretrain(
    config: &Config,
    resume: bool,
    git: &str,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
) -> Result<PretrainReport, TaskError> {
    let mut trainer = Trainer::new(config, resume, git, collective)?;
    let mut logs = Logs::open(&trainer)?;
    let first = trainer.learner.state.step();
    let total = trainer.curriculum.total();
    let loader_config = LoaderConfig {
        threads: config.data.threads,
        depth: config.data.prefetch,
        cache_bytes: config.data.cache_mib << 20,
        hold: trainer.curriculum.control_rows(&trainer.data),
        hold_bytes: config.data.cache_mib << 20,
        timeout: Duration::from_mins(5),
        bad_share: config.data.bad_chunk_share,
        ..LoaderConfig::default()
    };
    let requests = trainer.curriculum.requests(first, trainer.shards);
    let mut loader = if config.data.cache_dir.as_os_str().is_empty() {
        Loader::new(&trainer.data.store, requests, &loader_config)?
    } else {
        let cached = Arc::new(CachedRows::open(&trainer.data.store, &config.data.cache_dir)?);
        Loader::new(&cached, requests, &loader_config)?
    };
    let mut bad_chunks = 0;
    let mut spans = CommunicationSpans::new(collective);
    progress.begin("pretrain", first, total);
    let (mut cells, began) = (0_u64, Instant::now());
    for step in first..total {
        let clock = Instant::now();
        trainer.clock.enter(Section::Data);
        trainer.at(step + 1, Doing::Data);
        let place = trainer.curriculum.place(step);
        let mut micro_batches = Vec::with_capacity(trainer.shards.per_rank);
        for _ in 0..trainer.shards.per_rank {
            let batch = loader.next().ok_or_else(|| trainer.why_the_loader_ended(step))??;
            micro_batches.push(trainer.micro_batch(&batch, place)?);
        }
        if loader.n_bad_chunks() > bad_chunks {
            bad_chunks = loader.n_bad_chunks();
            record::bad_chunks(trainer.folder.root(), collective.rank(), &loader.bad_chunks())?;
        }
        let (stepped, plan, asked_to_end) = trainer.step(&micro_batches, step)?;
        trainer.clock.enter(Section::Other);
        let read = config.data.batch_size as u64 * if place.phase == Phase::Paired { 2 } else { 1 };
        cells += read;
        let rate = read as f64 / clock.elapsed().as_secs_f64();
        logs.step(&mut trainer, place, &stepped, &plan, rate)?;
        progress.step(step + 1, stepped.terms.loss, rate);
        if step == first {
            trainer.replan()?;
        }
        let done = step + 1 == total;
        if (step + 1) % config.checkpoint.every == 0 || done || asked_to_end {
            trainer.clock.enter(Section::Checkpoint);
            trainer.at(step + 1, Doing::Checkpoint);
            trainer.checkpoint(place.epoch)?;
        } else if config.engine.check_every > 0 && (step + 1) % config.engine.check_every == 0 {
            trainer.check_ranks()?;
        }
        spans.record(&trainer.trace);
        let times = trainer.clock.finish();
        trainer.observer.step(&times);
        if asked_to_end && !done {
            return Err(trainer.interrupted());
        }
    }
    trainer.at(total, Doing::Checkpoint);
    trainer.checkpointer.finish(collective)?;
    progress.end();
    trainer.report(cells as f64 / began.elapsed().as_secs_f64().max(1e-9))
}

impl<'a> Trainer<'a> {
    fn new(config: &'a Config, resume: bool, git: &str, collective: &'a dyn Collective) -> Result<Self, TaskError> {
        let data = RunData::open(config)?;
        data.check_mask(config)?;
        let curriculum = Arc::new(Curriculum::new(config, &data)?);
        curriculum.check_world(collective.rank(), collective.size())?;
        let shards = Shards::new(config, collective.rank(), collective.size())?;
        // Before the folder: a run that is refused leaves nothing in the way of the next attempt.
        let place = engine::Place::of(&config.engine, collective)?;
        require_room(config, &data, &curriculum, resume, collective)?;
        let observer = agree(collective, || Observer::open(config, collective).map_err(TaskError::from))?;
        let folder = RunFolder::open(config, resume, collective, git, place.device)?;
        let mut learner = Learner::new(config, &data.vocabulary, place, collective)?;
        let mut seconds_before = 0.0;
        if let Some(found) = newest(&folder, resume)? {
            found.require_stage(Stage::Pretrain)?;
            found.require_vocabulary(&data.vocabulary)?;
            require_same_data(&found, &data)?;
            found.restore(&mut learner.state)?;
            seconds_before = found.state.seconds;
            tracing::info!("resuming after step {} from {}", learner.state.step(), found.folder().display());
        }
        if !learner.state.ranks_agree(collective)? {
            return Err(TaskError::Invalid("ranks start from different parameters; is the run folder shared?".into()));
        }
        let started = Instant::now();
        let guard = Guard::start(collective, folder.root().to_owned(), config.engine.limits())?;
        signal::install().map_err(TaskError::io(folder.root()))?;
        let traced = config.metrics.trace_from..config.metrics.trace_to;
        let trace = if traced.is_empty() {
            Trace::off()
        } else {
            Trace::new(folder.root(), collective.rank(), traced, MAX_EVENTS)
        };
        let clock = StepClock::new(learner.state.step(), 100, trace.clone());
        let (loss, measured) = (f64::NAN, BTreeMap::new());
        let limit = config.engine.limits().long;
        let mut checkpointer = Checkpointer::new(&folder.checkpoints(), &config.checkpoint, limit, collective);
        checkpointer.reserve(&learner.state)?;
        Ok(Self {
            config,
            data,
            curriculum,
            shards,
            learner,
            device: place.device,
            clock,
            trace,
            observer,
            guard,
            collective,
            folder,
            checkpointer,
            measured,
            loss,
            seconds_before,
            started,
        })
    }

    /// One optimizer step on this rank's share of the batch.
    ///
    /// The last answer is whether any rank was asked to end, which all ranks learn with the loss.
    fn step(&mut self, micro_batches: &[MicroBatch], step: u64) -> Result<(Stepped, StepPlan, bool), TaskError> {
        let config = self.config;
        let plan = StepPlan {
            lr: schedule::learning_rate(&config.optimizer, step, self.curriculum.total()),
            weight_decay: schedule::weight_decay(&config.optimizer, step, self.curriculum.total()),
            encoder_lr_scale: self.curriculum.encoder_lr_scale(step, config.objective.encoder_lr_scale),
            momentum: schedule::momentum(&config.teacher, step, self.curriculum.total()),
        };
        let mut flags = [signal::requested().is_some(), self.checkpointer.pending_error()].map(f64::from);
        let stepped = self.learner.step(micro_batches, &plan, &mut flags, self.collective, &mut self.clock)?;
        if flags[1] > 0.0 {
            return Err(self.checkpointer.raise(self.collective).into());
        }
        self.loss = stepped.terms.loss;
        Ok((stepped, plan, flags[0] > 0.0))
    }

    /// The order of the rows ended early: because a step cannot be planned.
    fn why_the_loader_ended(&self, step: u64) -> TaskError {
        let plan = |shard| self.curriculum.request(step, shard, self.shards.count);
        self.shards.own().find_map(|shard| plan(shard).err()).unwrap_or(TaskError::LoaderEnded { step })
    }

    fn at(&self, step: u64, doing: Doing) {
        self.collective.recorder().iter().for_each(|recorder| recorder.at(step, doing));
    }

    /// Plans the gradients' buckets by the order in which they came in the first step, and writes the plan down.
    fn replan(&self) -> Result<(), TaskError> {
        let plan = self.learner.state.replan(self.collective)?;
        agree(self.collective, || {
            if self.collective.rank() == 0 { self.folder.write_json("buckets.json", &plan) } else { Ok(()) }
        })?;
        Ok(())
    }

    /// Refuses to go on with ranks that hold different parameters.
    fn check_ranks(&self) -> Result<(), TaskError> {
        if self.learner.state.ranks_agree(self.collective)? {
            return Ok(());
        }
        let step = self.learner.state.step();
        Err(TaskError::Invalid(format!("parameters differ between ranks after step {step}; the run stops")))
    }

    fn interrupted(&mut self) -> TaskError {
        if let Err(error) = self.checkpointer.finish(self.collective) {
            return error.into();
        }
        let step = self.learner.state.step();
        TaskError::Interrupted {
            signal: signal::requested().unwrap_or("a signal to another rank").to_owned(),
            step,
            checkpoint: checkpoint::step_folder(&self.folder.checkpoints(), step).display().to_string(),
        }
    }

    fn micro_batch(&self, batch: &LoadedBatch, place: Place) -> Result<MicroBatch, TaskError> {
        let (source, target, queries) = self.inputs(batch, place)?;
        let queries = EncodedQueries::new(&queries, &self.data.vocabulary, self.device)?;
        let dropout = dropout_keys(self.config.run.seed, &batch.rows, batch.step);
        let [source, target, dropout] = [source, target, dropout].map(|tensor| moved(&tensor, self.device));
        Ok(MicroBatch { source, target, queries, dropout })
    }

    /// Student input, teacher input and conditions of a batch.
    fn inputs<'d>(&'d self, batch: &LoadedBatch, place: Place) -> Result<(Tensor, Tensor, Vec<Query<'d>>), TaskError> {
        match (place.phase, &batch.partners) {
            (Phase::Augmentation, _) => {
                let cells = batch.cells.to_csr();
                let view = |view| {
                    let key = ViewKey { seed: self.config.run.seed, step: batch.step, view };
                    augmented(&self.config.mask, &batch.rows, &cells, key)
                };
                Ok((view(0), view(1), vec![Query::Null; batch.rows.len()]))
            }
            (Phase::Paired, Some(partners)) => Ok((
                dense_block(&self.data.store, &partners.rows, &partners.cells),
                dense_block(&self.data.store, &batch.rows, &batch.cells),
                batch.rows.iter().map(|&row| self.data.query(row)).collect(),
            )),
            (Phase::Paired, None) => Err(TaskError::Invalid(format!("step {} has no control partners", batch.step))),
        }
    }

    /// Begins a checkpoint, which is written while training goes on.
    fn checkpoint(&mut self, epoch: u64) -> Result<(), TaskError> {
        self.check_ranks()?;
        let state = State {
            format: FORMAT,
            stage: Stage::Pretrain,
            step: self.learner.state.step(),
            total_steps: self.curriculum.total(),
            epoch,
            world: self.collective.size(),
            config: self.config.clone(),
            config_hash: self.config.hash()?,
            data_hash: self.data.store.data_hash().to_owned(),
            split_hash: self.data.split.hash().to_owned(),
            value_kind: self.data.store.info().value_kind,
            vocabulary: self.data.vocabulary.clone(),
            parameter_hash: String::new(),
            flat_len: self.learner.state.params.layout().len(),
            loss_scale: self.learner.state.scaler().map(|scaler| scaler.state()),
            parent: None,
            seconds: self.seconds_before + self.started.elapsed().as_secs_f64(),
            vectors: BTreeMap::new(),
        };
        self.measured.insert("loss".into(), self.loss);
        let (trained, metrics) = (&self.learner.state, self.measured.clone());
        Ok(self.checkpointer.begin(Snapshot { trained, extra: Vec::new(), state, metrics }, self.collective)?)
    }

    fn report(&self, cells_per_s: f64) -> Result<PretrainReport, TaskError> {
        let step = self.learner.state.step();
        let loss = if self.loss.is_nan() { last_loss(&self.folder).unwrap_or(f64::NAN) } else { self.loss };
        Ok(PretrainReport {
            run_dir: self.folder.root().display().to_string(),
            step,
            epoch: self.curriculum.place(step.saturating_sub(1)).epoch,
            loss,
            cells_per_s,
            checkpoint: checkpoint::step_folder(&self.folder.checkpoints(), step).display().to_string(),
            parameter_hash: self.learner.state.parameter_hash()?,
        })
    }
}

/// Refuses a run whose checkpoints do not fit on the disk.
fn require_room(
    config: &Config,
    data: &RunData,
    curriculum: &Curriculum,
    resume: bool,
    collective: &dyn Collective,
) -> Result<(), TaskError> {
    let model = Jepa::new(&config.model, &data.vocabulary);
    let one = room::bytes(model.layout().len(), model.layout().encoder_len(), 0);
    let checkpoints = config.run.dir.join("checkpoints");
    Ok(agree(collective, || {
        if collective.rank() != 0 {
            return Ok(());
        }
        let done = if resume { checkpoint::newest_step(&checkpoints) } else { 0 };
        room::require_for_run(&checkpoints, &config.checkpoint, done..curriculum.total().max(done), one)
    })?)
}

/// Refuses to go on with other cells or another split than the run began with.
fn require_same_data(found: &Checkpoint, data: &RunData) -> Result<(), TaskError> {
    for (what, then, now) in [
        ("the cell store", found.state.data_hash.as_str(), data.store.data_hash()),
        ("the split", found.state.split_hash.as_str(), data.split.hash()),
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
