//! Fine-tuning: both perturbation heads on the frozen encoder, and the linear decoder.
//!
//! Each step draws some conditions; the prototype head is asked for the shift of the mean embedding (weighted
//! squared error, J4), the set head for the perturbed bag (energy distance, J5). Ranks share the conditions.

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use syncyte_sharding::sampling::Bags;
use tch::{Device, Kind, Tensor};

use super::frozen::Frozen;
use super::latents::Latents;
use super::later::{LaterReport, LaterRun};
use super::{Progress, TaskError};
use crate::checkpoint::Stage;
use crate::collective::Collective;
use crate::config::Config;
use crate::engine::{FlatState, StateOptions};
use crate::model::heads::Heads;
use crate::model::perturbation::{EncodedQueries, PerturbationEncoder, Query};
use crate::objective::distance::energy_distance;
use crate::params::Registry;

/// Cells beyond which a prototype gets no more weight.
const FULL_WEIGHT_CELLS: f64 = 200.0;

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
    let trained = |frozen: &Frozen| {
        let mut registry = Registry::default();
        let _ = HeadModel::new(&mut registry, frozen, config);
        (registry.layout().len(), 0)
    };
    let mut run = LaterRun::open(config, Stage::Finetune, from, collective, trained, progress)?;
    let share = run.share("finetune.conditions", config.finetune.conditions)?;
    let mut registry = Registry::default();
    let model = HeadModel::new(&mut registry, &run.frozen, config);
    let mut state = FlatState::new(&registry.layout(), None, config.run.seed, StateOptions::default(), collective)?;
    run.frozen.copy_perturbation_encoder(&run.pretrained, &state.params)?;
    let bags = Bags::new(run.data.store.labels(), &run.latents.rows, config.run.seed, config.finetune.bag)?;
    let prototypes = Prototypes::new(&bags, &run.latents, run.data.store.labels().contexts.len());
    let total = config.finetune.steps;
    progress.begin("finetune", 0, total);
    let mut loss = f64::NAN;
    for step in 0..total {
        let clock = Instant::now();
        let chosen = bags.step_conditions(step, config.finetune.conditions);
        let trainer = HeadTrainer { run: &run, model: &model, bags: &bags, prototypes: &prototypes };
        let [prototype, energy] = trainer.step(&mut state, &chosen[share.clone()], step)?;
        let mut parts = [prototype, energy, LaterRun::asked_to_end()];
        collective.all_reduce_sum_f64(&mut parts)?;
        run.go_on(parts[2], step, total)?;
        run.update(&mut state, step, total, config.finetune.lr)?;
        loss = parts[0] + parts[1];
        run.log(&json!({ "step": step + 1, "loss": loss, "prototype": parts[0], "energy": parts[1] }))?;
        let cells = (2 * config.finetune.bag * config.finetune.conditions) as f64;
        progress.step(step + 1, loss, cells / clock.elapsed().as_secs_f64());
    }
    progress.end();
    run.finish(&state, total, loss)
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
        let conditions: Vec<_> = bags.conditions().iter().map(|c| mean(&c.places)).collect();
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
    run: &'a LaterRun<'a>,
    model: &'a HeadModel,
    bags: &'a Bags,
    prototypes: &'a Prototypes,
}

impl HeadTrainer<'_> {
    /// Gradients of this rank's conditions; returns the weighted prototype error and the energy distance of its share.
    fn step(&self, state: &mut FlatState, own: &[usize], step: u64) -> Result<[f64; 2], TaskError> {
        let (config, bags) = (self.run.config, self.bags);
        let scale = 1.0 / config.finetune.conditions as f64;
        let condition = self.model.perturbation.forward(&state.params, &self.queries(own)?);
        let places: Vec<i64> = own.iter().map(|&c| c as i64).collect();
        let contexts: Vec<i64> = own.iter().map(|&c| i64::from(bags.conditions()[c].context)).collect();
        let baseline = self.prototypes.controls.index_select(0, &Tensor::from_slice(&contexts));
        let wanted = self.prototypes.conditions.index_select(0, &Tensor::from_slice(&places)) - &baseline;
        let shift = self.model.heads.shift(&state.params, &baseline, &condition);
        let weight = |c: usize| (bags.conditions()[c].places.len() as f64).min(FULL_WEIGHT_CELLS) / FULL_WEIGHT_CELLS;
        let weights: Vec<f32> = own.iter().map(|&c| weight(c) as f32).collect();
        let weights = Tensor::from_slice(&weights).unsqueeze(1);
        let prototype = ((&shift - wanted).square() * weights).sum(Kind::Float) * scale;
        let mut energy = Tensor::from(0.0_f32);
        for (index, &c) in own.iter().enumerate() {
            let bag = bags.draw(c, step);
            let cells = |places: &[usize]| self.run.latents.batch(places).unsqueeze(0);
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
        let labels = self.run.data.store.labels();
        let queries: Vec<Query<'_>> = own
            .iter()
            .map(|&c| {
                let condition = &self.bags.conditions()[c];
                Query::Known {
                    perturbation: &labels.perturbations[condition.perturbation as usize],
                    context: &labels.contexts[condition.context as usize],
                    kind: &labels.kinds[condition.kind as usize],
                }
            })
            .collect();
        Ok(EncodedQueries::new(&queries, &self.run.data.vocabulary, Device::Cpu)?)
    }
}
