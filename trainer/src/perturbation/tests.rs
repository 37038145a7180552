use syncyte_sharding::labels::Perturbation;
use tch::Device;

use super::*;
use crate::batch::query::Query;
use crate::batch::vocabulary::Vocabulary;
use crate::params::{Group, Registry};

type Kinds = Choice<dyn PerturbationEncoder>;

const BOTH: [&str; 2] = ["gene_embedding", "one_hot_mlp"];

fn vocabulary() -> Vocabulary {
    Vocabulary {
        genes: vec!["A".into(), "B".into()],
        targets: vec!["A".into(), "B".into(), "C".into()],
        contexts: vec!["k562".into()],
        kinds: vec!["CRISPRa".into()],
    }
}

fn declared(choice: &Kinds, vocabulary: &Vocabulary) -> (ConditionEncoder, Registry) {
    let mut registry = Registry::default();
    let mut declare = Declare { registry: &mut registry, group: Group::new("predictor"), vocabulary };
    let encoder = ConditionEncoder::new(choice, &mut declare).unwrap();
    (encoder, registry)
}

fn conditions(choice: &Kinds, vocabulary: &Vocabulary, queries: &[Query<'_>]) -> (Condition, ParamSet) {
    let (encoder, registry) = declared(choice, vocabulary);
    let params = ParamSet::initial(&registry.layout(), 1, Device::Cpu);
    (encoder.forward(&params, &EncodedQueries::new(queries, vocabulary, Device::Cpu).unwrap()), params)
}

/// The conditions of some combinations, then the null condition.
fn encode(choice: &Kinds, names: &[&[&str]]) -> Condition {
    let perturbations: Vec<_> =
        names.iter().map(|genes| Perturbation::of(genes.iter().map(|g| (*g).to_owned()))).collect();
    let mut queries: Vec<_> = perturbations
        .iter()
        .map(|perturbation| Query::Known { perturbation, context: "k562", kind: "CRISPRa" })
        .collect();
    queries.push(Query::Null);
    conditions(choice, &vocabulary(), &queries).0
}

#[test]
fn control_is_zero_null_is_not_and_sums_add_where_means_halve() {
    let names: [&[&str]; 4] = [&[], &["A"], &["C"], &["C", "A"]];
    let sum = encode(&Kinds::default(), &names);
    assert_eq!(sum.vector.get(0).abs().max().double_value(&[]), 0.0);
    assert!(sum.vector.get(4).abs().max().double_value(&[]) > 0.0);
    let added = sum.vector.get(1) + sum.vector.get(2);
    assert!((&added - sum.vector.get(3)).abs().max().double_value(&[]) < 1e-6);
    let mean = GeneEmbedding { combine: Combine::Mean, ..GeneEmbedding::default() };
    let mean = encode(&Kinds::with("gene_embedding", &mean).unwrap(), &names);
    assert!((added / 2.0 - mean.vector.get(3)).abs().max().double_value(&[]) < 1e-6);
    assert_eq!(Vec::<f32>::try_from(&sum.perturbed).unwrap(), [0.0, 1.0, 1.0, 1.0, 1.0]);
}

#[test]
fn every_condition_attends_to_two_tokens_or_more() {
    for kind in BOTH {
        let choice = Kinds::of_kind(kind).unwrap();
        let condition = encode(&choice, &[&[], &["A"], &["A", "B"]]);
        let counts = condition.mask.sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64);
        assert!(counts.min().int64_value(&[]) >= 2, "{kind}: {counts:?}");
        let (encoder, _) = declared(&choice, &vocabulary());
        assert_eq!(condition.tokens.size(), [4, encoder.tokens() as i64, encoder.width()], "{kind}");
    }
}

#[test]
fn the_one_hot_mlp_has_the_specified_number_of_parameters_and_counts_each_weight_once() {
    let vocabulary = Vocabulary { targets: (0..20_000).map(|i| format!("g{i}")).collect(), ..vocabulary() };
    let (encoder, registry) = declared(&Kinds::of_kind("one_hot_mlp").unwrap(), &vocabulary);
    // The null, kind and context vectors come on top of the specified MLP.
    assert_eq!(registry.layout().n_parameters(), 2_578_176 + 3 * 128);
    // 20 010 * 128 + 128 * 128
    assert_eq!(encoder.macs(), 2_577_664);
}

#[test]
fn a_vocabulary_without_names_takes_the_control_and_the_null_condition() {
    let none = Vocabulary { genes: vec!["A".into()], ..Vocabulary::default() };
    let some = Vocabulary { targets: Vec::new(), ..vocabulary() };
    let control = Perturbation::control();
    let known = Query::Known { perturbation: &control, context: "k562", kind: "CRISPRa" };
    for kind in BOTH {
        for (vocabulary, queries) in [(&none, vec![Query::Null; 2]), (&some, vec![Query::Null, known])] {
            let (condition, params) = conditions(&Kinds::of_kind(kind).unwrap(), vocabulary, &queries);
            let null = params.named().find(|(name, _)| *name == "perturbation.null").unwrap().1;
            assert_eq!(condition.vector.get(0), *null);
            assert_eq!(condition.tokens.isfinite().all().int64_value(&[]), 1, "{kind}");
        }
    }
}
