//! Latent diffusion: the score network on standardised embeddings of the frozen encoder.
//!
//! A sample is a perturbed training cell; the condition is its control partner's embedding and its
//! perturbation vector, dropped together to the null condition with probability 0.1. The loss is the mean
//! squared error of the velocity. Times are stratified over the global batch.

use std::ops::Range;
use std::path::Path;

use syncyte_sharding::pairing::Pairing;
use syncyte_sharding::philox::{Philox, Purpose};
use syncyte_sharding::split::Fold;
use tch::{Kind, Tensor};

use super::frozen::Frozen;
use super::frozen_stage::FrozenStage;
use crate::batch::query::{EncodedQueries, Query};
use crate::checkpoint::Stage;
use crate::config::Config;
use crate::device::moved;
use crate::engine::{FlatState, Method, Pass, StepPlan};
use crate::generative::diffusion::network::ScoreNetwork;
use crate::generative::diffusion::{diffuse as add_noise, velocity};
use crate::loss::{Objective, Parts, Sums};
use crate::params::{Group, Layout, Registry};
use crate::perturbation::ConditionEncoder;
use crate::training::{Carried, Place, Progress, Setting, Start, Task, TaskError, TrainReport, train};
use syncyte_fabric::collective::Collective;

/// Smallest time that is trained.
const T_MIN: f64 = 1e-3;
/// Share of samples whose condition is dropped.
const DROP_CONDITION: f64 = 0.1;
/// All that is trained; samples are drawn with its average.
const SCORE: Group = Group::averaged("score");
/// Key of the number of samples of a step.
const BATCH: &str = "diffusion.batch_size";

/// The score network with the perturbation encoder that feeds it.
#[derive(Debug)]
pub struct ScoreModel {
    /// Encoder of conditions.
    pub condition: ConditionEncoder,
    /// Velocity predictor.
    pub network: ScoreNetwork,
}

impl ScoreModel {
    /// Declares the model behind a frozen encoder.
    ///
    /// # Errors
    /// When the settings of the perturbation encoder are not those of its kind.
    pub fn new(registry: &mut Registry, frozen: &Frozen, config: &Config) -> Result<Self, TaskError> {
        let condition = frozen.condition_encoder(registry, SCORE)?;
        let network = ScoreNetwork::new(registry, SCORE, frozen.width(), condition.width(), &config.diffusion.hidden);
        Ok(Self { condition, network })
    }
}

/// Trains latent diffusion from a pretraining checkpoint.
///
/// # Errors
/// When the checkpoint does not fit the data, or a step fails on any rank.
pub fn diffuse(
    config: &Config,
    from: &Path,
    resume: bool,
    git: &str,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
) -> Result<TrainReport, TaskError> {
    let setting = Setting::open(config, Stage::Diffuse, resume, git, collective)?;
    let task = Diffusion::new(&setting, from)?;
    train(setting, task, progress)
}

/// The stage.
struct Diffusion<'a> {
    base: FrozenStage<'a>,
    model: ScoreModel,
    layout: Layout,
    objective: Objective,
    /// Training rows, and the places of perturbed cells among them.
    rows: Vec<u64>,
    perturbed: Vec<usize>,
    pairing: Pairing,
}

/// Samples with their noise.
struct Batch {
    /// Embeddings, `[B, d]`.
    x0: Tensor,
    noise: Tensor,
    t: Vec<f64>,
    /// Embeddings of control partners, zero where the condition is dropped.
    baseline: Tensor,
    queries: EncodedQueries,
}

impl<'a> Diffusion<'a> {
    fn new(setting: &Setting<'a>, from: &Path) -> Result<Self, TaskError> {
        let (config, data) = (setting.config, &setting.data);
        setting.shards.part(BATCH, config.diffusion.batch_size, 0)?;
        let base = FrozenStage::open(setting, from)?;
        let mut registry = Registry::default();
        let model = ScoreModel::new(&mut registry, &base.frozen, config)?;
        let (labels, rows) = (data.store.labels(), data.split.rows(Fold::Train));
        let perturbed: Vec<usize> = (0..rows.len()).filter(|&place| !labels.is_control(rows[place] as usize)).collect();
        if perturbed.is_empty() {
            return Err(TaskError::Invalid("the training fold has no perturbed cells".into()));
        }
        let pairing = Pairing::new(labels, &rows, config.run.seed)?;
        let objective = Objective::new(vec![Box::new(Sums(&["velocity"]))]);
        Ok(Self { base, model, layout: registry.layout(), objective, rows, perturbed, pairing })
    }

