//! Perturbation encoders P1 (table of target genes) and P2 (multi-hot with metadata), and condition tokens.
//!
//! Guarantee: the control is exactly the zero vector, the null condition is a learned vector of its own, and
//! a target gene outside the vocabulary is an error, never silently the control. A combination does not
//! depend on the order of its genes. There are always at least two condition tokens that may be attended to.

use syncyte_sharding::labels::Perturbation;
use tch::{Device, Kind, Tensor};

use super::layer::{INIT_SD, Linear, Norm};
use crate::config::{Combine, PerturbationConfig, PerturbationKind};
use crate::device::moved;
use crate::model::vocabulary::{Vocabulary, VocabularyError};
use crate::params::{Init, ParamId, ParamSet, Part, Registry};

/// Slots of metadata behind the multi-hot of P2: six kinds, log dose, log time, number of targets, dose known.
pub const METADATA: i64 = 10;

/// A batch of conditions, ready for a predictor.
#[derive(Debug)]
pub struct Condition {
    /// Condition tokens `[B, C, width]`.
    pub tokens: Tensor,
    /// Which tokens may be attended to, `[B, C]` booleans.
    pub mask: Tensor,
    /// Perturbation vector `[B, width]`: exactly zero for a control.
    pub vector: Tensor,
    /// 0 for a control, 1 for everything else (the null condition too), `[B]`.
    pub perturbed: Tensor,
}

impl Condition {
    /// The condition of one row of the batch, as a batch of one.
    #[must_use]
    pub fn row(&self, index: i64) -> Self {
        let one = |t: &Tensor| t.narrow(0, index, 1);
        Self {
            tokens: one(&self.tokens),
            mask: one(&self.mask),
            vector: one(&self.vector),
            perturbed: one(&self.perturbed),
        }
    }
}

/// What is asked of the perturbation encoder for one cell.
#[derive(Clone, Copy, Debug)]
pub enum Query<'a> {
    /// A perturbation in a context, of a kind.
    Known {
        /// Perturbation, possibly the control.
        perturbation: &'a Perturbation,
        /// Name of the context.
        context: &'a str,
        /// Name of the kind of perturbation.
        kind: &'a str,
    },
    /// No condition is given (augmentation training, guidance).
    Null,
}

/// A batch of queries as indices into the vocabulary.
#[derive(Debug)]
pub struct EncodedQueries {
    /// Target genes `[B, M]`, padded with −1.
    targets: Tensor,
    /// Kind `[B]`.
    kinds: Tensor,
    /// Slot of the kind in P2's metadata, [`KINDS`]`.len()` for a kind that has none `[B]`.
    slots: Tensor,
    /// Context `[B]`.
    contexts: Tensor,
    /// 1 where the query is the null condition `[B]`.
    null: Tensor,
}

/// Names of the kinds that have a slot in P2's metadata, in lower case without hyphens.
const KINDS: [&[&str]; 6] = [
    &["knockout", "crisprko"],
    &["knockdown", "crispri"],
    &["activation", "crispra"],
    &["overexpression", "orf"],
    &["drug", "compound"],
    &["cytokine"],
];

/// Slot of a kind by its name, so that it means the same in every store; a kind of another name has none.
fn slot(kind: &str) -> i64 {
    let name = kind.to_lowercase().replace('-', "");
    KINDS.iter().position(|names| names.contains(&name.as_str())).unwrap_or(KINDS.len()) as i64
}

/// Largest number of targets of one condition.
pub const MAX_TARGETS: usize = 4;

