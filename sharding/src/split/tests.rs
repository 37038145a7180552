use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;

use super::{Fold, Scheme, Split, SplitError, SplitOptions};
use crate::labels::{Labels, Perturbation};
use crate::philox::{Philox, Purpose};

/// Labels with the given cells of (condition, context); conditions are gene lists, empty for control.
fn labels_of(cells: &[(Vec<u32>, u32)], n_contexts: u32) -> Labels {
    let condition = |genes: &Vec<u32>| Perturbation::of(genes.iter().map(|gene| format!("G{gene:02}")));
    let mut perturbations: BTreeSet<(String, Perturbation)> =
        cells.iter().map(|(genes, _)| condition(genes)).map(|p| (p.name.clone(), p)).collect();
    perturbations.retain(|(_, perturbation)| !perturbation.is_control());
    let mut table = vec![Perturbation::control()];
    table.extend(perturbations.into_iter().map(|(_, perturbation)| perturbation));
    let index = |genes: &Vec<u32>| table.iter().position(|p| *p == condition(genes)).unwrap() as u32;
    Labels {
        perturbation: cells.iter().map(|(genes, _)| index(genes)).collect(),
        contexts: (0..n_contexts).map(|context| format!("line{context}")).collect(),
        context: cells.iter().map(|&(_, context)| context).collect(),
        batches: vec!["all".into()],
        batch: vec![0; cells.len()],
        kinds: vec!["unknown".into()],
        kind: vec![0; cells.len()],
        perturbations: table,
    }
}

/// Singles of 12 genes, many doubles, some triples and controls in two contexts, in random order.
fn random_labels(seed: u64) -> Labels {
    let mut random = Philox::new(seed, Purpose::Trial, 0, 0);
    let mut conditions: Vec<Vec<u32>> = (0..12).map(|gene| vec![gene]).collect();
    conditions.extend((0..12).flat_map(|a| (a + 1..12).map(move |b| vec![a, b])).filter(|_| random.below(3) == 0));
    conditions.extend([vec![0, 1, 2], vec![3, 4, 5]]);
    // Gene 12 is never perturbed alone.
    conditions.extend([vec![0, 12], vec![5, 12], vec![9, 12]]);
    let mut cells = Vec::new();
    for context in 0..2 {
        cells.extend((0..40 + random.below(20)).map(|_| (Vec::new(), context)));
        for condition in &conditions {
            cells.extend((0..8 + random.below(10)).map(|_| (condition.clone(), context)));
        }
    }
    random.shuffle(&mut cells);
    labels_of(&cells, 2)
}

fn options(scheme: Scheme, seed: u64) -> SplitOptions {
    let hold_out = (scheme == Scheme::Context).then(|| "line1".to_owned());
    SplitOptions { scheme, seed, hold_out, shares: None }
}

fn make(labels: &Labels, scheme: Scheme, seed: u64) -> Split {
    Split::make(labels, "data", &options(scheme, seed)).unwrap()
}