    /// Draws samples as a pure function of (seed, step, sample), so that the number of ranks does not matter.
    fn draw(&self, step: u64, samples: Range<usize>) -> Result<Batch, TaskError> {
        let (config, data, latents) = (self.base.config, &self.base.data, self.base.latents()?);
        let width = self.base.frozen.width() as usize;
        let (mut places, mut partners, mut t, mut queries) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut noise, mut kept) = (Vec::new(), Vec::new());
        for sample in samples {
            let mut random = Philox::new(config.run.seed, Purpose::Diffusion, step, sample as u64);
            let place = self.perturbed[random.below(self.perturbed.len() as u64) as usize];
            let cell = self.rows[place];
            let partner = self.pairing.partner(step, cell)?;
            partners.push(
                self.rows
                    .binary_search(&partner)
                    .map_err(|_| TaskError::Invalid(format!("control cell {partner} is not in the training fold")))?,
            );
            places.push(place);
            let stratum = (sample as f64 + random.next_f64()) / config.diffusion.batch_size as f64;
            t.push(T_MIN + (1.0 - T_MIN) * stratum);
            let keep = random.next_f64() >= DROP_CONDITION;
            queries.push(if keep { data.query(cell) } else { Query::Null });
            kept.push(if keep { 1.0_f32 } else { 0.0 });
            noise.extend((0..width).map(|_| random.normal() as f32));
        }
        let device = self.base.place.device;
        let noise = Tensor::from_slice(&noise).view([places.len() as i64, width as i64]);
        let baseline = latents.batch(&partners)? * Tensor::from_slice(&kept).unsqueeze(1);
        Ok(Batch {
            x0: moved(&latents.batch(&places)?, device),
            noise: moved(&noise, device),
            t,
            baseline: moved(&baseline, device),
            queries: EncodedQueries::new(&queries, &data.vocabulary, device)?,
        })
    }
}

impl Method for Diffusion<'_> {
    type Batch = Batch;

    fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Squared error of the predicted velocity, mean over dimensions and samples.
    fn forward(&self, state: &FlatState, batch: &Batch, _plan: &StepPlan, _cut: bool) -> Pass {
        let Batch { x0, noise, t, baseline, queries } = batch;
        let noisy = add_noise(x0, t, noise);
        let times: Vec<f32> = t.iter().map(|&t| t as f32).collect();
        let times = moved(&Tensor::from_slice(&times), self.base.place.device);
        let condition = self.model.condition.forward(&state.params, queries);
        let predicted = self.model.network.forward(&state.params, &noisy, &times, baseline, &condition.vector);
        let errors = (predicted - velocity(x0, t, noise)).square().mean_dim([1_i64].as_slice(), false, Kind::Float);
        let loss = errors.sum(Kind::Float) * (1.0 / self.base.config.diffusion.batch_size as f64);
        Pass { parts: vec![Parts { sums: vec![loss], rows: Vec::new() }], cut: None }
    }
}

impl Task for Diffusion<'_> {
    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn total(&self) -> u64 {
        self.base.config.diffusion.steps
    }

    fn place(&self, _step: u64) -> Place {
        Place { phase: None, epoch: 0 }
    }

    fn plan(&self, step: u64) -> StepPlan {
        let diffusion = &self.base.config.diffusion;
        // A young average follows closely, or a short run would end up with mostly its initial weights.
        let momentum = diffusion.ema.min((1.0 + step as f64) / (10.0 + step as f64));
        self.base.plan(step, self.total(), diffusion.lr, momentum)
    }

    fn cells(&self, _step: u64) -> u64 {
        self.base.config.diffusion.batch_size as u64
    }

    fn flops(&self, _step: u64) -> Option<u64> {
        None
    }

    fn initialise(&self, state: &FlatState) -> Result<(), TaskError> {
        self.base.initialise(&state.params)
    }

    fn prepare(&mut self, start: &Start<'_>, progress: &mut dyn Progress) -> Result<(), TaskError> {
        self.base.prepare(start, progress)
    }

    fn batch(&mut self, step: u64, shard: usize) -> Result<Batch, TaskError> {
        let own = self.base.shards.part(BATCH, self.base.config.diffusion.batch_size, shard)?;
        self.draw(step, own)
    }

    fn carried(&self) -> Carried<'_> {
        self.base.carried()
    }

    fn scratch_bytes(&self) -> u64 {
        self.base.scratch_bytes()
    }
}