impl EncodedQueries {
    /// Looks every query up.
    ///
    /// # Errors
    /// A target, context or kind that is not in the vocabulary, or too many targets, by name.
    pub fn new(queries: &[Query<'_>], vocabulary: &Vocabulary, device: Device) -> Result<Self, VocabularyError> {
        let (mut targets, mut kinds, mut contexts, mut null) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut slots = Vec::new();
        for query in queries {
            let mut row = [-1_i64; MAX_TARGETS];
            match query {
                Query::Null => {
                    kinds.push(0);
                    slots.push(KINDS.len() as i64);
                    contexts.push(0);
                    null.push(1.0_f32);
                }
                Query::Known { perturbation, context, kind } => {
                    if perturbation.targets.len() > MAX_TARGETS {
                        return Err(VocabularyError::TooManyTargets {
                            perturbation: perturbation.name.clone(),
                            limit: MAX_TARGETS,
                        });
                    }
                    for (slot, gene) in row.iter_mut().zip(&perturbation.targets) {
                        *slot = vocabulary.target(gene)?;
                    }
                    kinds.push(vocabulary.kind(kind)?);
                    slots.push(slot(kind));
                    contexts.push(vocabulary.context(context)?);
                    null.push(0.0);
                }
            }
            targets.extend_from_slice(&row);
        }
        let batch = queries.len() as i64;
        let there = |values: &[i64]| moved(&Tensor::from_slice(values), device);
        Ok(Self {
            targets: there(&targets).view([batch, MAX_TARGETS as i64]),
            kinds: there(&kinds),
            slots: there(&slots),
            contexts: there(&contexts),
            null: moved(&Tensor::from_slice(&null), device),
        })
    }
}

/// The perturbation encoder's modules.
#[derive(Debug)]
pub struct PerturbationEncoder {
    body: Body,
    null: ParamId,
    kind: ParamId,
    context: ParamId,
    combine: Combine,
    n_targets: i64,
}

#[derive(Debug)]
enum Body {
    P1 { table: ParamId },
    P2 { fc1: Linear, norm: Norm, fc2: Linear },
}

impl PerturbationEncoder {
    /// Declares the encoder for a vocabulary.
    pub fn new(registry: &mut Registry, config: &PerturbationConfig, vocabulary: &Vocabulary) -> Self {
        let (part, width) = (Part::Rest, config.width);
        // Cells without labels name no targets. A table keeps one row then, which nothing refers to: torch looks nothing up
        // in an empty one, not even for rows that are masked.
        let rows = |names: &[String]| names.len().max(1) as i64;
        let n_targets = rows(&vocabulary.targets);
        let table = Init::TruncatedNormal(INIT_SD);
        let body = match config.kind {
            PerturbationKind::P1 => Body::P1 {
                table: registry.plain(
                    part,
                    "perturbation.targets".into(),
                    &[n_targets, width],
                    Init::TruncatedNormal(1.0),
                ),
            },
            PerturbationKind::P2 => Body::P2 {
                fc1: Linear::new(registry, part, "perturbation.fc1", n_targets + METADATA, width),
                norm: Norm::new(registry, part, "perturbation.norm", width),
                fc2: Linear::new(registry, part, "perturbation.fc2", width, width),
            },
        };
        Self {
            body,
            null: registry.plain(part, "perturbation.null".into(), &[width], Init::TruncatedNormal(1.0)),
            kind: registry.plain(part, "perturbation.kind".into(), &[rows(&vocabulary.kinds), width], table),
            context: registry.plain(part, "perturbation.context".into(), &[rows(&vocabulary.contexts), width], table),
            combine: config.combine,
            n_targets,
        }
    }

