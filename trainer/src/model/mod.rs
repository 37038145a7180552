//! The joint-embedding model: encoder, perturbation encoder, predictor.
//!
//! Modules hold names of parameters only; values come in a [`crate::params::ParamSet`], so the student and the
//! teacher are one encoder with two sets of values.

pub mod dropout;
pub mod encoder;
pub mod heads;
pub mod layer;
pub mod ops;
pub mod perturbation;
pub mod predictor;
pub mod score;
pub mod vocabulary;

use tch::Tensor;

use self::encoder::{DropoutKeys, Encoder};
use self::perturbation::{EncodedQueries, PerturbationEncoder};
use self::predictor::Predictor;
use self::vocabulary::Vocabulary;
use crate::config::ModelConfig;
use crate::params::{Layout, ParamSet, Registry};

/// Encoder, perturbation encoder and predictor with one parameter layout.
#[derive(Debug)]
pub struct Jepa {
    /// Encoder of cells.
    pub encoder: Encoder,
    /// Encoder of perturbations.
    pub perturbation: PerturbationEncoder,
    /// Predictor of the perturbed state.
    pub predictor: Predictor,
    layout: Layout,
}

impl Jepa {
    /// Builds the model for a vocabulary.
    pub fn new(config: &ModelConfig, vocabulary: &Vocabulary) -> Self {
        let mut registry = Registry::default();
        let encoder = Encoder::new(&mut registry, &config.encoder, vocabulary.genes.len() as i64);
        let perturbation = PerturbationEncoder::new(&mut registry, &config.perturbation, vocabulary);
        let predictor =
            Predictor::new(&mut registry, &config.predictor, config.encoder.width, config.perturbation.width);
        Self { encoder, perturbation, predictor, layout: registry.layout() }
    }

    /// Layout of all parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Pooled embedding `[B, d]` of log-normalised cells `[B, G]`, without dropout.
    pub fn embed(&self, encoder: &ParamSet, x: &Tensor) -> Tensor {
        layer::pool(&self.encoder.forward(encoder, x, None))
    }

    /// The student's pass: context tokens and predicted state (tokens for R2, pooled for R3).
    pub fn predict(
        &self,
        params: &ParamSet,
        x: &Tensor,
        queries: &EncodedQueries,
        dropout: Option<&DropoutKeys<'_>>,
    ) -> (Tensor, Tensor) {
        let context = self.encoder.forward(params, x, dropout);
        let prediction = self.predict_from(params, &context, queries);
        (context, prediction)
    }

    /// Predicted state from context tokens `[B, T, d]`.
    pub fn predict_from(&self, params: &ParamSet, context: &Tensor, queries: &EncodedQueries) -> Tensor {
        let condition = self.perturbation.forward(params, queries);
        let state = if self.predictor.is_pooled() { layer::pool(context) } else { context.shallow_clone() };
        self.predictor.forward(params, &state, &condition)
    }
}