/// Distinct target sets of a fold's perturbed cells.
fn conditions_in(labels: &Labels, split: &Split, fold: Fold) -> BTreeSet<Vec<String>> {
    let rows = split.rows(fold);
    let targets =
        rows.iter().map(|&row| labels.perturbations[labels.perturbation[row as usize] as usize].targets.clone());
    targets.filter(|targets| !targets.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_folds_partition_the_cells_in_every_scheme(seed: u64) {
        let labels = random_labels(seed);
        for scheme in Scheme::ALL {
            let split = make(&labels, scheme, seed);
            let mut rows: Vec<u64> = Fold::ALL.iter().flat_map(|&fold| split.rows(fold)).collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..labels.n_cells() as u64).collect::<Vec<_>>());
            for fold in Fold::ALL {
                prop_assert!(split.rows(fold).iter().all(|&row| split.fold_of(row as usize) == fold));
                prop_assert_eq!(split.counts(fold).cells, split.rows(fold).len() as u64);
                let conditions = conditions_in(&labels, &split, fold).len();
                prop_assert_eq!(split.counts(fold).conditions, conditions as u64);
                prop_assert_eq!(split.perturbations(fold).len(), conditions);
            }
        }
    }

    #[test]
    fn cells_are_split_70_15_15_in_every_context_and_condition(seed: u64) {
        let labels = random_labels(seed);
        let split = make(&labels, Scheme::Cells, seed);
        prop_assert!(strata(&labels, &split).values().all(is_70_15_15));
    }

    #[test]
    fn every_scheme_splits_the_controls_of_every_context_70_15_15(seed: u64) {
        let labels = random_labels(seed);
        for scheme in Scheme::ALL {
            let strata = strata(&labels, &make(&labels, scheme, seed));
            let mut controls = strata.iter().filter(|((_, perturbation), _)| *perturbation == 0);
            prop_assert!(controls.all(|(_, counts)| is_70_15_15(counts)), "{}", scheme);
        }
    }

    #[test]
    fn a_held_out_target_is_in_no_training_label_alone_or_combined(seed: u64) {
        let labels = random_labels(seed);
        let split = make(&labels, Scheme::Perturbations, seed);
        let train: BTreeSet<String> = conditions_in(&labels, &split, Fold::Train).into_iter().flatten().collect();
        for fold in [Fold::Val, Fold::Test] {
            for targets in conditions_in(&labels, &split, fold) {
                prop_assert!(targets.iter().any(|gene| !train.contains(gene)), "{:?}", targets);
                prop_assert!(targets.len() > 1 || !train.contains(&targets[0]));
            }
        }
        let val: BTreeSet<String> = conditions_in(&labels, &split, Fold::Val).into_iter().flatten().collect();
        let tested_alone = conditions_in(&labels, &split, Fold::Test).into_iter().filter(|t| t.len() == 1).flatten();
        for gene in tested_alone {
            prop_assert!(!train.contains(&gene) && !val.contains(&gene), "{}", gene);
        }
    }

    #[test]
    fn doubles_train_on_all_singles_and_half_the_doubles_and_classes_match_a_recount(seed: u64) {
        let labels = random_labels(seed);
        let split = make(&labels, Scheme::Doubles, seed);
        let [train, val, test] = Fold::ALL.map(|fold| conditions_in(&labels, &split, fold));
        prop_assert!(val.iter().chain(&test).all(|targets| targets.len() > 1));
        let doubles = |fold: &BTreeSet<Vec<String>>| fold.iter().filter(|targets| targets.len() == 2).count();
        prop_assert_eq!(doubles(&train), (doubles(&train) + doubles(&val) + doubles(&test)).div_ceil(2));
        prop_assert!(doubles(&test) - doubles(&val) <= 1);
        for (fold, held_out) in [(Fold::Val, &val), (Fold::Test, &test)] {
            let mut classes = [0; 3];
            for targets in held_out.iter().filter(|targets| targets.len() == 2) {
                classes[targets.iter().filter(|&gene| train.contains(&vec![gene.clone()])).count()] += 1;
            }
            prop_assert_eq!(split.seen_classes(fold), classes);
        }
        prop_assert!(train.is_disjoint(&val) && train.is_disjoint(&test) && val.is_disjoint(&test));
    }

    #[test]
    fn a_held_out_context_trains_with_control_cells_only(seed: u64) {
        let labels = random_labels(seed);
        let split = make(&labels, Scheme::Context, seed);
        for cell in (0..labels.n_cells()).filter(|&cell| !labels.is_control(cell)) {
            prop_assert_eq!(split.fold_of(cell) == Fold::Test, labels.context[cell] == 1);
        }
        prop_assert!(split.rows(Fold::Train).iter().any(|&row| labels.context[row as usize] == 1));
    }
}

fn strata(labels: &Labels, split: &Split) -> BTreeMap<(u32, u32), [u64; 3]> {
    let mut strata: BTreeMap<(u32, u32), [u64; 3]> = BTreeMap::new();
    for cell in 0..labels.n_cells() {
        let counts = strata.entry((labels.context[cell], labels.perturbation[cell])).or_default();
        counts[split.fold_of(cell) as usize] += 1;
    }
    strata
}

fn is_70_15_15(counts: &[u64; 3]) -> bool {
    let share = (0.15 * counts.iter().sum::<u64>() as f64).round() as u64;
    counts[1] == share && counts[2] == share
}

#[test]
fn a_split_is_a_function_of_its_seed() {
    let labels = random_labels(1);
    for scheme in Scheme::ALL {
        assert_eq!(make(&labels, scheme, 42), make(&labels, scheme, 42));
        assert_ne!(make(&labels, scheme, 42).rows(Fold::Test), make(&labels, scheme, 43).rows(Fold::Test));
    }
    assert_eq!(SplitOptions::new(Scheme::Cells).seed, 42);
}

