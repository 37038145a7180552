//! Our models as methods of the benchmark: prototype head, set head, latent diffusion.
//!
//! All of them move the query's control cells in the embedding and carry the move over to expression with the
//! linear decoder: `x̂ = x + (ẑ − z)·W`. A target gene that was not trained on has no information behind it (its
//! table row is random): it is left out and flagged; a condition without any trained target becomes the mixture of
//! the trained perturbations, flagged too.

use std::collections::BTreeSet;
use std::rc::Rc;

use ndarray::{Array2, ArrayView2};
use syncyte_sharding::labels::{Labels, Perturbation};
use syncyte_sharding::philox::{Philox, Purpose};
use syncyte_sharding::split::{Fold, Split};
use tch::{Device, Kind, Tensor};

use super::diffuse::ScoreModel;
use super::finetune::HeadModel;
use super::frozen::{DECODER_FILE, Frozen};
use super::frozen_stage::standard_of;
use super::latents::Standard;
use crate::batch::query::{EncodedQueries, Query as ModelQuery};
use crate::checkpoint::{Checkpoint, Stage};
use crate::config::{Config, SamplerKind};
use crate::decoder::Decoder;
use crate::generative::diffusion::{Sampler, noise_of_velocity, sample};
use crate::params::{ParamSet, Registry};
use crate::perturbation::Condition;
use crate::shim::flat;
use crate::training::TaskError;
use crate::training::data::RunData;
use syncyte_evaluation::benchmark::method::{Method, MethodError, Outcome, Prediction, Query};
use syncyte_evaluation::benchmark::results::MethodInfo;

/// What all of our methods share.
struct Base {
    frozen: Rc<Frozen>,
    decoder: Decoder,
    standard: Standard,
    labels: Labels,
    split_hash: String,
    /// Target genes of training conditions.
    trained: BTreeSet<String>,
    /// Single perturbations of the training fold.
    singles: Vec<Perturbation>,
    seed: u64,
}

/// The condition of every cell after untrained targets were left out.
struct Resolved {
    perturbations: Vec<Perturbation>,
    flags: Vec<String>,
}

impl Base {
    fn load(checkpoint: &Checkpoint, data: &RunData) -> Result<Self, TaskError> {
        let frozen = Rc::new(Frozen::from_later(checkpoint, data)?);
        let decoder = Decoder::zeros(frozen.width(), frozen.vocabulary.genes.len() as i64);
        checkpoint.load(DECODER_FILE, decoder.params())?;
        let (trained, singles) = trained_targets(data.store.labels(), &data.split);
        Ok(Self {
            frozen,
            decoder,
            standard: standard_of(checkpoint)?,
            labels: Labels { perturbation: Vec::new(), ..data.store.labels().clone() },
            split_hash: checkpoint.state.split_hash.clone(),
            trained,
            singles,
            seed: checkpoint.state.config.run.seed,
        })
    }

    fn resolve(&self, perturbation: &Perturbation, cells: usize) -> Resolved {
        let (known, unknown): (Vec<String>, Vec<String>) =
            perturbation.targets.iter().cloned().partition(|target| self.trained.contains(target));
        let flags = unknown.iter().map(|target| format!("target_not_trained:{target}")).collect();
        let mixture = known.is_empty() && !perturbation.is_control() && !self.singles.is_empty();
        let perturbations = if mixture {
            (0..cells).map(|cell| self.singles[cell % self.singles.len()].clone()).collect()
        } else {
            vec![Perturbation::of(known); cells]
        };
        Resolved { perturbations, flags }
    }

    fn encode(&self, query: &Query<'_>, perturbations: &[Perturbation]) -> Result<EncodedQueries, TaskError> {
        let queries: Vec<_> = perturbations
            .iter()
            .map(|perturbation| ModelQuery::Known {
                perturbation,
                context: &self.labels.contexts[query.context as usize],
                kind: &self.labels.kinds[query.kind as usize],
            })
            .collect();
        Ok(EncodedQueries::new(&queries, &self.frozen.vocabulary, Device::Cpu)?)
    }

    /// Standardised embedding of the query's control cells.
    fn embed(&self, x: &Tensor) -> Tensor {
        self.standard.apply(&self.frozen.embed_expression(x))
    }

