//! What fine-tuning and diffusion share: a run below a pretraining run, on a frozen encoder's latents.
//!
//! Guarantee: a stage writes one whole checkpoint, at its end, that carries everything needed to predict with it (frozen
//! encoder, decoder, standardisation), and never touches an earlier result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use syncyte_sharding::split::Fold;

use super::data::RunData;
use super::frozen::{DECODER_FILE, ENCODER_FILE, Frozen};
use super::latents::{Latents, Standard};
use super::{Progress, TaskError};
use crate::checkpoint::{self, Checkpoint, FORMAT, Snapshot, Stage, State, room};
use crate::collective::{Collective, agree};
use crate::config::{Config, OptimizerConfig};
use crate::decoder::{Decoder, DecoderFit};
use crate::engine::{FlatState, StepPlan, schedule};
use crate::log::JsonLines;
use crate::params::ParamSet;
use crate::watch::{Guard, signal};

/// How a fine-tuning or diffusion run ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaterReport {
    /// Folder of the run.
    pub run_dir: String,
    /// Steps done.
    pub step: u64,
    /// Loss of the last step.
    pub loss: f64,
    /// Checkpoint.
    pub checkpoint: String,
    /// SHA-256 over the trained parameters.
    pub parameter_hash: String,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// A later stage on all ranks, from its checks to its checkpoint.
pub(super) struct LaterRun<'a> {
    /// Configuration.
    pub(super) config: &'a Config,
    /// All ranks.
    pub(super) collective: &'a dyn Collective,
    /// Store and split.
    pub(super) data: RunData,
    /// The pretraining checkpoint that the stage starts from.
    pub(super) pretrained: Checkpoint,
    /// Its encoder.
    pub(super) frozen: Frozen,
    /// Embeddings of the training fold.
    pub(super) latents: Latents,
    decoder: Decoder,
    stage: Stage,
    folder: PathBuf,
    log: Option<JsonLines>,
    started: Instant,
    _guard: Option<Guard>,
}

impl<'a> LaterRun<'a> {
    /// Opens data and checkpoint, makes the folder `RUN/STAGE`, embeds the training fold and fits the decoder. `trained`
    /// gives the parameters that the stage will have on the frozen encoder, and those of their average.
    pub(super) fn open(
        config: &'a Config,
        stage: Stage,
        from: &Path,
        collective: &'a dyn Collective,
        trained: impl FnOnce(&Frozen) -> (usize, usize),
        progress: &mut dyn Progress,
    ) -> Result<Self, TaskError> {
        let started = Instant::now();
        signal::install().map_err(TaskError::io(&config.run.dir))?;
        let data = RunData::open(config)?;
        let pretrained = checkpoint::latest_or_named(from)?;
        let frozen = Frozen::from_pretraining(&pretrained, &data)?;
        require_room(config, stage, &data, &frozen, trained(&frozen), collective)?;
        let folder = stage_folder(config, stage, collective)?;
        let guard = Guard::start(collective, folder.clone(), config.engine.limits())?;
        let go_on = |done| match signal::requested() {
            Some(_) => Err(stopped(stage, format!("while it embedded cells, after {done} of this rank's"))),
            None => Ok(()),
        };
        let (latents, decoder) = embed_and_decode(&folder, config, &data, &frozen, collective, progress, &go_on)?;
        let log = open_log(config, stage, collective)?;
        Ok(Self {
            config,
            collective,
            data,
            pretrained,
            frozen,
            latents,
            decoder,
            stage,
            folder,
            log,
            started,
            _guard: guard,
        })
    }

    /// This rank's share of a global number of things.
    pub(super) fn share(&self, key: &str, count: usize) -> Result<std::ops::Range<usize>, TaskError> {
        let (rank, world) = (self.collective.rank(), self.collective.size());
        if count == 0 || !count.is_multiple_of(world) {
            return Err(TaskError::Invalid(format!("{key} = {count} is not a multiple of the {world} ranks")));
        }
        Ok(count / world * rank..count / world * (rank + 1))
    }

    /// One optimizer step: warm-up, then a cosine from `lr`.
    pub(super) fn update(&self, state: &mut FlatState, step: u64, total: u64, lr: f64) -> Result<(), TaskError> {
        let optimizer = OptimizerConfig { lr, ..self.config.optimizer.clone() };
        let plan = StepPlan {
            lr: schedule::learning_rate(&optimizer, step, total),
            weight_decay: optimizer.weight_decay,
            encoder_lr_scale: 1.0,
            // A young average follows closely, or a short run would end up with mostly its initial weights.
            momentum: self.config.diffusion.ema.min((1.0 + step as f64) / (10.0 + step as f64)),
        };
        state.reduce(false)?;
        state.update(self.collective, &optimizer, &plan)?;
        Ok(())
    }

    /// 1 where this rank was asked to end. To be summed over ranks in each step and given to [`LaterRun::go_on`].
    pub(super) fn asked_to_end() -> f64 {
        f64::from(signal::requested().is_some())
    }

    /// Ends the stage where a rank was asked to: it keeps nothing before its end.
    pub(super) fn go_on(&self, asked: f64, step: u64, total: u64) -> Result<(), TaskError> {
        if asked == 0.0 {
            return Ok(());
        }
        Err(stopped(self.stage, format!("after step {step} of {total}")))
    }

    /// Appends a line to the stage's log, on the first rank.
    pub(super) fn log(&mut self, line: &Value) -> Result<(), TaskError> {
        match &mut self.log {
            Some(log) => log.append(line).map_err(TaskError::io(&self.folder)),
            None => Ok(()),
        }
    }

