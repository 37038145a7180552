//! Promises of the choice of genes: scanpy's scores, the training fold alone, no order but that of the columns.

use std::path::Path;

use serde::Deserialize;

use super::hvg::scores;
use super::{Flavour, GeneSelection, GenesError, HvgOptions, hvg};
use crate::csr::Csr;
use crate::labels::Labels;
use crate::philox::{Philox, Purpose};
use crate::split::{Fold, Scheme, Split, SplitError, SplitOptions};
use crate::store::{CellStore, ValueKind};
use crate::trial::{self, Memory};

const FLAVOURS: [Flavour; 3] = [Flavour::Seurat, Flavour::SeuratV3, Flavour::LogVariance];

#[derive(Deserialize)]
struct Golden {
    top: usize,
    counts: Vec<Vec<f32>>,
    seurat: Vec<Option<f64>>,
    seurat_top: Vec<usize>,
    seurat_v3: Vec<Option<f64>>,
    seurat_v3_top: Vec<usize>,
    seurat_v3_interpolated_top: Vec<usize>,
    log_variance: Vec<Option<f64>>,
}

fn golden() -> Golden {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/oracle/fixtures/variable_genes.json"));
    serde_json::from_str(text).unwrap()
}

const GENES: usize = 300;
/// Every fifteenth gene varies more than the others.
const PLANTED: usize = 15;

/// Counts of genes of means 20 to 150, in no order; the planted ones vary two and a half times as much as the others.
fn planted(n_cells: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Philox::new(seed, Purpose::Trial, 0, 0);
    let mut count = |gene: usize| {
        let mean = 20.0 * ((gene * 77 % GENES) as f64 / GENES as f64 * 2.0).exp();
        let spread = mean.sqrt() * if gene.is_multiple_of(PLANTED) { 2.5 } else { 1.0 };
        (mean + spread * random.normal()).round().max(0.0) as f32
    };
    (0..n_cells).map(|_| (0..GENES).map(&mut count).collect()).collect()
}

fn score(rows: &[Vec<f32>], flavour: Flavour, chunk_rows: usize) -> Vec<f64> {
    let reader = Memory { cells: trial::csr(rows), chunk_rows };
    let all: Vec<u64> = (0..rows.len() as u64).collect();
    scores(&reader, &all, ValueKind::Counts, flavour).unwrap()
}

fn top(scores: &[f64], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&gene| !scores[gene].is_nan()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(n);
    order.sort_unstable();
    order
}

fn agree(found: &[f64], golden: &[Option<f64>], tolerance: f64) {
    for (gene, (found, golden)) in found.iter().zip(golden).enumerate() {
        let golden = golden.unwrap_or(f64::NAN);
        let both_nan = found.is_nan() && golden.is_nan();
        assert!(both_nan || (found - golden).abs() <= tolerance * golden.abs().max(1.0), "{gene}: {found} {golden}");
    }
}

#[test]
fn scores_and_lists_are_those_of_scanpy() {
    let golden = golden();
    let score = |flavour| score(&golden.counts, flavour, 7);
    let (seurat, v3) = (score(Flavour::Seurat), score(Flavour::SeuratV3));
    agree(&seurat, &golden.seurat, 1e-9);
    agree(&v3, &golden.seurat_v3, 1e-9);
    agree(&score(Flavour::LogVariance), &golden.log_variance, 1e-10);
    assert_eq!(top(&seurat, golden.top), golden.seurat_top);
    assert_eq!(top(&v3, golden.top), golden.seurat_v3_top);
    let shared = golden.seurat_v3_interpolated_top.iter().filter(|gene| golden.seurat_v3_top.contains(gene)).count();
    assert!(shared * 100 >= golden.top * 95, "{shared} of {} genes of scanpy's default", golden.top);
}

#[test]
fn planted_variable_genes_are_found() {
    let rows = planted(400, 1);
    let wanted: Vec<usize> = (0..GENES).step_by(PLANTED).collect();
    for flavour in [Flavour::Seurat, Flavour::SeuratV3] {
        assert_eq!(top(&score(&rows, flavour, 16), wanted.len()), wanted, "{flavour}");
    }
}

#[test]
fn log_normalised_values_give_the_genes_of_their_counts() {
    let rows = planted(200, 2);
    let logged: Vec<Vec<f32>> = rows
        .iter()
        .map(|row| row.iter().map(|value| (value * 1e4 / row.iter().sum::<f32>()).ln_1p()).collect())
        .collect();
    let reader = Memory { cells: trial::csr(&logged), chunk_rows: 16 };
    let all: Vec<u64> = (0..200).collect();
    for flavour in [Flavour::Seurat, Flavour::LogVariance] {
        let found = scores(&reader, &all, ValueKind::Log1p, flavour).unwrap();
        let golden: Vec<Option<f64>> = score(&rows, flavour, 16).into_iter().map(Some).collect();
        agree(&found, &golden, 1e-4);
    }
}

