//! Fine-tuning: both perturbation heads on the frozen encoder, and the linear decoder.
//!
//! Each step draws some conditions; the prototype head is asked for the shift of the mean embedding (weighted
//! squared error, J4), the set head for the perturbed bag (energy distance, J5). Ranks share the conditions.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::bags::Bags;
use super::data::RunData;
use super::frozen::{DECODER_FILE, ENCODER_FILE, Frozen};
use super::latents::{Latents, Standard};
use super::{Progress, TaskError};
use crate::checkpoint::{self, Checkpoint, FORMAT, Snapshot, Stage, State};
use crate::collective::{Collective, agree};
use crate::config::Config;
use crate::decoder::{Decoder, DecoderFit};
use crate::engine::{FlatState, StepPlan, schedule};
use crate::log::JsonLines;
use crate::model::heads::Heads;
use crate::model::perturbation::{EncodedQueries, PerturbationEncoder, Query};
use crate::objective::distance::energy_distance;
use crate::params::{ParamSet, Registry};

/// Cells beyond which a prototype gets no more weight.
const FULL_WEIGHT_CELLS: f64 = 200.0;

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

/// The heads' modules with the perturbation encoder that feeds them.
#[derive(Debug)]
pub struct HeadModel {
    /// Encoder of perturbations.
    pub perturbation: PerturbationEncoder,
    /// Both heads.
    pub heads: Heads,
}

impl HeadModel {
    /// Declares the model behind a frozen encoder.
    pub fn new(registry: &mut Registry, frozen: &Frozen, config: &Config) -> Self {
        let perturbation = frozen.perturbation_encoder(registry);
        let heads = Heads::new(
            registry,
            frozen.width(),
            frozen.config.perturbation.width,
            config.finetune.hidden,
            config.finetune.depth,
        );
        Self { perturbation, heads }
    }
}

/// Trains both heads from a pretraining checkpoint.
///
/// # Errors
/// When the checkpoint does not fit the data, or a step fails on any rank.
pub fn finetune(
    config: &Config,
    from: &Path,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
) -> Result<LaterReport, TaskError> {
    let started = Instant::now();
    let data = RunData::open(config)?;
    check_share("finetune.conditions", config.finetune.conditions, collective.size())?;
    let pretrained = checkpoint::latest_or_named(from)?;
    let frozen = Frozen::from_pretraining(&pretrained, &data)?;
    let folder = later_folder(config, "finetune", collective)?;
    let (latents, decoder) = embed_and_decode(&folder, config, &data, &frozen, collective, progress)?;

    let mut registry = Registry::default();
    let model = HeadModel::new(&mut registry, &frozen, config);
    let mut state = FlatState::new(&registry.layout(), None, config.run.seed);
    frozen.copy_perturbation_encoder(&pretrained, &state.params)?;
    let bags = Bags::new(data.store.labels(), &latents.rows, config.run.seed)?;
    let prototypes = Prototypes::new(&bags, &latents, data.store.labels().contexts.len());
    let trainer =
        HeadTrainer { config, data: &data, model: &model, bags: &bags, prototypes: &prototypes, latents: &latents };
    let mut log = open_log(config, "finetune.jsonl", collective)?;
    let total = config.finetune.steps;
    progress.begin("finetune", 0, total);
    let mut loss = f64::NAN;
    for step in 0..total {
        let clock = Instant::now();
        let chosen = bags.step_conditions(step, config.finetune.conditions);
        let share = config.finetune.conditions / collective.size();
        let own = &chosen[collective.rank() * share..(collective.rank() + 1) * share];
        let mut parts = trainer.step(&mut state, own, step)?;
        collective.all_reduce_sum_f64(&mut parts)?;
        update(config, &mut state, collective, step, total, config.finetune.lr)?;
        loss = parts[0] + parts[1];
        if let Some(log) = &mut log {
            let line = json!({ "step": step + 1, "loss": loss, "prototype": parts[0], "energy": parts[1] });
            log.append(&line).map_err(TaskError::io(&folder))?;
        }
        let cells = (2 * config.finetune.bag * config.finetune.conditions) as f64;
        progress.step(step + 1, loss, cells / clock.elapsed().as_secs_f64());
    }
    progress.end();
    let standard = latents.standard.clone();
    latents.remove(collective)?;
    let trained =
        Trained { config, data: &data, frozen: &frozen, decoder: &decoder, state: &state, standard: &standard };
    trained.save(Stage::Finetune, &folder, total, loss, started, collective)
}

/// Mean standardised embedding of every condition and of every context's controls.
struct Prototypes {
    conditions: Tensor,
    controls: Tensor,
}

