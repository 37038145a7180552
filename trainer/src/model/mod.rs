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
use self::perturbation::{EncodedQueries, MAX_TARGETS, METADATA, PerturbationEncoder};
use self::predictor::Predictor;
use self::vocabulary::Vocabulary;
use crate::config::{ModelConfig, PerturbationKind, PredictorKind};
use crate::log::mfu::{ConditionSizes, EncoderSizes, ModelSizes, PredictorSizes};
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

    /// What the model FLOPs of a configuration for a vocabulary follow from.
    pub fn sizes(config: &ModelConfig, vocabulary: &Vocabulary) -> ModelSizes {
        let ModelConfig { encoder, perturbation, predictor } = config;
        // Kind and context are a token each, behind the targets' or the one of P2.
        let (targets, inputs) = match perturbation.kind {
            PerturbationKind::P1 => (MAX_TARGETS as u64, 0),
            PerturbationKind::P2 => (1, vocabulary.targets.len() as u64 + METADATA as u64),
        };
        ModelSizes {
            encoder: EncoderSizes {
                genes: vocabulary.genes.len() as u64,
                hidden: encoder.hidden.iter().map(|&width| width as u64).collect(),
                tokens: encoder.tokens as u64,
                width: encoder.width as u64,
                depth: encoder.depth as u64,
            },
            condition: ConditionSizes { tokens: targets + 2, width: perturbation.width as u64, inputs },
            predictor: match predictor.kind {
                PredictorKind::R2 => PredictorSizes::R2 { depth: predictor.depth as u64 },
                PredictorKind::R3 => PredictorSizes::R3 { hidden: predictor.hidden as u64 },
            },
            residual: predictor.residual,
        }
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

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::config::{EncoderConfig, PredictorConfig};
    use crate::model::perturbation::Query;

    #[test]
    fn sizes_are_those_of_what_the_model_computes() {
        let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect();
        let vocabulary =
            Vocabulary { genes: names("g", 9), targets: names("g", 5), contexts: names("c", 1), kinds: names("k", 1) };
        let mut config = ModelConfig::default();
        config.encoder = EncoderConfig {
            hidden: vec![12, 8],
            tokens: 3,
            width: 4,
            depth: 2,
            heads: 2,
            dropout: 0.0,
            ..config.encoder
        };
        for (kind, predictor) in [(PerturbationKind::P1, PredictorKind::R2), (PerturbationKind::P2, PredictorKind::R3)]
        {
            config.perturbation.kind = kind;
            config.predictor = PredictorConfig { kind: predictor, depth: 2, heads: 2, hidden: 7, ..config.predictor };
            let (sizes, model) = (Jepa::sizes(&config, &vocabulary), Jepa::new(&config, &vocabulary));
            let weights = |part: &str, rank: usize| -> i64 {
                let specs = model.layout().specs().iter().filter(|spec| spec.name.starts_with(part) && spec.decay);
                specs.filter(|spec| spec.shape.len() == rank).map(|spec| spec.shape.iter().product::<i64>()).sum()
            };
            // With one token, and the products of attention apart, every weight is used once.
            let mut once = sizes.encoder.clone();
            (once.tokens, once.depth) = (3, 0);
            let blocks = weights("encoder.blocks", 2) as u64;
            assert_eq!(once.forward_macs(), weights("encoder", 2) as u64 - blocks);
            once.depth = 2;
            assert_eq!(once.forward_macs(), weights("encoder", 2) as u64 - blocks + 3 * blocks + 2 * (2 * 9 * 4));
            let params = ParamSet::initial(model.layout(), 1, Device::Cpu);
            let queries = EncodedQueries::new(&[Query::Null], &vocabulary, Device::Cpu).unwrap();
            let condition = model.perturbation.forward(&params, &queries);
            assert_eq!(condition.tokens.size(), [1, sizes.condition.tokens as i64, sizes.condition.width as i64]);
            let context = Tensor::zeros([1, 3, 4], (Kind::Float, Device::Cpu));
            assert_eq!(model.predict_from(&params, &context, &queries).dim() == 2, predictor == PredictorKind::R3);
            if predictor == PredictorKind::R3 {
                let all = weights("perturbation.fc", 2) + weights("predictor", 2);
                assert_eq!(sizes.predictor_macs(), all as u64, "each weight once");
            }
        }
    }
}