    /// Writes the checkpoint and ends the stage.
    pub(super) fn finish(self, state: &FlatState, total: u64, loss: f64) -> Result<LaterReport, TaskError> {
        if !state.ranks_agree(self.collective)? {
            return Err(TaskError::Invalid("parameters differ between ranks; nothing is written".into()));
        }
        let standard = self.latents.standard.clone();
        let saved = self.state(state, &standard, total)?;
        let seconds = saved.seconds;
        let extra: Vec<(&'static str, &ParamSet)> =
            vec![(ENCODER_FILE, &self.frozen.encoder), (DECODER_FILE, self.decoder.params())];
        let snapshot = Snapshot { trained: state, extra, state: saved, metrics: BTreeMap::new() };
        let checkpoints = self.folder.join("checkpoints");
        let written = checkpoint::write(&checkpoints, snapshot, self.config.engine.limits().long, self.collective)?;
        Ok(LaterReport {
            run_dir: self.config.run.dir.display().to_string(),
            step: total,
            loss,
            checkpoint: written.folder.display().to_string(),
            parameter_hash: written.parameter_hash,
            seconds,
        })
    }

    fn state(&self, trained: &FlatState, standard: &Standard, total: u64) -> Result<State, TaskError> {
        let data = &self.data;
        let mut config = self.config.clone();
        config.model = self.frozen.config.clone();
        Ok(State {
            format: FORMAT,
            stage: self.stage,
            step: total,
            total_steps: total,
            epoch: 0,
            world: self.collective.size(),
            config_hash: config.hash()?,
            config,
            data_hash: data.store.data_hash().to_owned(),
            split_hash: data.split.hash().to_owned(),
            value_kind: data.store.info().value_kind,
            vocabulary: self.frozen.vocabulary.clone(),
            parameter_hash: String::new(),
            flat_len: trained.params.layout().len(),
            loss_scale: None,
            parent: Some(self.frozen.parent.clone()),
            seconds: self.started.elapsed().as_secs_f64(),
            vectors: BTreeMap::from([
                ("latent_mean".to_owned(), standard.mean.clone()),
                ("latent_sd".to_owned(), standard.sd.clone()),
            ]),
        })
    }
}

/// Refuses a stage whose embeddings, or checkpoint, do not fit on the disk.
fn require_room(
    config: &Config,
    stage: Stage,
    data: &RunData,
    frozen: &Frozen,
    (parameters, average): (usize, usize),
    collective: &dyn Collective,
) -> Result<(), TaskError> {
    let (width, genes) = (frozen.width() as usize, data.store.n_genes());
    // The decoder is a linear map with an intercept.
    let kept = frozen.encoder.layout().len() + (width + 1) * genes;
    let latents = data.split.rows(Fold::Train).len() * width * size_of::<f32>();
    let needed = room::bytes(parameters, average, kept).max(latents as u64);
    let folder = config.run.dir.join(stage.name());
    Ok(agree(collective, || {
        if collective.rank() == 0 { room::require(&folder, needed, &format!("`{}`", stage.name())) } else { Ok(()) }
    })?)
}

fn stopped(stage: Stage, place: String) -> TaskError {
    let signal = signal::requested().unwrap_or("a signal to another rank").to_owned();
    TaskError::Stopped { signal, stage: stage.name(), place }
}

/// Makes the folder of a stage below the run, without an older result in it.
fn stage_folder(config: &Config, stage: Stage, collective: &dyn Collective) -> Result<PathBuf, TaskError> {
    let folder = config.run.dir.join(stage.name());
    agree(collective, || {
        if collective.rank() != 0 {
            return Ok(());
        }
        if checkpoint::has_any(&folder.join("checkpoints"))? {
            return Err(TaskError::Invalid(format!(
                "{} already holds a result; remove it or choose another run.dir",
                folder.display()
            )));
        }
        std::fs::create_dir_all(&folder).map_err(TaskError::io(&folder))
    })?;
    Ok(folder)
}

fn open_log(config: &Config, stage: Stage, collective: &dyn Collective) -> Result<Option<JsonLines>, TaskError> {
    let path = config.run.dir.join(format!("{}.jsonl", stage.name()));
    Ok(agree(collective, || {
        (collective.rank() == 0).then(|| JsonLines::resume(&path, 0).map_err(TaskError::io(&path))).transpose()
    })?)
}

/// Embeds the training fold and fits the decoder in the same pass.
fn embed_and_decode(
    folder: &Path,
    config: &Config,
    data: &RunData,
    frozen: &Frozen,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
    go_on: &dyn Fn(u64) -> Result<(), TaskError>,
) -> Result<(Latents, Decoder), TaskError> {
    let mut fit = DecoderFit::new(frozen.width(), data.store.n_genes() as i64);
    let cells = data.split.rows(Fold::Train).len() / collective.size();
    progress.begin("embed", 0, cells as u64);
    let (mut done, clock) = (0, Instant::now());
    let latents = Latents::build(folder, data, frozen, collective, &mut |rows, x, z| {
        fit.add(z, x);
        done += rows.len() as u64;
        progress.step(done, 0.0, done as f64 * collective.size() as f64 / clock.elapsed().as_secs_f64());
        go_on(done)
    })?;
    progress.end();
    let decoder = fit.solve(config.finetune.ridge, collective)?;
    Ok((latents, decoder))
}

/// Standardisation that a checkpoint of a later stage carries.
///
/// # Errors
/// When it has none.
pub fn standard_of(checkpoint: &Checkpoint) -> Result<Standard, TaskError> {
    let vector = |name: &str| {
        checkpoint
            .state
            .vectors
            .get(name)
            .cloned()
            .ok_or_else(|| TaskError::Invalid(format!("{} has no `{name}`", checkpoint.folder().display())))
    };
    Ok(Standard { mean: vector("latent_mean")?, sd: vector("latent_sd")? })
}
