//! Our models as methods of the benchmark, a kind a file: predictor, heads, latent diffusion.
//!
//! All of them move the query's control cells in the embedding and carry the move over to expression with the
//! linear decoder: `x̂ = x + (ẑ − z)·W`. Several threads ask at once; a model answers one of them at a time and computes on
//! all cores. A target gene that was not trained on has no information behind it (its
//! table row is random): it is left out and flagged; a condition without any trained target becomes the mixture of
//! the trained perturbations, flagged too.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, ArrayView2};
use syncyte_sharding::labels::{Labels, Perturbation};
use syncyte_sharding::split::{Fold, Split};
use tch::{Device, Tensor};

mod diffusion;
mod head;
mod predictor;

pub(super) use diffusion::entrant as diffusion;
pub(super) use head::entrants as heads;
pub(super) use predictor::entrant as predictor;

use super::frozen::{DECODER_FILE, Frozen};
use super::frozen_stage::standard_of;
use super::latents::Standard;
use crate::batch::query::{EncodedQueries, Query as ModelQuery};
use crate::batch::vocabulary::Vocabulary;
use crate::checkpoint::Checkpoint;
use crate::decoder::Decoder;
use crate::shim::flat;
use crate::training::TaskError;
use crate::training::data::RunData;
use syncyte_evaluation::benchmark::method::{MethodError, Outcome, Prediction, Query};
use syncyte_evaluation::benchmark::{EncodeError, Encoder};

/// A model that one thread at a time computes with.
struct Turns<T>(Mutex<T>);

impl<T> Turns<T> {
    fn new(model: T) -> Self {
        Self(Mutex::new(model))
    }

    /// What `f` makes of the model; a thread that failed while it had its turn leaves nothing behind that the next could see.
    fn take<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A frozen encoder as the evaluation asks it.
pub(super) fn encoder(name: String, frozen: Frozen) -> Encoder<'static> {
    let (id, frozen) = (frozen.parent.clone(), Turns::new(frozen));
    let encode = move |cells: ArrayView2<'_, f32>| -> Result<Array2<f32>, EncodeError> {
        Ok(frozen.take(|frozen| to_array(&frozen.embed_expression(&to_tensor(cells))))?)
    };
    Encoder { name, id, encode: Box::new(encode) }
}

/// What the methods of stages behind pretraining share.
struct Base {
    frozen: Frozen,
    decoder: Decoder,
    standard: Standard,
    asked: Asked,
    seed: u64,
}

/// How a model is asked about perturbations.
struct Asked {
    labels: Labels,
    /// Target genes of training conditions.
    trained: BTreeSet<String>,
    /// Single perturbations of the training fold.
    singles: Vec<Perturbation>,
}

/// The condition of every cell after untrained targets were left out.
struct Resolved {
    perturbations: Vec<Perturbation>,
    flags: Vec<String>,
}

impl Base {
    fn load(checkpoint: &Checkpoint, data: &RunData) -> Result<Self, TaskError> {
        let frozen = Frozen::from_later(checkpoint, data)?;
        let decoder = Decoder::zeros(frozen.width(), frozen.vocabulary.genes.len() as i64);
        checkpoint.load(DECODER_FILE, decoder.params())?;
        let (standard, seed) = (standard_of(checkpoint)?, checkpoint.state.config.run.seed);
        Ok(Self { frozen, decoder, standard, asked: Asked::about(data), seed })
    }

    fn encode(&self, query: &Query<'_>, perturbations: &[Perturbation]) -> Result<EncodedQueries, TaskError> {
        self.asked.encode(query, perturbations, &self.frozen.vocabulary)
    }

    /// Standardised embedding of the query's control cells.
    fn embed(&self, x: &Tensor) -> Tensor {
        self.standard.apply(&self.frozen.embed_expression(x))
    }

    /// Expression and latents of cells that moved from `z` to `moved` (both standardised).
    fn prediction(&self, x: &Tensor, z: &Tensor, moved: &Tensor, flags: Vec<String>) -> Result<Prediction, TaskError> {
        predicted(&self.decoder, x, &self.standard.undo(z), &self.standard.undo(moved), flags)
    }
}

/// Expression and latents of cells that moved in the embedding.
fn predicted(
    decoder: &Decoder,
    x: &Tensor,
    from: &Tensor,
    to: &Tensor,
    flags: Vec<String>,
) -> Result<Prediction, TaskError> {
    let cells = x + decoder.decode_change(&(to - from));
    let outcome = Outcome::Cells { cells: to_array(&cells)?, latent: Some(to_array(to)?) };
    Ok(Prediction { outcome, flags })
}

impl Asked {
    fn about(data: &RunData) -> Self {
        let (trained, singles) = trained_targets(data.store.labels(), &data.split);
        Self { labels: Labels { perturbation: Vec::new(), ..data.store.labels().clone() }, trained, singles }
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

    fn encode(
        &self,
        query: &Query<'_>,
        perturbations: &[Perturbation],
        vocabulary: &Vocabulary,
    ) -> Result<EncodedQueries, TaskError> {
        let queries: Vec<_> = perturbations
            .iter()
            .map(|perturbation| ModelQuery::Known {
                perturbation,
                context: &self.labels.contexts[query.context as usize],
                kind: &self.labels.kinds[query.kind as usize],
            })
            .collect();
        Ok(EncodedQueries::new(&queries, vocabulary, Device::Cpu)?)
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