    /// Condition tokens and vectors: targets (P1) or their MLP (P2), then kind and context.
    pub fn forward(&self, params: &ParamSet, queries: &EncodedQueries) -> Condition {
        let present = queries.targets.ge(0);
        let count = present.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
        let perturbed = count.gt(0).to_kind(Kind::Float);
        let is_null = queries.null.unsqueeze(1);
        let (mut target_tokens, target_mask) = match &self.body {
            Body::P1 { table } => {
                let rows = Tensor::embedding(&params[*table], &queries.targets.clamp_min(0), -1, false, false);
                (rows * present.to_kind(Kind::Float).unsqueeze(2), present.shallow_clone())
            }
            Body::P2 { fc1, norm, fc2 } => {
                let hot = self.multi_hot(queries, &present, &count);
                let hidden = norm.forward(params, &fc1.forward(params, &hot)).gelu("none");
                let vector = fc2.forward(params, &hidden) * perturbed.unsqueeze(1);
                (vector.unsqueeze(1), perturbed.gt(0.5).unsqueeze(1))
            }
        };
        let sum = target_tokens.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
        let vector = match (&self.body, self.combine) {
            (Body::P1 { .. }, Combine::Mean) => sum / count.clamp_min(1.0).unsqueeze(1),
            // P2 sees the whole combination at once: its one vector is nothing to average.
            _ => sum,
        };
        let null = &params[self.null] * &is_null;
        // The null condition stands in the first token's place, where a null query has no target.
        let first = target_tokens.narrow(1, 0, 1) + null.unsqueeze(1);
        let rest = target_tokens.size()[1] - 1;
        target_tokens = Tensor::cat(&[first, target_tokens.narrow(1, 1, rest)], 1);
        let first_mask = target_mask.narrow(1, 0, 1).logical_or(&is_null.gt(0.5));
        let mask = Tensor::cat(&[first_mask, target_mask.narrow(1, 1, rest)], 1);
        let kind = Tensor::embedding(&params[self.kind], &queries.kinds, -1, false, false).unsqueeze(1);
        let context = Tensor::embedding(&params[self.context], &queries.contexts, -1, false, false).unsqueeze(1);
        let always = mask.narrow(1, 0, 1).ones_like();
        Condition {
            tokens: Tensor::cat(&[target_tokens, kind, context], 1),
            mask: Tensor::cat(&[&mask, &always, &always], 1),
            vector: vector + null,
            perturbed: perturbed.maximum(&queries.null),
        }
    }

