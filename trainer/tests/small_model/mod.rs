//! A small model, its conditions and its cells, all from a seed.

use syncyte_sharding::labels::Perturbation;
use syncyte_sharding::philox::{Philox, Purpose};
use syncyte_trainer::batch::query::{EncodedQueries, Query};
use syncyte_trainer::batch::view::View;
use syncyte_trainer::batch::vocabulary::Vocabulary;
use syncyte_trainer::component::Choice;
use syncyte_trainer::config::{Config, ModelConfig};
use syncyte_trainer::encoder::GeneMlp;
use syncyte_trainer::loss::{Branch, Loss, Mse, Rows, Vicreg};
use syncyte_trainer::params::ParamSet;
use syncyte_trainer::perturbation::{Combine, GeneEmbedding, OneHotMlp};
use syncyte_trainer::predictor::{CrossAttention, Mlp};
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

/// Cells as the encoder reads them.
pub(crate) fn view(cells: &Tensor) -> View {
    View::Dense(cells.shallow_clone())
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

/// A model of a few thousand parameters, with more than one of everything, of these kinds of predictor and perturbation
/// encoder.
pub(crate) fn config(predictor: &str, perturbation: &str) -> ModelConfig {
    let encoder = GeneMlp { hidden: vec![20, 12], tokens: 3, width: 8, depth: 2, heads: 2, ..GeneMlp::default() };
    ModelConfig {
        residual: false,
        pointer: None,
        encoder: Choice::with("gene_mlp", &encoder).unwrap(),
        perturbation: match perturbation {
            "one_hot_mlp" => Choice::with(perturbation, &OneHotMlp { width: 6 }),
            _ => Choice::with(perturbation, &GeneEmbedding { width: 6, ..GeneEmbedding::default() }),
        }
        .unwrap(),
        predictor: match predictor {
            "mlp" => Choice::with(predictor, &Mlp { hidden: 10 }),
            _ => Choice::with(predictor, &CrossAttention { depth: 2, heads: 2 }),
        }
        .unwrap(),
    }
}

/// The same with effects that are averaged over the targets of a combination.
pub(crate) fn averaging(mut config: ModelConfig) -> ModelConfig {
    config.perturbation = Choice::with("gene_embedding", &GeneEmbedding { width: 6, combine: Combine::Mean }).unwrap();
    config
}

/// The losses of a paper: `default` (ours), `s0` or `s1` of the sources.
pub(crate) fn losses(preset: &str) -> Vec<Choice<dyn Loss>> {
    let vicreg = |settings: &Vicreg| Choice::with("vicreg", settings).unwrap();
    let mse = |weight| Choice::with("mse", &Mse { weight }).unwrap();
    match preset {
        "s0" => vec![
            mse(25.0),
            vicreg(&Vicreg {
                variance: 25.0,
                covariance: 1.0,
                branches: vec![Branch::Prediction, Branch::Target],
                rows: Rows::Tokens,
                mean: false,
            }),
        ],
        "s1" => vec![
            mse(1.0),
            vicreg(&Vicreg {
                variance: 0.1,
                covariance: 0.1 * 0.04,
                branches: vec![Branch::Prediction],
                rows: Rows::Cells,
                mean: true,
            }),
        ],
        _ => Config::default().objective.losses,
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