#[test]
fn scores_follow_the_genes_when_these_are_permuted() {
    let rows = planted(150, 3);
    let mut order: Vec<usize> = (0..GENES).collect();
    Philox::new(3, Purpose::Trial, 1, 0).shuffle(&mut order);
    let permuted: Vec<Vec<f32>> = rows.iter().map(|row| order.iter().map(|&gene| row[gene]).collect()).collect();
    for flavour in FLAVOURS {
        let (straight, found) = (score(&rows, flavour, 16), score(&permuted, flavour, 16));
        for (&gene, found) in order.iter().zip(&found) {
            assert_eq!(straight[gene].to_bits(), found.to_bits(), "{flavour}, gene {gene}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let rows = planted(3000, 4);
    let of_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| FLAVOURS.map(|flavour| score(&rows, flavour, 64).into_iter().map(f64::to_bits).collect()))
    };
    let one: [Vec<u64>; 3] = of_threads(1);
    assert_eq!(of_threads(3), one);
    assert_eq!(of_threads(8), one);
}

/// Cells of the control and of two perturbations, of which `g5+GONE` targets no measured gene but `g5`.
fn lab(path: &Path, rows: &[Vec<f32>], kind: ValueKind) -> (CellStore, Split) {
    let store = trial::store(path, &trial::csr(rows), &lab_labels(rows.len()), kind);
    let split = Split::make(store.labels(), store.data_hash(), &SplitOptions::new(Scheme::Cells)).unwrap();
    (store, split)
}

fn lab_labels(n: usize) -> Labels {
    trial::labels(&["GONE+g5", "g0"], (0..n as u32).map(|cell| cell % 3).collect())
}

fn names(selection: &GeneSelection, split: &Split) -> Vec<String> {
    selection.genes(split).unwrap().iter().map(|gene| gene.name.clone()).collect()
}

#[test]
fn exactly_n_genes_and_all_targets_come_back_in_the_order_of_the_columns() {
    let folder = tempfile::tempdir().unwrap();
    let (store, split) = lab(&folder.path().join("a.zarr"), &planted(300, 5), ValueKind::Counts);
    let chosen = hvg(&store, &split, HvgOptions { flavour: Flavour::SeuratV3, n: GENES / PLANTED }).unwrap();
    let mut wanted: Vec<String> = (0..GENES).step_by(PLANTED).map(|gene| format!("g{gene}")).collect();
    wanted.insert(1, "g5".into());
    assert_eq!(names(&chosen, &split), wanted);
    assert_eq!((chosen.n_forced(), chosen.absent_targets()), (1, &["GONE".to_owned()][..]));
    let genes = chosen.genes(&split).unwrap();
    assert!(genes[0].target && genes[0].rank.is_some() && genes[1].target && genes[1].rank.is_none());
    assert_eq!(chosen.fitted_on().cells, split.counts(Fold::Train).cells);
    let all = hvg(&store, &split, HvgOptions { flavour: Flavour::Seurat, n: GENES }).unwrap();
    assert_eq!((all.genes(&split).unwrap().len(), all.n_forced()), (GENES, 0));
}

#[test]
fn equal_scores_go_to_the_lower_column_and_unscored_genes_come_last() {
    let folder = tempfile::tempdir().unwrap();
    // Genes 1 and 2 are equal, gene 0 never varies, gene 3 is silent.
    let row = |x: f32| vec![1.0, x, x, 0.0, 3.0 * x];
    let rows: Vec<Vec<f32>> = (0..60_u8).map(|at| row(f32::from(at % 5))).collect();
    let (store, split) = lab(&folder.path().join("a.zarr"), &rows, ValueKind::Log1p);
    let ranked = |n| {
        let chosen = hvg(&store, &split, HvgOptions { flavour: Flavour::LogVariance, n }).unwrap();
        let genes = chosen.genes(&split).unwrap().iter().filter(|gene| gene.rank.is_some());
        genes.map(|gene| gene.column).collect::<Vec<_>>()
    };
    assert_eq!((ranked(1), ranked(2), ranked(4)), (vec![4], vec![1, 4], vec![0, 1, 2, 4]));
    let chosen = hvg(&store, &split, HvgOptions { flavour: Flavour::Seurat, n: 5 }).unwrap();
    let last = chosen.genes(&split).unwrap().iter().find(|gene| gene.rank == Some(4)).unwrap();
    assert_eq!((last.column, last.score), (3, None));
}

#[test]
fn changing_test_cells_changes_nothing_and_changing_training_cells_does() {
    let folder = tempfile::tempdir().unwrap();
    let rows = planted(300, 6);
    let (_, split) = lab(&folder.path().join("a.zarr"), &rows, ValueKind::Counts);
    let fitted = |changed: Option<Fold>, flavour| {
        let mut rows = rows.clone();
        for &row in changed.map(|fold| split.rows(fold)).iter().flatten() {
            rows[row as usize].iter_mut().enumerate().for_each(|(gene, value)| *value = (gene * gene) as f32);
        }
        let reader = Memory { cells: trial::csr(&rows), chunk_rows: 16 };
        let scores = scores(&reader, &split.rows(Fold::Train), ValueKind::Counts, flavour).unwrap();
        scores.into_iter().map(f64::to_bits).collect::<Vec<_>>()
    };
    for flavour in FLAVOURS {
        let straight = fitted(None, flavour);
        assert_eq!(fitted(Some(Fold::Test), flavour), straight);
        assert_eq!(fitted(Some(Fold::Val), flavour), straight);
        assert_ne!(fitted(Some(Fold::Train), flavour), straight);
    }
}

#[test]
fn a_saved_choice_is_read_back_and_refused_under_another_split() {
    let folder = tempfile::tempdir().unwrap();
    let (store, split) = lab(&folder.path().join("a.zarr"), &planted(300, 7), ValueKind::Counts);
    let chosen = hvg(&store, &split, HvgOptions { flavour: Flavour::SeuratV3, n: 12 }).unwrap();
    let path = folder.path().join("genes.json");
    chosen.save(&path).unwrap();
    let read = GeneSelection::load(&path, &store, &split).unwrap();
    assert_eq!(read.columns(&split).unwrap(), chosen.columns(&split).unwrap());
    assert_eq!((read.options(), read.fitted_on()), (chosen.options(), chosen.fitted_on()));

    let options = SplitOptions { seed: 43, ..SplitOptions::new(Scheme::Cells) };
    let other = Split::make(store.labels(), store.data_hash(), &options).unwrap();
    let elsewhere = |error| matches!(error, GenesError::Split(SplitError::FittedElsewhere { .. }));
    assert!(elsewhere(chosen.columns(&other).unwrap_err()));
    let error = GeneSelection::load(&path, &store, &other).unwrap_err();
    assert!(error.to_string().contains("genes.json was fitted on the train fold of split"), "{error}");
    assert!(elsewhere(error));

    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"g0\"", "\"g1\"", 1)).unwrap();
    let error = GeneSelection::load(&path, &store, &split).unwrap_err().to_string();
    assert!(error.contains("column 0 of the store is not `g1`"), "{error}");
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (store, split) = lab(&folder.path().join("a.zarr"), &planted(60, 8), ValueKind::Log1p);
    let message = |flavour, n| hvg(&store, &split, HvgOptions { flavour, n }).unwrap_err().to_string();
    assert!(message(Flavour::Seurat, 301).contains("it has 300; take 1 to 300"));
    assert!(message(Flavour::Seurat, 0).contains("take 1 to 300"));
    assert!(message(Flavour::SeuratV3, 5).contains("`seurat_v3` needs raw counts"));
    let foreign = Split::make(store.labels(), "other", &SplitOptions::new(Scheme::Cells)).unwrap();
    let error = hvg(&store, &foreign, HvgOptions { flavour: Flavour::Seurat, n: 5 }).unwrap_err();
    assert!(matches!(error, GenesError::Split(SplitError::OtherStore { .. })));
    assert!("seurat_v2".parse::<Flavour>().unwrap_err().to_string().contains("known: seurat, seurat_v3"));
    assert!(FLAVOURS.iter().all(|flavour| flavour.name().parse::<Flavour>().unwrap() == *flavour));
}

#[test]
fn rows_out_of_order_or_out_of_range_are_refused() {
    let reader = Memory { cells: Csr::empty(3), chunk_rows: 4 };
    for rows in [vec![0], vec![2, 1]] {
        let error = scores(&reader, &rows, ValueKind::Counts, Flavour::Seurat).unwrap_err().to_string();
        assert!(error.contains("rows have to rise and lie below 0"), "{error}");
    }
}
