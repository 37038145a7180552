//! Fine-tuning: both perturbation heads on the frozen encoder, and the linear decoder.
//!
//! Each step draws some conditions; the prototype head is asked for the shift of the mean embedding (weighted
//! squared error, J4), the set head for the perturbed bag (energy distance, J5).

use std::path::Path;

use syncyte_sharding::sampling::Bags;
use tch::{Device, Kind, Tensor};

use super::frozen::Frozen;
use super::frozen_stage::FrozenStage;
use super::latents::Latents;
use crate::batch::query::{EncodedQueries, Query};
use crate::checkpoint::Stage;
use crate::config::Config;
use crate::device::moved;
use crate::engine::{FlatState, Method, Pass, StepPlan};
use crate::heads::Heads;
use crate::loss::energy::energy_distance;
use crate::loss::{Objective, Parts, Sums};
use crate::params::{Group, Layout, Registry};
use crate::perturbation::ConditionEncoder;
use crate::training::{Carried, Place, Progress, Setting, Start, Task, TaskError, TrainReport, train};
use syncyte_fabric::collective::Collective;

/// Cells beyond which a prototype gets no more weight.
const FULL_WEIGHT_CELLS: f64 = 200.0;
/// All that is trained.
const HEADS: Group = Group::new("heads");
/// Key of the number of conditions of a step.
const CONDITIONS: &str = "finetune.conditions";

/// The heads' modules with the perturbation encoder that feeds them.
#[derive(Debug)]
pub struct HeadModel {
    /// Encoder of conditions.
    pub condition: ConditionEncoder,
    /// Both heads.
    pub heads: Heads,
}

impl HeadModel {
    /// Declares the model behind a frozen encoder.
    ///
    /// # Errors
    /// When the settings of the perturbation encoder are not those of its kind.
    pub fn new(registry: &mut Registry, frozen: &Frozen, config: &Config) -> Result<Self, TaskError> {
        let condition = frozen.condition_encoder(registry, HEADS)?;
        let (width, hidden, depth) = (frozen.width(), config.finetune.hidden, config.finetune.depth);
        let heads = Heads::new(registry, HEADS, width, condition.width(), hidden, depth);
        Ok(Self { condition, heads })
    }
}

/// Trains both heads from a pretraining checkpoint.
///
/// # Errors
/// When the checkpoint does not fit the data, or a step fails on any rank.
pub fn finetune(
    config: &Config,
    from: &Path,
    resume: bool,
    git: &str,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
) -> Result<TrainReport, TaskError> {
    let setting = Setting::open(config, Stage::Finetune, resume, git, collective)?;
    let task = Finetuning::new(&setting, from)?;
    train(setting, task, progress)
}

/// The stage.
struct Finetuning<'a> {
    base: FrozenStage<'a>,
    model: HeadModel,
    layout: Layout,
    objective: Objective,
    bags: Bags,
    prototypes: Option<Prototypes>,
}

/// What some conditions of a step ask for.
struct Batch {
    queries: EncodedQueries,
    /// Mean embedding of the controls of each condition's context, `[K, d]`.
    baseline: Tensor,
    /// Mean embedding of each condition less that, `[K, d]`.
    shift: Tensor,
    /// Weight of each prototype, `[K, 1]`.
    weights: Tensor,
    /// Control cells and perturbed cells of each condition, `[1, n, d]`.
    bags: Vec<(Tensor, Tensor)>,
}

impl<'a> Finetuning<'a> {
    fn new(setting: &Setting<'a>, from: &Path) -> Result<Self, TaskError> {
        let config = setting.config;
        setting.shards.part(CONDITIONS, config.finetune.conditions, 0)?;
        let base = FrozenStage::open(setting, from)?;
        let mut registry = Registry::default();
        let model = HeadModel::new(&mut registry, &base.frozen, config)?;
        let rows = setting.data.split.rows(syncyte_sharding::split::Fold::Train);
        let bags = Bags::new(setting.data.store.labels(), &rows, config.run.seed, config.finetune.bag)?;
        let objective = Objective::new(vec![Box::new(Sums(&["prototype", "energy"]))]);
        Ok(Self { base, model, layout: registry.layout(), objective, bags, prototypes: None })
    }

    fn queries(&self, conditions: &[usize]) -> Result<EncodedQueries, TaskError> {
        let data = &self.base.data;
        let labels = data.store.labels();
        let query = |&c: &usize| {
            let condition = &self.bags.conditions()[c];
            Query::Known {
                perturbation: &labels.perturbations[condition.perturbation as usize],
                context: &labels.contexts[condition.context as usize],
                kind: &labels.kinds[condition.kind as usize],
            }
        };
        let queries: Vec<Query<'_>> = conditions.iter().map(query).collect();
        Ok(EncodedQueries::new(&queries, &data.vocabulary, self.base.place.device)?)
    }

    fn weight(&self, condition: usize) -> f32 {
        let cells = self.bags.conditions()[condition].places.len() as f64;
        (cells.min(FULL_WEIGHT_CELLS) / FULL_WEIGHT_CELLS) as f32
    }
}