#[test]
fn a_saved_split_comes_back_whole() {
    let (labels, folder) = (random_labels(2), tempfile::tempdir().unwrap());
    for scheme in Scheme::ALL {
        let (split, path) = (make(&labels, scheme, 7), folder.path().join(format!("{scheme}.json")));
        split.save(&path).unwrap();
        assert_eq!(Split::load_for(&path, Path::new("s.zarr"), &labels, "data").unwrap(), split);
        assert_eq!(split.hash().len(), 64);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn a_file_of_another_store_changed_or_of_unknown_kind_is_refused_by_name() {
    let (labels, folder) = (random_labels(3), tempfile::tempdir().unwrap());
    let path = folder.path().join("split.json");
    make(&labels, Scheme::Doubles, 7).save(&path).unwrap();
    let load = |hash: &str| Split::load_for(&path, Path::new("s.zarr"), &labels, hash).unwrap_err().to_string();
    let message = load("other");
    assert!(message.contains("data hash data,") && message.contains("s.zarr has other"), "{message}");

    let text = std::fs::read_to_string(&path).unwrap();
    let rewrite = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        load("data")
    };
    assert!(rewrite("\"seed\": 7", "\"seed\": 8").contains("was changed after it was made"));
    let folds_at = text.find("\"folds\": \"").unwrap() + 10;
    let letter = &text[folds_at..=folds_at];
    let other = if letter == "A" { "B" } else { "A" };
    assert!(rewrite(&format!("\"folds\": \"{letter}"), &format!("\"folds\": \"{other}")).contains("was changed"));
    assert!(rewrite("\"doubles\"", "\"triples\"").contains("unknown split scheme `triples`; known: cells"));
    assert!(rewrite("\"format\": 1", "\"format\": 9").contains("format 9"));
    assert!(rewrite("\"seed\"", "\"sed\"").contains("unknown field `sed`"));
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(load("data").contains("not a split file"));
    std::fs::remove_file(&path).unwrap();
    assert!(load("data").contains("split.json"));
}

#[test]
fn tables_that_disagree_with_the_labels_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("split.json");
    let mut labels = random_labels(4);
    make(&labels, Scheme::Cells, 7).save(&path).unwrap();
    let other = (1..labels.n_cells()).find(|&cell| labels.perturbation[cell] != labels.perturbation[0]).unwrap();
    labels.perturbation[0] = labels.perturbation[other];
    let error = Split::load_for(&path, Path::new("s"), &labels, "data").unwrap_err();
    assert!(error.to_string().contains("disagrees"), "{error}");
}

#[test]
fn a_rule_that_leaves_a_fold_empty_is_named_with_its_fix() {
    let message = |cells: &[(Vec<u32>, u32)], scheme| {
        Split::make(&labels_of(cells, 2), "data", &options(scheme, 1)).unwrap_err().to_string()
    };
    let singles: Vec<(Vec<u32>, u32)> = (0..60).map(|cell| (vec![cell % 3], cell % 2)).collect();
    let doubles = message(&singles, Scheme::Doubles);
    assert!(
        doubles.contains("empty split: scheme `doubles`") && doubles.contains("--scheme perturbations"),
        "{doubles}"
    );
    let genes = message(&singles, Scheme::Perturbations);
    assert!(
        genes.contains("no perturbed cell in val") && genes.contains("at least 4 distinct target genes"),
        "{genes}"
    );
    assert!(message(&singles[..3], Scheme::Cells).contains("at least 4 cells"));
    let one_sided: Vec<(Vec<u32>, u32)> = (0..60).map(|cell| (vec![cell % 3], 0)).collect();
    assert!(message(&one_sided, Scheme::Context).contains("no perturbed cell in test"));
}

#[test]
fn a_store_without_perturbations_can_be_split_by_cells() {
    let labels = labels_of(&vec![(Vec::new(), 0); 40], 1);
    let split = make(&labels, Scheme::Cells, 1);
    assert_eq!(Fold::ALL.map(|fold| split.counts(fold).cells), [28, 6, 6]);
    assert!(Split::make(&labels, "data", &options(Scheme::Perturbations, 1)).is_err());
}

#[test]
fn a_held_out_context_has_to_be_given_and_known() {
    let labels = random_labels(5);
    let message = |scheme, hold_out: Option<&str>, labels: &Labels| {
        let hold_out = hold_out.map(str::to_owned);
        let options = SplitOptions { seed: 1, hold_out, ..SplitOptions::new(scheme) };
        Split::make(labels, "data", &options).unwrap_err().to_string()
    };
    assert!(message(Scheme::Context, None, &labels).contains("line0, line1"));
    assert!(message(Scheme::Context, Some("line7"), &labels).contains("no context `line7`"));
    assert!(message(Scheme::Cells, Some("line1"), &labels).contains("no meaning for scheme `cells`"));
    let one = labels_of(&[(vec![], 0), (vec![1], 0)], 1);
    assert!(message(Scheme::Context, Some("line0"), &one).contains("needs two contexts"));
}

