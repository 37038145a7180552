//! Comparison with the stored vectors of `tests/oracle`, computed by SciPy and scikit-learn.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use serde::Deserialize;

use super::role::{Contrasted, Function, SetDistances};
use super::{
    Distance, Distances, Estimator, METRICS, Sides, cosine, cosine_delta, energy, l2, mae, mse, pearson, pearson_delta,
    rank, top_genes,
};

macro_rules! fixture {
    ($name:literal) => {
        serde_json::from_str(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/oracle/fixtures/",
            $name,
            ".json"
        )))
        .unwrap()
    };
}

fn matrix(rows: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

fn near(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{what}: {found} is not {expected}");
}

#[derive(Deserialize)]
struct Forms {
    euclid_v: f64,
    euclid_u: f64,
    sqeuclid_v: f64,
    sqeuclid_u: f64,
}

#[derive(Deserialize)]
struct Energy {
    x: Vec<Vec<f64>>,
    y: Vec<Vec<f64>>,
    values: Forms,
    tied: Vec<Vec<f64>>,
    tied_values: Forms,
    line_x: Vec<f64>,
    line_y: Vec<f64>,
    line_euclid_v: f64,
}

fn check_forms(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>, expected: &Forms) {
    let of = |distance, estimator| energy(x, y, distance, estimator).unwrap().unwrap();
    near("euclid_v", of(Distance::Euclidean, Estimator::V), expected.euclid_v);
    near("euclid_u", of(Distance::Euclidean, Estimator::U), expected.euclid_u);
    near("sqeuclid_v", of(Distance::Squared, Estimator::V), expected.sqeuclid_v);
    near("sqeuclid_u", of(Distance::Squared, Estimator::U), expected.sqeuclid_u);
}

#[test]
fn energy_distances_agree_with_scipy() {
    let stored: Energy = fixture!("energy");
    let y = matrix(&stored.y);
    check_forms(matrix(&stored.x).view(), y.view(), &stored.values);
    check_forms(matrix(&stored.tied).view(), y.view(), &stored.tied_values);
    let column = |line: Vec<f64>| Array1::from(line).insert_axis(ndarray::Axis(1));
    let (x, y) = (column(stored.line_x), column(stored.line_y));
    let found = energy(x.view(), y.view(), Distance::Euclidean, Estimator::V).unwrap().unwrap();
    near("energy_distance on a line", found, stored.line_euclid_v);
}

#[derive(Deserialize)]
struct Vectors {
    truth: Vec<f64>,
    prediction: Vec<f64>,
    reference: Vec<f64>,
    top: usize,
    top_genes: Vec<usize>,
    l2: f64,
    mse: f64,
    mae: f64,
    pearson: f64,
    pearson_delta: f64,
    pearson_delta_top: f64,
    l2_top: f64,
    cosine: f64,
    cosine_delta: f64,
}

#[test]
fn vector_metrics_agree_with_scipy_and_scikit_learn() {
    let stored: Vectors = fixture!("vector");
    let (y, predicted) = (ArrayView1::from(&stored.truth), ArrayView1::from(&stored.prediction));
    let reference = ArrayView1::from(&stored.reference);
    near("l2", l2(y, predicted).unwrap(), stored.l2);
    near("mse", mse(y, predicted).unwrap(), stored.mse);
    near("mae", mae(y, predicted).unwrap(), stored.mae);
    near("pearson", pearson(y, predicted).unwrap().unwrap(), stored.pearson);
    near("cosine", cosine(y, predicted).unwrap().unwrap(), stored.cosine);
    near("pearson_delta", pearson_delta(y, predicted, reference).unwrap().unwrap(), stored.pearson_delta);
    near("cosine_delta", cosine_delta(y, predicted, reference).unwrap().unwrap(), stored.cosine_delta);

    let top = top_genes(reference, stored.top);
    assert_eq!(top, stored.top_genes);
    let pick = |vector: ArrayView1<'_, f64>| vector.select(ndarray::Axis(0), &top);
    let (y, predicted, reference) = (pick(y), pick(predicted), pick(reference));
    near("l2 of the top genes", l2(y.view(), predicted.view()).unwrap(), stored.l2_top);
    let delta = pearson_delta(y.view(), predicted.view(), reference.view()).unwrap().unwrap();
    near("pearson_delta of the top genes", delta, stored.pearson_delta_top);
}

#[derive(Deserialize)]
struct Retrieval {
    queries: Vec<Vec<f64>>,
    candidates: Vec<Vec<f64>>,
    ranks: Vec<f64>,
}

#[test]
fn ranks_agree_with_scipy_ties_included() {
    let stored: Retrieval = fixture!("retrieval_cosine_midrank");
    let (queries, candidates) = (matrix(&stored.queries), matrix(&stored.candidates));
    for (own, &expected) in stored.ranks.iter().enumerate() {
        near("rank", rank(queries.row(own), candidates.view(), own).unwrap().rank, expected);
    }
}

/// The stored value that a metric names.
fn stored(file: &str, entry: &str) -> f64 {
    let vectors: serde_json::Value = fixture!("vector");
    let energy: serde_json::Value = fixture!("energy");
    match file {
        "vector" => vectors[entry].as_f64(),
        "energy" => energy["values"][entry].as_f64(),
        _ => None,
    }
    .unwrap_or_else(|| panic!("{file} holds no {entry}"))
}

#[test]
fn every_metric_of_the_table_agrees_with_the_stored_vectors_that_it_names() {
    let vectors: Vectors = fixture!("vector");
    let (truth, predicted) = (ArrayView1::from(&vectors.truth), ArrayView1::from(&vectors.prediction));
    let reference = ArrayView1::from(&vectors.reference);
    // Both halves of the controls are the reference, so that every form refers to it.
    let sides = Sides {
        truth,
        predicted,
        control: reference,
        halves: Some([[predicted, reference]; 2]),
        train_control: Some(reference),
        centroid: Some(reference),
    };
    let energies: Energy = fixture!("energy");
    let (x, y) = (matrix(&energies.x), matrix(&energies.y));
    let euclidean = Distances::new(x.view(), y.view(), Distance::Euclidean).unwrap();
    let sets = SetDistances { n: x.nrows(), squared: euclidean.squared(), euclidean };
    let equal = |rows: &Array2<f64>| Array1::from_elem(rows.nrows(), 1.0 / rows.nrows() as f64);
    let retrieval: Retrieval = fixture!("retrieval_cosine_midrank");
    let (queries, candidates) = (matrix(&retrieval.queries), matrix(&retrieval.candidates));

    for metric in METRICS {
        let [file, entry] = metric.oracle;
        let found = match metric.function {
            Function::Means(function) => function(&sides).unwrap(),
            Function::Others(function) => {
                let change = |of: ArrayView1<'_, f64>| &of - &reference;
                let (truth, predicted) = (change(truth), change(predicted));
                function(&Contrasted { truth: truth.view(), predicted: predicted.view(), level: reference }).unwrap()
            }
            Function::Sets(function) => function(&sets, &equal(&x), &equal(&y)),
            Function::Rank(function, chance) => {
                let mut untied = 0;
                for (own, &expected) in retrieval.ranks.iter().enumerate() {
                    let found = rank(queries.row(own), candidates.view(), own).unwrap();
                    near(metric.name, found.rank, expected);
                    let similar = |at: usize| cosine(queries.row(own), candidates.row(at)).unwrap().unwrap_or(0.0);
                    if (0..candidates.nrows()).filter(|&at| (similar(at) - similar(own)).abs() < 1e-9).count() == 1 {
                        untied += 1;
                        let value =
                            if metric.name.contains("top1") { f64::from(expected < 1.5) } else { 1.0 / expected };
                        near(metric.name, function(&found), value);
                    }
                }
                assert!(untied > 0, "every stored rank is a tie");
                assert!(chance(1) == 1.0 && chance(10) < 0.5);
                continue;
            }
        };
        near(metric.name, found.unwrap(), stored(file, entry));
    }
}
