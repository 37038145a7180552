//! Latent diffusion: the score network on standardised embeddings of the frozen encoder.
//!
//! A sample is a perturbed training cell; the condition is its control partner's embedding and its
//! perturbation vector, dropped together to the null condition with probability 0.1. The loss is the mean
//! squared error of the velocity. Times are stratified over the global batch.

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use syncyte_sharding::pairing::Pairing;
use syncyte_sharding::philox::{Philox, Purpose};
use tch::{Device, Kind, Tensor};

use super::data::RunData;
use super::frozen::Frozen;
use super::latents::Latents;
use super::later::{LaterReport, LaterRun};
use super::{Progress, TaskError};
use crate::checkpoint::Stage;
use crate::collective::Collective;
use crate::config::Config;
use crate::diffusion::{diffuse as add_noise, velocity};
use crate::engine::{FlatState, StateOptions};
use crate::model::perturbation::{EncodedQueries, PerturbationEncoder, Query};
use crate::model::score::ScoreNetwork;
use crate::params::Registry;

/// Smallest time that is trained.
const T_MIN: f64 = 1e-3;
/// Share of samples whose condition is dropped.
const DROP_CONDITION: f64 = 0.1;

/// The score network with the perturbation encoder that feeds it.
#[derive(Debug)]
pub struct ScoreModel {
    /// Encoder of perturbations.
    pub perturbation: PerturbationEncoder,
    /// Velocity predictor.
    pub network: ScoreNetwork,
}

impl ScoreModel {
    /// Declares the model behind a frozen encoder.
    pub fn new(registry: &mut Registry, frozen: &Frozen, config: &Config) -> Self {
        let perturbation = frozen.perturbation_encoder(registry);
        let network =
            ScoreNetwork::new(registry, frozen.width(), frozen.config.perturbation.width, &config.diffusion.hidden);
        Self { perturbation, network }
    }
}

/// Trains latent diffusion from a pretraining checkpoint.
///
/// # Errors
/// When the checkpoint does not fit the data, or a step fails on any rank.
pub fn diffuse(
    config: &Config,
    from: &Path,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
) -> Result<LaterReport, TaskError> {
    let trained = |frozen: &Frozen| {
        let mut registry = Registry::default();
        let _ = ScoreModel::new(&mut registry, frozen, config);
        let len = registry.layout().len();
        (len, len)
    };
    let mut run = LaterRun::open(config, Stage::Diffuse, from, collective, trained, progress)?;
    let share = run.share("diffusion.batch_size", config.diffusion.batch_size)?;
    let mut registry = Registry::default();
    let model = ScoreModel::new(&mut registry, &run.frozen, config);
    let layout = registry.layout();
    let mut state = FlatState::new(&layout, Some(&layout), config.run.seed, StateOptions::default(), collective)?;
    run.frozen.copy_perturbation_encoder(&run.pretrained, &state.params)?;
    state.reset_teacher();
    let batches = Batches::new(config, &run.data, &run.latents)?;
    let total = config.diffusion.steps;
    progress.begin("diffuse", 0, total);
    let mut loss = f64::NAN;
    for step in 0..total {
        let clock = Instant::now();
        let batch = batches.draw(step, share.clone(), &run.data, &run.latents)?;
        let objective = batch.loss(&model, &state) * (1.0 / config.diffusion.batch_size as f64);
        objective.backward();
        let mut parts = [objective.double_value(&[]), LaterRun::asked_to_end()];
        collective.all_reduce_sum_f64(&mut parts)?;
        run.go_on(parts[1], step, total)?;
        run.update(&mut state, step, total, config.diffusion.lr)?;
        loss = parts[0];
        run.log(&json!({ "step": step + 1, "loss": loss }))?;
        progress.step(step + 1, loss, config.diffusion.batch_size as f64 / clock.elapsed().as_secs_f64());
    }
    progress.end();
    run.finish(&state, total, loss)
}

/// Draws batches as a pure function of (seed, step, sample), so that the number of ranks does not matter.
struct Batches {
    seed: u64,
    batch_size: usize,
    width: usize,
    perturbed: Vec<usize>,
    pairing: Pairing,
}

struct Batch {
    x0: Tensor,
    noise: Tensor,
    t: Vec<f64>,
    baseline: Tensor,
    queries: EncodedQueries,
}

impl Batches {
    fn new(config: &Config, data: &RunData, latents: &Latents) -> Result<Self, TaskError> {
        let labels = data.store.labels();
        let perturbed: Vec<usize> =
            (0..latents.rows.len()).filter(|&place| !labels.is_control(latents.rows[place] as usize)).collect();
        if perturbed.is_empty() {
            return Err(TaskError::Invalid("the training fold has no perturbed cells".into()));
        }
        let pairing = Pairing::new(labels, &latents.rows, config.run.seed)?;
        let width = latents.standard.mean.len();
        Ok(Self { seed: config.run.seed, batch_size: config.diffusion.batch_size, width, perturbed, pairing })
    }

    fn draw(
        &self,
        step: u64,
        samples: std::ops::Range<usize>,
        data: &RunData,
        latents: &Latents,
    ) -> Result<Batch, TaskError> {
        let (mut places, mut partners, mut t, mut queries) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut noise, mut kept) = (Vec::new(), Vec::new());
        for sample in samples {
            let mut random = Philox::new(self.seed, Purpose::Diffusion, step, sample as u64);
            let place = self.perturbed[random.below(self.perturbed.len() as u64) as usize];
            let cell = latents.rows[place];
            let partner = self.pairing.partner(step, cell)?;
            partners.push(
                latents
                    .rows
                    .binary_search(&partner)
                    .map_err(|_| TaskError::Invalid(format!("control cell {partner} is not in the training fold")))?,
            );
            places.push(place);
            let stratum = (sample as f64 + random.next_f64()) / self.batch_size as f64;
            t.push(T_MIN + (1.0 - T_MIN) * stratum);
            let keep = random.next_f64() >= DROP_CONDITION;
            queries.push(if keep { data.query(cell) } else { Query::Null });
            kept.push(if keep { 1.0_f32 } else { 0.0 });
            noise.extend((0..self.width).map(|_| random.normal() as f32));
        }
        let shape = [places.len() as i64, self.width as i64];
        Ok(Batch {
            x0: latents.batch(&places),
            noise: Tensor::from_slice(&noise).view(shape),
            t,
            baseline: latents.batch(&partners) * Tensor::from_slice(&kept).unsqueeze(1),
            queries: EncodedQueries::new(&queries, &data.vocabulary, Device::Cpu)?,
        })
    }
}

impl Batch {
    /// Squared error of the predicted velocity, mean over dimensions, summed over samples.
    fn loss(&self, model: &ScoreModel, state: &FlatState) -> Tensor {
        let noisy = add_noise(&self.x0, &self.t, &self.noise);
        let t = Tensor::from_slice(&self.t.iter().map(|&t| t as f32).collect::<Vec<_>>());
        let condition = model.perturbation.forward(&state.params, &self.queries);
        let predicted = model.network.forward(&state.params, &noisy, &t, &self.baseline, &condition.vector);
        (predicted - velocity(&self.x0, &self.t, &self.noise))
            .square()
            .mean_dim([1_i64].as_slice(), false, Kind::Float)
            .sum(Kind::Float)
    }
}