impl Prototypes {
    fn new(bags: &Bags, latents: &Latents, contexts: usize) -> Self {
        let mean = |places: &[usize]| latents.batch(places).mean_dim([0_i64].as_slice(), false, Kind::Float);
        let width = latents.standard.mean.len() as i64;
        let zero = || Tensor::zeros([width], (Kind::Float, Device::Cpu));
        let conditions: Vec<_> = bags.conditions.iter().map(|c| mean(&c.places)).collect();
        let controls: Vec<_> = (0..contexts as u32)
            .map(|context| match bags.controls(context) {
                [] => zero(),
                places => mean(places),
            })
            .collect();
        Self { conditions: Tensor::stack(&conditions, 0), controls: Tensor::stack(&controls, 0) }
    }
}

/// What a step of the heads reads.
struct HeadTrainer<'a> {
    config: &'a Config,
    data: &'a RunData,
    model: &'a HeadModel,
    bags: &'a Bags,
    prototypes: &'a Prototypes,
    latents: &'a Latents,
}

impl HeadTrainer<'_> {
    /// Gradients of this rank's conditions; returns the weighted prototype error and the energy distance of its share.
    fn step(&self, state: &mut FlatState, own: &[usize], step: u64) -> Result<[f64; 2], TaskError> {
        let (config, bags) = (self.config, self.bags);
        let scale = 1.0 / config.finetune.conditions as f64;
        state.zero_grads();
        let condition = self.model.perturbation.forward(&state.params, &self.queries(own)?);
        let places: Vec<i64> = own.iter().map(|&c| c as i64).collect();
        let contexts: Vec<i64> = own.iter().map(|&c| i64::from(bags.conditions[c].context)).collect();
        let baseline = self.prototypes.controls.index_select(0, &Tensor::from_slice(&contexts));
        let wanted = self.prototypes.conditions.index_select(0, &Tensor::from_slice(&places)) - &baseline;
        let shift = self.model.heads.shift(&state.params, &baseline, &condition);
        let weight = |c: usize| (bags.conditions[c].places.len() as f64).min(FULL_WEIGHT_CELLS) / FULL_WEIGHT_CELLS;
        let weights: Vec<f32> = own.iter().map(|&c| weight(c) as f32).collect();
        let weights = Tensor::from_slice(&weights).unsqueeze(1);
        let prototype = ((&shift - wanted).square() * weights).sum(Kind::Float) * scale;
        let mut energy = Tensor::from(0.0_f32);
        for (index, &c) in own.iter().enumerate() {
            let bag = bags.draw(c, step, config.finetune.bag);
            let cells = |places: &[usize]| self.latents.batch(places).unsqueeze(0);
            // The shift is the prototype head's business: the set head learns only what is left of the distribution.
            let fixed = shift.detach().narrow(0, index as i64, 1);
            let one = condition.row(index as i64);
            let predicted = self.model.heads.set(&state.params, &cells(&bag.control), &fixed, &one);
            energy += energy_distance(&predicted, &cells(&bag.perturbed)).sum(Kind::Float) * scale;
        }
        (&prototype + &energy).backward();
        Ok([prototype.double_value(&[]), energy.double_value(&[])])
    }

    fn queries(&self, own: &[usize]) -> Result<EncodedQueries, TaskError> {
        let labels = self.data.store.labels();
        let queries: Vec<Query<'_>> = own
            .iter()
            .map(|&c| {
                let condition = &self.bags.conditions[c];
                Query::Known {
                    perturbation: &labels.perturbations[condition.perturbation as usize],
                    context: &labels.contexts[condition.context as usize],
                    kind: &labels.kinds[condition.kind as usize],
                }
            })
            .collect();
        Ok(EncodedQueries::new(&queries, &self.data.vocabulary, Device::Cpu)?)
    }
}

/// One optimizer step with the schedule of the later stages: warm-up, then a cosine from `lr`.
pub(super) fn update(
    config: &Config,
    state: &mut FlatState,
    collective: &dyn Collective,
    step: u64,
    total: u64,
    lr: f64,
) -> Result<(), TaskError> {
    let optimizer = crate::config::OptimizerConfig { lr, ..config.optimizer.clone() };
    let plan = StepPlan {
        lr: schedule::learning_rate(&optimizer, step, total),
        weight_decay: optimizer.weight_decay,
        encoder_lr_scale: 1.0,
        // A young average follows closely, or a short run would end up with mostly its initial weights.
        momentum: config.diffusion.ema.min((1.0 + step as f64) / (10.0 + step as f64)),
    };
    state.update(collective, &optimizer, &plan)?;
    Ok(())
}

