use proptest::prelude::*;

use super::{Alignment, AlignmentError, Duplicates, Measurement};
use crate::trial;

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(Into::into).collect()
}

fn align(datasets: &[(&str, &str)], duplicates: Duplicates) -> Result<Alignment, AlignmentError> {
    let lists: Vec<(&str, Vec<String>)> = datasets.iter().map(|(name, genes)| (*name, names(genes))).collect();
    let lists: Vec<(&str, &[String])> = lists.iter().map(|(name, genes)| (*name, genes.as_slice())).collect();
    Alignment::new(&lists, duplicates)
}

#[test]
fn the_vocabulary_is_the_union_with_the_intersection_in_front() {
    let aligned =
        align(&[("one", "Tp53 zeb1 ENSG00000000123.4"), ("two", "ENSG00000000123.7 abl1 TP53")], Duplicates::Refuse)
            .unwrap();
    let vocabulary = aligned.vocabulary();
    assert_eq!(vocabulary.names(), names("ENSG00000000123 TP53 ABL1 ZEB1"));
    assert_eq!((vocabulary.n_core(), vocabulary.len()), (2, 4));
    assert_eq!(
        (vocabulary.id("tp53"), vocabulary.id("ENSG00000000123.1"), vocabulary.id("MYC")),
        (Some(1), Some(0), None)
    );
    assert_eq!(aligned.datasets()[0].ids(), [1, 3, 0]);
    assert_eq!(aligned.datasets()[1].ids(), [0, 2, 1]);
    assert_eq!(aligned.datasets()[1].measured().ids().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn measured_zero_and_not_measured_are_told_apart_per_row() {
    let aligned = align(&[("one", "A B"), ("two", "B C")], Duplicates::Refuse).unwrap();
    let batch = aligned.masks(&[1, 0]);
    let state = |row: usize, name: &str, value| batch.row(row).read(aligned.vocabulary().id(name).unwrap(), value);
    assert_eq!(state(0, "A", 0.0), Measurement::NotMeasured);
    assert_eq!(state(0, "B", 0.0), Measurement::Zero);
    assert_eq!(state(1, "A", 0.0), Measurement::Zero);
    assert_eq!(state(1, "A", 2.5), Measurement::Value(2.5));
    assert_eq!(batch.common().unwrap().ids().collect::<Vec<_>>(), [0]);
    assert!(aligned.masks(&[]).common().is_none());
}

#[test]
fn what_is_written_in_the_place_of_a_missing_gene_has_no_influence() {
    let aligned = align(&[("one", "A B"), ("two", "B C")], Duplicates::Refuse).unwrap();
    let mask = aligned.datasets()[0].measured();
    let seen = |noise: f32| {
        let missing = aligned.vocabulary().id("C").unwrap() as usize;
        let mut row = vec![1.0, 2.0, 3.0];
        row[missing] = noise;
        let states: Vec<Measurement> = (0..3).map(|id| mask.read(id, row[id as usize])).collect();
        mask.clear_missing(&mut row);
        (states, row)
    };
    assert_eq!(seen(0.0), seen(1e30));
}

#[test]
fn columns_that_are_one_gene_are_refused_by_name_or_added_up() {
    let error = align(&[("norman", "tp53 MYC TP53")], Duplicates::Refuse).unwrap_err().to_string();
    assert!(error.contains("norman: columns `tp53` and `TP53` are both gene TP53"), "{error}");
    let aligned = align(&[("norman", "tp53 MYC TP53")], Duplicates::Sum).unwrap();
    let rows = trial::csr(&[vec![1.0, 2.0, 4.0], vec![0.0, 0.0, 3.0], vec![0.0; 3]]);
    let translated = aligned.datasets()[0].translate(&rows);
    assert_eq!(translated, trial::csr(&[vec![2.0, 5.0], vec![0.0, 3.0], vec![0.0; 2]]));
}

#[test]
fn data_sets_without_a_common_gene_are_refused_with_their_spelling() {
    let error = align(&[("a", "ENSG00000000001 ENSG00000000002"), ("b", "TP53")], Duplicates::Refuse).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("a: Ensembl identifiers such as `ENSG00000000001`; b: symbols such as `TP53`"), "{text}");
    assert_eq!(align(&[], Duplicates::Refuse).unwrap_err(), AlignmentError::Empty);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ids_do_not_depend_on_the_order_of_data_sets_or_columns(
        sets in prop::collection::vec(prop::collection::hash_set(0_u32..150, 0..90), 1..5),
        turn in 0_usize..5,
    ) {
        let list = |set: &std::collections::HashSet<u32>| -> Vec<String> {
            std::iter::once("ALL".to_owned()).chain(set.iter().map(|gene| format!("gene{gene}"))).collect()
        };
        let straight: Vec<Vec<String>> = sets.iter().map(list).collect();
        let mut turned: Vec<Vec<String>> =
            straight.iter().map(|names| names.iter().rev().map(|name| name.to_uppercase()).collect()).collect();
        turned.rotate_left(turn % sets.len());
        let align = |lists: &[Vec<String>]| {
            let lists: Vec<(&str, &[String])> = lists.iter().map(|names| ("set", names.as_slice())).collect();
            Alignment::new(&lists, Duplicates::Refuse).unwrap()
        };
        let (straight_aligned, turned) = (align(&straight), align(&turned));
        prop_assert_eq!(straight_aligned.vocabulary(), turned.vocabulary());
        let core = straight_aligned.vocabulary().n_core() as u32;
        for (set, map) in straight.iter().zip(straight_aligned.datasets()) {
            prop_assert_eq!(map.measured().count(), set.len());
            prop_assert!((0..core).all(|id| map.measured().contains(id)));
        }
        let in_all = |id: u32| straight_aligned.datasets().iter().all(|map| map.measured().contains(id));
        prop_assert!((core..straight_aligned.vocabulary().len() as u32).all(|id| !in_all(id)));
    }
}
