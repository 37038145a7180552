//! A pretrained model whose encoder no longer changes: where heads and diffusion start.

use tch::{Device, Tensor};

use crate::batch::view::{Input, View, of_expression};
use crate::batch::vocabulary::Vocabulary;
use crate::checkpoint::{Checkpoint, Stage, load_into};
use crate::component::Declare;
use crate::model::{Jepa, ModelConfig};
use crate::params::{Group, ParamSet, Registry};
use crate::perturbation::ConditionEncoder;
use crate::training::TaskError;
use crate::training::data::RunData;

/// File of the frozen encoder in checkpoints of heads and diffusion.
pub const ENCODER_FILE: &str = "encoder.safetensors";
/// File of the linear decoder in checkpoints of heads and diffusion.
pub const DECODER_FILE: &str = "decoder.safetensors";

/// The teacher's encoder of a pretraining checkpoint, with what it was trained on.
#[derive(Debug)]
pub struct Frozen {
    /// The model's modules.
    pub model: Jepa,
    /// Values of the encoder.
    pub encoder: ParamSet,
    /// Shape of the model.
    pub config: ModelConfig,
    /// Names the model knows.
    pub vocabulary: Vocabulary,
    /// Parameter hash of the pretraining checkpoint.
    pub parent: String,
}

impl Frozen {
    /// Takes the teacher out of a pretraining checkpoint.
    ///
    /// # Errors
    /// When the checkpoint is of another stage, does not know the data's genes, targets, contexts or kinds, was
    /// trained on another split (whose test cells it may have seen), or a shape differs.
    pub fn from_pretraining(checkpoint: &Checkpoint, data: &RunData) -> Result<Self, TaskError> {
        checkpoint.require_stage(Stage::Pretrain)?;
        Self::open(checkpoint, data, "teacher.safetensors", checkpoint.state.parameter_hash.clone())
    }

    /// Takes the encoder out of a checkpoint of heads or diffusion.
    ///
    /// # Errors
    /// As [`Frozen::from_pretraining`].
    pub fn from_later(checkpoint: &Checkpoint, data: &RunData) -> Result<Self, TaskError> {
        Self::open(checkpoint, data, ENCODER_FILE, checkpoint.state.parent.clone().unwrap_or_default())
    }

    fn open(checkpoint: &Checkpoint, data: &RunData, file: &str, parent: String) -> Result<Self, TaskError> {
        checkpoint.require_vocabulary(&data.vocabulary)?;
        let state = &checkpoint.state;
        let (store, split) = (data.store.data_hash(), data.split.hash());
        if state.data_hash == store && state.split_hash != split {
            return Err(TaskError::Invalid(format!(
                "{} was trained on split {}, not on {split}: it may have seen the cells that this split holds out; \
                 use the split it was trained with, or pretrain again",
                checkpoint.folder().display(),
                state.split_hash
            )));
        }
        if state.value_kind != data.store.info().value_kind {
            return Err(TaskError::Invalid(format!(
                "{} was trained on {:?} values and the store holds {:?}",
                checkpoint.folder().display(),
                state.value_kind,
                data.store.info().value_kind
            )));
        }
        let model = Jepa::new(&state.config.model, &state.vocabulary).map_err(TaskError::Invalid)?;
        let encoder = ParamSet::zeros(&model.layout().averaged(), Device::Cpu);
        checkpoint.load(file, &encoder)?;
        Ok(Self { model, encoder, config: state.config.model.clone(), vocabulary: state.vocabulary.clone(), parent })
    }

    /// Pooled embedding `[n, d]` of cells.
    pub fn embed(&self, cells: &View) -> Tensor {
        tch::no_grad(|| self.model.embed(&self.encoder, cells))
    }

    /// Pooled embedding `[n, d]` of log-normalised expression `[n, G]`.
    pub fn embed_expression(&self, x: &Tensor) -> Tensor {
        self.embed(&of_expression(self.input(), x))
    }

    /// The form in which the encoder reads cells.
    pub fn input(&self) -> Input {
        self.model.encoder.input()
    }

    /// Width of the embedding.
    pub fn width(&self) -> i64 {
        self.model.encoder.width()
    }

    /// Declares an encoder of conditions of the same shape, to be trained further.
    ///
    /// # Errors
    /// When its settings are not those of its kind.
    pub fn condition_encoder(&self, registry: &mut Registry, group: Group) -> Result<ConditionEncoder, TaskError> {
        let mut declare = Declare { registry, group, vocabulary: &self.vocabulary };
        ConditionEncoder::new(&self.config.perturbation, &mut declare).map_err(TaskError::Invalid)
    }

    /// Starts the perturbation encoder of `params` from the pretrained values.
    ///
    /// # Errors
    /// When the checkpoint lacks one of its parameters.
    pub fn copy_perturbation_encoder(&self, checkpoint: &Checkpoint, params: &ParamSet) -> Result<(), TaskError> {
        let mut registry = Registry::default();
        let _ = self.condition_encoder(&mut registry, Group::new("perturbation"))?;
        let pretrained = ParamSet::zeros(&registry.layout(), Device::Cpu);
        load_into(&checkpoint.folder().join("model.safetensors"), &pretrained)?;
        for (name, value) in pretrained.named() {
            if let Some((_, parameter)) = params.named().find(|(other, _)| *other == name) {
                tch::no_grad(|| parameter.detach().copy_(value));
            }
        }
        Ok(())
    }
}