    /// Expression and latents of cells that moved from `z` to `moved` (both standardised).
    fn prediction(&self, x: &Tensor, z: &Tensor, moved: &Tensor, flags: Vec<String>) -> Result<Prediction, TaskError> {
        let (from, to) = (self.standard.undo(z), self.standard.undo(moved));
        let cells = x + self.decoder.decode_change(&(&to - from));
        let outcome = Outcome::Cells { cells: to_array(&cells)?, latent: Some(to_array(&to)?) };
        Ok(Prediction { outcome, flags })
    }
}

fn trained_targets(labels: &Labels, split: &Split) -> (BTreeSet<String>, Vec<Perturbation>) {
    let seen: BTreeSet<u32> =
        split.rows(Fold::Train).into_iter().map(|row| labels.perturbation[row as usize]).collect();
    let perturbations = || seen.iter().map(|&p| &labels.perturbations[p as usize]);
    let targets = perturbations().flat_map(|p| p.targets.iter().cloned()).collect();
    (targets, perturbations().filter(|p| p.targets.len() == 1).cloned().collect())
}

/// Cells × genes as a tensor.
pub(super) fn to_tensor(cells: ArrayView2<'_, f32>) -> Tensor {
    let values: Vec<f32> = cells.iter().copied().collect();
    Tensor::from_slice(&values).view([cells.nrows() as i64, cells.ncols() as i64])
}

/// A matrix out of the tensor library.
pub(super) fn to_array(tensor: &Tensor) -> Result<Array2<f32>, TaskError> {
    let tensor = tensor.detach().contiguous();
    let values = flat(&tensor).map_err(crate::engine::EngineError::from)?.to_vec();
    let shape = (tensor.size()[0] as usize, tensor.size()[1] as usize);
    Array2::from_shape_vec(shape, values).map_err(|error| TaskError::Invalid(error.to_string()))
}

fn other(error: TaskError) -> MethodError {
    MethodError::Other(Box::new(error))
}

/// Which of the two heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Prototype,
    Set,
}

/// A fine-tuned head.
pub struct HeadMethod {
    base: Rc<Base>,
    model: Rc<HeadModel>,
    params: Rc<ParamSet>,
    head: Head,
}

/// Both heads of a fine-tuning checkpoint.
///
/// # Errors
/// When the checkpoint is of another stage or does not fit the data.
pub fn heads(checkpoint: &Checkpoint, data: &RunData) -> Result<Vec<HeadMethod>, TaskError> {
    checkpoint.require_stage(Stage::Finetune)?;
    let base = Rc::new(Base::load(checkpoint, data)?);
    let mut registry = Registry::default();
    let model = Rc::new(HeadModel::new(&mut registry, &base.frozen, &checkpoint.state.config)?);
    let params = ParamSet::zeros(&registry.layout(), Device::Cpu);
    checkpoint.load("model.safetensors", &params)?;
    let params = Rc::new(params);
    Ok([Head::Set, Head::Prototype]
        .into_iter()
        .map(|head| HeadMethod { base: Rc::clone(&base), model: Rc::clone(&model), params: Rc::clone(&params), head })
        .collect())
}

impl HeadMethod {
    fn predict_cells(&self, query: &Query<'_>) -> Result<Prediction, TaskError> {
        let x = to_tensor(query.control);
        let z = self.base.embed(&x);
        let resolved = self.base.resolve(query.perturbation, query.control.nrows());
        let moved = tch::no_grad(|| -> Result<Tensor, TaskError> {
            let mut groups: Vec<(Perturbation, Vec<i64>)> = Vec::new();
            for (cell, perturbation) in resolved.perturbations.iter().enumerate() {
                match groups.iter_mut().find(|(known, _)| known == perturbation) {
                    Some((_, cells)) => cells.push(cell as i64),
                    None => groups.push((perturbation.clone(), vec![cell as i64])),
                }
            }
            // The prototype of the query is the mean of all its control cells, whichever group they are in.
            let prototype = z.mean_dim([0_i64].as_slice(), true, Kind::Float);
            let mut moved = z.shallow_clone();
            for (perturbation, cells) in groups {
                let queries = self.base.encode(query, &[perturbation])?;
                let condition = self.model.condition.forward(&self.params, &queries);
                let cells = Tensor::from_slice(&cells);
                let bag = z.index_select(0, &cells);
                moved = moved.index_copy(0, &cells, &self.move_bag(&bag, &prototype, &condition));
            }
            Ok(moved)
        })?;
        self.base.prediction(&x, &z, &moved, resolved.flags)
    }