#[test]
fn a_perturbation_the_split_lacks_or_holds_out_is_named_with_near_ones() {
    let labels = random_labels(6);
    let split = make(&labels, Scheme::Perturbations, 1);
    let absent = split.check_trained("g3").unwrap_err().to_string();
    assert!(absent.contains("`g3` is absent") && absent.contains("`G03`"), "{absent}");
    assert!(split.check_trained("zzz").unwrap_err().to_string().contains("none of its"));
    let held_out = split.perturbations(Fold::Test)[0].to_owned();
    assert!(matches!(split.check_trained(&held_out), Err(SplitError::NotTrained { .. })));
    let doubles = make(&labels, Scheme::Doubles, 1);
    assert!(doubles.check_trained("control").is_ok() && doubles.check_trained("G03").is_ok());
    assert_eq!(doubles.condition("G12+G00").unwrap(), doubles.condition("G00+G12").unwrap());
}

#[test]
fn the_rules_say_what_they_hold_out() {
    let split = make(&random_labels(7), Scheme::Context, 1);
    assert!(split.rule().contains("context `line1`"));
    assert_eq!((split.scheme(), split.hold_out()), (Scheme::Context, Some("line1")));
    assert!("dataset".parse::<Scheme>().is_err());
}

#[test]
fn shares_decide_the_sizes_of_the_folds_in_every_scheme() {
    let labels = random_labels(8);
    let shares = |text: &str| Some(text.parse().unwrap());
    for scheme in Scheme::ALL {
        let with = |shares| Split::make(&labels, "data", &SplitOptions { shares, ..options(scheme, 1) }).unwrap();
        let (usual, half) = (with(None), with(shares("50/30/20")));
        assert!(half.rule().contains("50/30/20") && usual.hash() != half.hash(), "{}", half.rule());
        for (stratum, counts) in strata(&labels, &half).iter().filter(|((_, perturbation), _)| *perturbation == 0) {
            let n = counts.iter().sum::<u64>() as f64;
            assert_eq!(counts[1..], [(0.3 * n).round() as u64, (0.2 * n).round() as u64], "{scheme} {stratum:?}");
        }
        // Doubles are halved where nothing is said.
        assert_eq!(usual.rule() == with(shares("70/15/15")).rule(), scheme != Scheme::Doubles);
        assert_eq!(usual.rows(Fold::Test) == with(shares("70/15/15")).rows(Fold::Test), scheme != Scheme::Doubles);
    }
    let doubles =
        Split::make(&labels, "data", &SplitOptions { shares: shares("80/10/10"), ..options(Scheme::Doubles, 1) });
    let doubles = doubles.unwrap();
    let count = |fold| conditions_in(&labels, &doubles, fold).iter().filter(|targets| targets.len() == 2).count();
    let n = (count(Fold::Train) + count(Fold::Val) + count(Fold::Test)) as f64;
    assert_eq!([count(Fold::Val), count(Fold::Test)], [(0.1 * n).round() as usize; 2]);
}

#[test]
fn the_folds_of_a_column_are_taken_as_they_are_and_what_names_none_is_listed() {
    let labels = random_labels(9);
    let words = [["train", "Training"], ["valid", "VAL"], ["test", "held-out"]];
    let mut random = Philox::new(9, Purpose::Trial, 1, 0);
    let folds: Vec<Fold> = (0..labels.n_cells()).map(|_| Fold::ALL[random.below(3) as usize]).collect();
    let mut values: Vec<Option<String>> =
        folds.iter().enumerate().map(|(cell, &fold)| Some(words[fold as usize][cell % 2].to_owned())).collect();
    let split = Split::of_values(&labels, "data", "split", &values).unwrap();
    assert!(folds.iter().enumerate().all(|(cell, &fold)| split.fold_of(cell) == fold));
    assert_eq!(split.rule(), "the folds are those of the obs column `split`");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("split.json");
    split.save(&path).unwrap();
    assert_eq!(Split::load_for(&path, Path::new("s.zarr"), &labels, "data").unwrap(), split);
    assert!(Split::make(&labels, "data", &SplitOptions::new(Scheme::Column)).is_err());

    let refused = |values: &[Option<String>], parts: &[&str]| {
        let message = Split::of_values(&labels, "data", "split", values).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in {message}");
        }
    };
    let mut without = values.clone();
    for (cell, value) in without.iter_mut().enumerate().filter(|(cell, _)| labels.is_control(*cell)) {
        *value = Some(["train", "val"][cell % 2].into());
    }
    refused(&without, &["no control cell to test", "--scheme"]);
    let never: Vec<Option<String>> = values.iter().map(|value| value.clone().filter(|v| v != "VAL")).collect();
    refused(&never, &["`(missing)` in column `split`", "held-out (", "train, val and test"]);
    values[3] = Some("fold1".into());
    refused(&values, &["`fold1` in column `split`", "fold1 (1)"]);
    refused(&vec![Some("train".into()); labels.n_cells()], &["no perturbed cell in val", "--scheme"]);
}
