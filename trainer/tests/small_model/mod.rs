//! A small model, its conditions and its cells, all from a seed.

use syncyte_sharding::labels::Perturbation;
use syncyte_sharding::philox::{Philox, Purpose};
use syncyte_trainer::config::{
    EncoderConfig, ModelConfig, PerturbationConfig, PerturbationKind, PredictorConfig, PredictorKind,
};
use syncyte_trainer::model::perturbation::{EncodedQueries, Query};
use syncyte_trainer::model::vocabulary::Vocabulary;
use syncyte_trainer::params::ParamSet;
use tch::{Device, Tensor};

/// Standard normal values, a pure function of the seed.
pub(crate) fn noise(seed: u64, shape: &[i64]) -> Tensor {
    let mut random = Philox::new(seed, Purpose::Init, shape.iter().product::<i64>() as u64, 0);
    let values: Vec<f32> = (0..shape.iter().product::<i64>()).map(|_| random.normal() as f32).collect();
    Tensor::from_slice(&values).view(shape)
}

/// Cells with zeros, like log-normalised expression.
pub(crate) fn cells(seed: u64, batch: i64, genes: i64) -> Tensor {
    noise(seed, &[batch, genes]).relu() * 1.5
}

/// Moves every parameter off its initial value: biases, norms and last layers that start at zero count too.
pub(crate) fn randomise(params: &ParamSet, seed: u64) {
    for (index, (_, p)) in params.named().enumerate() {
        let size = p.size();
        let sd = if size.len() > 1 { 1.0 / (size[1] as f64).sqrt() } else { 0.2 };
        let moved = noise(seed * 1000 + index as u64, &size) * sd + p.detach();
        tch::no_grad(|| p.detach().copy_(&moved));
    }
}

/// A model of a few thousand parameters, with more than one of everything.
pub(crate) fn config(predictor: PredictorKind, perturbation: PerturbationKind) -> ModelConfig {
    ModelConfig {
        encoder: EncoderConfig {
            hidden: vec![20, 12],
            tokens: 3,
            width: 8,
            depth: 2,
            heads: 2,
            ..EncoderConfig::default()
        },
        perturbation: PerturbationConfig { kind: perturbation, width: 6, ..PerturbationConfig::default() },
        predictor: PredictorConfig { kind: predictor, depth: 2, heads: 2, hidden: 10, residual: false },
    }
}

/// Names in which no kind stands at the place of its slot in P2.
pub(crate) fn vocabulary(genes: usize) -> Vocabulary {
    let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect();
    Vocabulary {
        genes: names("G", genes),
        targets: names("T", 5),
        contexts: names("line", 2),
        kinds: ["CRISPRi", "CRISPRa", "unknown"].map(str::to_owned).to_vec(),
    }
}

/// The condition of one cell, as places in the vocabulary.
pub(crate) struct Asked {
    pub(crate) targets: Vec<usize>,
    pub(crate) kind: usize,
    pub(crate) context: usize,
    pub(crate) null: bool,
}

/// Controls, singles, a pair, a triple and the null condition in turn.
pub(crate) fn asked(batch: usize) -> Vec<Asked> {
    (0..batch)
        .map(|row| {
            let targets = match row % 7 {
                0 | 4 => vec![],
                1 | 5 => vec![row % 5],
                2 => vec![1, 3],
                3 => vec![0, 2, 4],
                _ => vec![3],
            };
            Asked { targets, kind: row % 3, context: (row / 2) % 2, null: row % 7 == 4 }
        })
        .collect()
}

/// The same conditions as the model takes them.
pub(crate) fn encode(asked: &[Asked], vocabulary: &Vocabulary) -> EncodedQueries {
    let perturbations: Vec<Perturbation> = asked
        .iter()
        .map(|one| Perturbation::of(one.targets.iter().map(|&target| vocabulary.targets[target].clone())))
        .collect();
    let queries: Vec<Query<'_>> = asked
        .iter()
        .zip(&perturbations)
        .map(|(one, perturbation)| {
            if one.null {
                return Query::Null;
            }
            let (context, kind) = (&vocabulary.contexts[one.context], &vocabulary.kinds[one.kind]);
            Query::Known { perturbation, context, kind }
        })
        .collect();
    EncodedQueries::new(&queries, vocabulary, Device::Cpu).unwrap()
}