    fn move_bag(&self, bag: &Tensor, prototype: &Tensor, condition: &Condition) -> Tensor {
        let shift = self.model.heads.shift(&self.params, prototype, condition);
        match self.head {
            Head::Prototype => bag + shift,
            Head::Set => self.model.heads.set(&self.params, &bag.unsqueeze(0), &shift, condition).squeeze_dim(0),
        }
    }
}

impl Method for HeadMethod {
    fn info(&self) -> MethodInfo {
        let (name, title, description) = match self.head {
            Head::Prototype => (
                "jepa_prototype",
                "JEPA prototype head",
                "Shifts control cells in the frozen JEPA embedding by a learned change of the mean state (J4); linear decoder.",
            ),
            Head::Set => (
                "jepa_set",
                "JEPA set head",
                "Moves a bag of control cells in the frozen JEPA embedding, trained with the energy distance (J5); linear decoder.",
            ),
        };
        let (name, title, description) = (name.into(), title.into(), description.into());
        MethodInfo { name, title, description, baseline: false, informed: true }
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(&self.base.split_hash)
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        self.predict_cells(query).map_err(other)
    }
}

/// Samples of latent diffusion, one for every control cell.
pub struct DiffusionMethod {
    base: Base,
    model: ScoreModel,
    /// Weight average.
    params: ParamSet,
    sampler: Sampler,
}

/// Latent diffusion from its checkpoint.
///
/// # Errors
/// When the checkpoint is of another stage or does not fit the data.
pub fn diffusion(checkpoint: &Checkpoint, data: &RunData, config: &Config) -> Result<DiffusionMethod, TaskError> {
    checkpoint.require_stage(Stage::Diffuse)?;
    let base = Base::load(checkpoint, data)?;
    let mut registry = Registry::default();
    let model = ScoreModel::new(&mut registry, &base.frozen, &checkpoint.state.config)?;
    let params = ParamSet::zeros(&registry.layout(), Device::Cpu);
    checkpoint.load("teacher.safetensors", &params)?;
    let sampler = match config.diffusion.sampler {
        SamplerKind::Ddim => Sampler::Ddim { steps: config.diffusion.ddim_steps, eta: 0.0 },
        SamplerKind::Ancestral => Sampler::Ancestral { steps: config.diffusion.ancestral_steps },
    };
    Ok(DiffusionMethod { base, model, params, sampler })
}

impl DiffusionMethod {
    fn predict_cells(&self, query: &Query<'_>) -> Result<Prediction, TaskError> {
        let x = to_tensor(query.control);
        let z = self.base.embed(&x);
        let resolved = self.base.resolve(query.perturbation, query.control.nrows());
        let queries = self.base.encode(query, &resolved.perturbations)?;
        let width = z.size()[1] as usize;
        // Noise follows the cell and the draw, so the same cell gives the same sample in any company.
        let normal = |step: u64| {
            let mut values = Vec::with_capacity(query.cells.len() * width);
            for (&cell, &draw) in query.cells.iter().zip(query.draws) {
                let mut random = Philox::new(self.base.seed, Purpose::Noise, cell, step + (draw << 32));
                values.extend((0..width).map(|_| random.normal() as f32));
            }
            Tensor::from_slice(&values).view_as(&z)
        };
        let moved = tch::no_grad(|| {
            let condition = self.model.condition.forward(&self.params, &queries);
            let noise_of = |noisy: &Tensor, t: f64| {
                let times = Tensor::full([noisy.size()[0]], t, (Kind::Float, Device::Cpu));
                let velocity = self.model.network.forward(&self.params, noisy, &times, &z, &condition.vector);
                noise_of_velocity(noisy, &velocity, t)
            };
            sample(self.sampler, &normal(0), &noise_of, &normal)
        });
        self.base.prediction(&x, &z, &moved, resolved.flags)
    }
}

impl Method for DiffusionMethod {
    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "jepa_diffusion".into(),
            title: "JEPA latent diffusion".into(),
            description: "Samples perturbed cells in the frozen JEPA embedding given a control cell and the perturbation (VP-SDE, \
                          cosine schedule); linear decoder."
                .into(),
            baseline: false,
            informed: true,
        }
    }

    fn samples(&self) -> bool {
        true
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(&self.base.split_hash)
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        self.predict_cells(query).map_err(other)
    }
}
