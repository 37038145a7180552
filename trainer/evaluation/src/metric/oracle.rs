//! Comparison with the stored vectors of `tests/oracle`, computed by SciPy and scikit-learn.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use serde::Deserialize;

use super::{Distance, Estimator, cosine, cosine_delta, energy, l2, mae, mse, pearson, pearson_delta, rank, top_genes};

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