impl Method for Finetuning<'_> {
    type Batch = Batch;

    fn objective(&self) -> &Objective {
        &self.objective
    }

    fn forward(&self, state: &FlatState, batch: &Batch, _plan: &StepPlan, _cut: bool) -> Pass {
        let (params, heads) = (&state.params, &self.model.heads);
        let scale = 1.0 / self.base.config.finetune.conditions as f64;
        let condition = self.model.condition.forward(params, &batch.queries);
        let shift = heads.shift(params, &batch.baseline, &condition);
        let prototype = ((&shift - &batch.shift).square() * &batch.weights).sum(Kind::Float) * scale;
        let mut energy = Tensor::zeros([], (Kind::Float, self.base.place.device));
        for (index, (control, perturbed)) in batch.bags.iter().enumerate() {
            // The shift is the prototype head's business: the set head learns only what is left of the distribution.
            let fixed = shift.detach().narrow(0, index as i64, 1);
            let predicted = heads.set(params, control, &fixed, &condition.row(index as i64));
            energy += energy_distance(&predicted, perturbed).sum(Kind::Float) * scale;
        }
        Pass { parts: vec![Parts { sums: vec![prototype, energy], rows: Vec::new() }], cut: None }
    }
}

impl Task for Finetuning<'_> {
    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn total(&self) -> u64 {
        self.base.config.finetune.steps
    }

    fn place(&self, _step: u64) -> Place {
        Place { phase: None, epoch: 0 }
    }

    fn plan(&self, step: u64) -> StepPlan {
        self.base.plan(step, self.total(), self.base.config.finetune.lr, 0.0)
    }

    fn cells(&self, _step: u64) -> u64 {
        (2 * self.base.config.finetune.bag * self.base.config.finetune.conditions) as u64
    }

    fn flops(&self, _step: u64) -> Option<u64> {
        None
    }

    fn initialise(&self, state: &FlatState) -> Result<(), TaskError> {
        self.base.initialise(&state.params)
    }

    fn prepare(&mut self, start: &Start<'_>, progress: &mut dyn Progress) -> Result<(), TaskError> {
        self.base.prepare(start, progress)?;
        let contexts = self.base.data.store.labels().contexts.len();
        self.prototypes = Some(Prototypes::new(&self.bags, self.base.latents()?, contexts)?);
        Ok(())
    }

    fn batch(&mut self, step: u64, shard: usize) -> Result<Batch, TaskError> {
        let count = self.base.config.finetune.conditions;
        let own = self.base.shards.part(CONDITIONS, count, shard)?;
        let conditions = &self.bags.step_conditions(step, count)[own];
        let (latents, device) = (self.base.latents()?, self.base.place.device);
        let prototypes = self.prototypes.as_ref().ok_or_else(|| TaskError::Invalid("no prototypes yet".into()))?;
        let (baseline, shift) = prototypes.of(&self.bags, conditions);
        let bag = |&condition: &usize| -> Result<(Tensor, Tensor), TaskError> {
            let bag = self.bags.draw(condition, step);
            let cells = |places: &[usize]| Ok::<_, TaskError>(moved(&latents.batch(places)?.unsqueeze(0), device));
            Ok((cells(&bag.control)?, cells(&bag.perturbed)?))
        };
        let weights: Vec<f32> = conditions.iter().map(|&condition| self.weight(condition)).collect();
        Ok(Batch {
            queries: self.queries(conditions)?,
            baseline: moved(&baseline, device),
            shift: moved(&shift, device),
            weights: moved(&Tensor::from_slice(&weights).unsqueeze(1), device),
            bags: conditions.iter().map(bag).collect::<Result<_, _>>()?,
        })
    }

    fn carried(&self) -> Carried<'_> {
        self.base.carried()
    }

    fn scratch_bytes(&self) -> u64 {
        self.base.scratch_bytes()
    }
}

/// Mean standardised embedding of every condition and of every context's controls.
struct Prototypes {
    conditions: Tensor,
    controls: Tensor,
}

impl Prototypes {
    fn new(bags: &Bags, latents: &Latents, contexts: usize) -> Result<Self, TaskError> {
        let conditions: Vec<Tensor> =
            bags.conditions().iter().map(|c| latents.mean(&c.places)).collect::<Result<_, _>>()?;
        let controls: Vec<Tensor> =
            (0..contexts as u32).map(|context| latents.mean(bags.controls(context))).collect::<Result<_, _>>()?;
        Ok(Self { conditions: Tensor::stack(&conditions, 0), controls: Tensor::stack(&controls, 0) })
    }

    /// Baseline and wanted shift of some conditions, `[K, d]` each.
    fn of(&self, bags: &Bags, conditions: &[usize]) -> (Tensor, Tensor) {
        let pick =
            |table: &Tensor, rows: Vec<i64>| table.index_select(0, &Tensor::from_slice(&rows).to_device(Device::Cpu));
        let contexts = conditions.iter().map(|&c| i64::from(bags.conditions()[c].context)).collect();
        let baseline = pick(&self.controls, contexts);
        let shift = pick(&self.conditions, conditions.iter().map(|&c| c as i64).collect()) - &baseline;
        (baseline, shift)
    }
}