/// Refuses a global number that ranks cannot share.
pub(super) fn check_share(key: &str, value: usize, world: usize) -> Result<(), TaskError> {
    if value > 0 && value.is_multiple_of(world) {
        return Ok(());
    }
    Err(TaskError::Invalid(format!("{key} = {value} is not a multiple of the {world} ranks")))
}

/// Makes the folder of a later stage below the run, without an older result in it.
pub(super) fn later_folder(
    config: &Config,
    stage: &str,
    collective: &dyn Collective,
) -> Result<std::path::PathBuf, TaskError> {
    let folder = config.run.dir.join(stage);
    agree(collective, || {
        if collective.rank() != 0 {
            return Ok(());
        }
        if folder.join("checkpoints").is_dir() {
            return Err(TaskError::Invalid(format!(
                "{} already holds a result; remove it or choose another run.dir",
                folder.display()
            )));
        }
        std::fs::create_dir_all(&folder).map_err(TaskError::io(&folder))
    })?;
    Ok(folder)
}

pub(super) fn open_log(
    config: &Config,
    name: &str,
    collective: &dyn Collective,
) -> Result<Option<JsonLines>, TaskError> {
    let path = config.run.dir.join(name);
    Ok(agree(collective, || {
        (collective.rank() == 0).then(|| JsonLines::resume(&path, 0).map_err(TaskError::io(&path))).transpose()
    })?)
}

/// Embeds the training fold and fits the decoder in the same pass.
pub(super) fn embed_and_decode(
    folder: &Path,
    config: &Config,
    data: &RunData,
    frozen: &Frozen,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
) -> Result<(Latents, Decoder), TaskError> {
    let mut fit = DecoderFit::new(frozen.width(), data.store.n_genes() as i64);
    let cells = data.split.rows(syncyte_sharding::split::Fold::Train).len() / collective.size();
    progress.begin("embed", 0, cells as u64);
    let (mut done, clock) = (0, Instant::now());
    let latents = Latents::build(folder, data, frozen, collective, &mut |rows, x, z| {
        fit.add(z, x);
        done += rows.len() as u64;
        progress.step(done, 0.0, done as f64 * collective.size() as f64 / clock.elapsed().as_secs_f64());
    })?;
    progress.end();
    let decoder = fit.solve(config.finetune.ridge, collective)?;
    Ok((latents, decoder))
}

/// A trained later stage, to be written.
pub(super) struct Trained<'a> {
    pub(super) config: &'a Config,
    pub(super) data: &'a RunData,
    pub(super) frozen: &'a Frozen,
    pub(super) decoder: &'a Decoder,
    pub(super) state: &'a FlatState,
    pub(super) standard: &'a Standard,
}

impl Trained<'_> {
    pub(super) fn save(
        &self,
        stage: Stage,
        folder: &Path,
        total: u64,
        loss: f64,
        started: Instant,
        collective: &dyn Collective,
    ) -> Result<LaterReport, TaskError> {
        if !self.state.ranks_agree(collective)? {
            return Err(TaskError::Invalid("parameters differ between ranks; nothing is written".into()));
        }
        let (config, data) = (self.config, self.data);
        let mut resolved = config.clone();
        resolved.model = self.frozen.config.clone();
        let parameter_hash = self.state.parameter_hash()?;
        let seconds = started.elapsed().as_secs_f64();
        let state = State {
            format: FORMAT,
            stage,
            step: total,
            total_steps: total,
            epoch: 0,
            world: collective.size(),
            config_hash: resolved.hash()?,
            config: resolved,
            data_hash: data.store.data_hash().to_owned(),
            split_hash: data.split.hash().to_owned(),
            value_kind: data.store.info().value_kind,
            vocabulary: self.frozen.vocabulary.clone(),
            parameter_hash: parameter_hash.clone(),
            flat_len: self.state.params.layout().len(),
            parent: Some(self.frozen.parent.clone()),
            seconds,
            vectors: BTreeMap::from([
                ("latent_mean".to_owned(), self.standard.mean.clone()),
                ("latent_sd".to_owned(), self.standard.sd.clone()),
            ]),
        };
        let extra: Vec<(&'static str, &ParamSet)> =
            vec![(ENCODER_FILE, &self.frozen.encoder), (DECODER_FILE, self.decoder.params())];
        let snapshot = Snapshot { trained: self.state, extra, state };
        let written = checkpoint::write(&folder.join("checkpoints"), &snapshot, config.checkpoint.keep, collective)?;
        Ok(LaterReport {
            run_dir: config.run.dir.display().to_string(),
            step: total,
            loss,
            checkpoint: written.display().to_string(),
            parameter_hash,
            seconds,
        })
    }
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