    fn multi_hot(&self, queries: &EncodedQueries, present: &Tensor, count: &Tensor) -> Tensor {
        let batch = queries.targets.size()[0];
        let options = (Kind::Float, queries.targets.device());
        let genes = Tensor::zeros([batch, self.n_targets], options).scatter_add(
            1,
            &queries.targets.clamp_min(0),
            &present.to_kind(Kind::Float),
        );
        let slots = KINDS.len() as i64;
        let kinds = Tensor::zeros([batch, slots + 1], options)
            .scatter_add(1, &queries.slots.unsqueeze(1), &Tensor::ones([batch, 1], options))
            .narrow(1, 0, slots);
        // Dose and time are not in the store yet: zero, and the "dose known" slot says so.
        let unknown = Tensor::zeros([batch, 2], options);
        let dose_known = Tensor::zeros([batch, 1], options);
        Tensor::cat(&[genes, kinds, unknown, count.unsqueeze(1), dose_known], 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary {
            genes: vec!["A".into(), "B".into()],
            targets: vec!["A".into(), "B".into(), "C".into()],
            contexts: vec!["k562".into()],
            kinds: vec!["CRISPRa".into()],
        }
    }

    fn encode(config: &PerturbationConfig, names: &[&[&str]]) -> Condition {
        let vocabulary = vocabulary();
        let mut registry = Registry::default();
        let encoder = PerturbationEncoder::new(&mut registry, config, &vocabulary);
        let params = ParamSet::initial(&registry.layout(), 1, Device::Cpu);
        let perturbations: Vec<_> =
            names.iter().map(|genes| Perturbation::of(genes.iter().map(|g| (*g).to_owned()))).collect();
        let mut queries: Vec<_> = perturbations
            .iter()
            .map(|perturbation| Query::Known { perturbation, context: "k562", kind: "CRISPRa" })
            .collect();
        queries.push(Query::Null);
        encoder.forward(&params, &EncodedQueries::new(&queries, &vocabulary, Device::Cpu).unwrap())
    }

    #[test]
    fn control_is_zero_null_is_not_and_sums_add_where_means_halve() {
        let sum = encode(&PerturbationConfig::default(), &[&[], &["A"], &["C"], &["C", "A"]]);
        assert_eq!(sum.vector.get(0).abs().max().double_value(&[]), 0.0);
        assert!(sum.vector.get(4).abs().max().double_value(&[]) > 0.0);
        let added = sum.vector.get(1) + sum.vector.get(2);
        assert!((&added - sum.vector.get(3)).abs().max().double_value(&[]) < 1e-6);
        let mean = encode(
            &PerturbationConfig { combine: Combine::Mean, ..PerturbationConfig::default() },
            &[&[], &["A"], &["C"], &["C", "A"]],
        );
        assert!((added / 2.0 - mean.vector.get(3)).abs().max().double_value(&[]) < 1e-6);
        assert_eq!(Vec::<f32>::try_from(&sum.perturbed).unwrap(), [0.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn every_condition_attends_to_two_tokens_or_more() {
        for kind in [PerturbationKind::P1, PerturbationKind::P2] {
            let config = PerturbationConfig { kind, ..PerturbationConfig::default() };
            let condition = encode(&config, &[&[], &["A"], &["A", "B"]]);
            let counts = condition.mask.sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64);
            assert!(counts.min().int64_value(&[]) >= 2, "{kind:?}: {counts:?}");
        }
    }

    #[test]
    fn p2_has_the_specified_number_of_parameters() {
        let mut registry = Registry::default();
        let vocabulary = Vocabulary { targets: (0..20_000).map(|i| format!("g{i}")).collect(), ..vocabulary() };
        let config = PerturbationConfig { kind: PerturbationKind::P2, ..PerturbationConfig::default() };
        let _ = PerturbationEncoder::new(&mut registry, &config, &vocabulary);
        // The null, kind and context vectors come on top of the specified MLP.
        assert_eq!(registry.layout().n_parameters(), 2_578_176 + 3 * 128);
    }

    #[test]
    fn a_kind_has_the_slot_of_its_name() {
        for (name, wanted) in [("knockout", 0), ("CRISPRi", 1), ("CRISPRa", 2), ("Over-expression", 3), ("none", 6)] {
            assert_eq!(slot(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_vocabulary_without_names_takes_the_control_and_the_null_condition() {
        let none = Vocabulary { genes: vec!["A".into()], ..Vocabulary::default() };
        let some = Vocabulary { targets: Vec::new(), ..vocabulary() };
        let control = Perturbation::control();
        let known = Query::Known { perturbation: &control, context: "k562", kind: "CRISPRa" };
        for kind in [PerturbationKind::P1, PerturbationKind::P2] {
            let config = PerturbationConfig { kind, ..PerturbationConfig::default() };
            for (vocabulary, queries) in [(&none, vec![Query::Null; 2]), (&some, vec![Query::Null, known])] {
                let mut registry = Registry::default();
                let encoder = PerturbationEncoder::new(&mut registry, &config, vocabulary);
                let params = ParamSet::initial(&registry.layout(), 1, Device::Cpu);
                let queries = EncodedQueries::new(&queries, vocabulary, Device::Cpu).unwrap();
                let condition = encoder.forward(&params, &queries);
                assert_eq!(
                    condition.vector.get(0),
                    *params.named().find(|(name, _)| *name == "perturbation.null").unwrap().1
                );
                assert_eq!(condition.tokens.isfinite().all().int64_value(&[]), 1, "{kind:?}");
            }
        }
    }

    #[test]
    fn an_unknown_target_is_an_error_and_not_the_control() {
        let perturbation = Perturbation::of(["ZZZ".to_owned()]);
        let query = [Query::Known { perturbation: &perturbation, context: "k562", kind: "CRISPRa" }];
        let error = EncodedQueries::new(&query, &vocabulary(), Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("ZZZ"), "{error}");
    }
}
