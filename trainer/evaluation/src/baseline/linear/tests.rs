use ndarray::{Array1, Array2, Axis};
use serde::Deserialize;
use syncyte_sharding::philox::{Philox, Purpose};

use super::{Bilinear, Features, Linear, LinearConfig, gene_scores};
use crate::baseline::fixtures::{close, effect, planted, planted_in_order, predicted_shift, query_cells};
use crate::benchmark::method::{Method, Query};

fn normal(shape: (usize, usize), seed: u64) -> Array2<f64> {
    let mut random = Philox::new(seed, Purpose::Trial, 0, 0);
    Array2::from_shape_simple_fn(shape, || random.normal())
}

fn matrix(rows: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

fn gap(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).iter().fold(0.0, |largest, entry| entry.abs().max(largest))
}

#[test]
fn planted_weights_come_back_as_the_penalty_goes_to_zero() {
    let (g, planted) = (normal((30, 4), 1), normal((4, 3), 2));
    let p = normal((12, 3), 3);
    let p = &p - &p.mean_axis(Axis(0)).unwrap();
    let offset = normal((30, 1), 4);
    let y = g.dot(&planted).dot(&p.t()) + &offset;
    let error = |ridge| gap(&Bilinear::fit(y.view(), g.view(), p.view(), ridge).unwrap().weights, &planted);
    assert!(error(1e-12) < 1e-9);
    assert!(error(1e-2) < error(1e-1) && error(1e-1) < error(1.0));
    let fit = Bilinear::fit(y.view(), g.view(), p.view(), 1e-12).unwrap();
    assert!(gap(&fit.centre.insert_axis(Axis(1)), &offset) < 1e-9);
}

#[derive(Deserialize)]
struct Ridge {
    y: Vec<Vec<f64>>,
    g: Vec<Vec<f64>>,
    p: Vec<Vec<f64>>,
    penalty: f64,
    w: Vec<Vec<f64>>,
    centre: Vec<f64>,
}

#[derive(Deserialize)]
struct Scores {
    profiles: Vec<Vec<f64>>,
    scores: Vec<Vec<f64>>,
}

#[test]
fn fit_and_scores_agree_with_numpy_and_scikit_learn() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/fixtures/bilinear_ridge.json"));
    let stored: Ridge = serde_json::from_str(text).unwrap();
    let (y, g, p) = (matrix(&stored.y), matrix(&stored.g), matrix(&stored.p));
    let fit = Bilinear::fit(y.view(), g.view(), p.view(), stored.penalty).unwrap();
    assert!(gap(&fit.weights, &matrix(&stored.w)) < 1e-9);
    assert!(fit.centre.iter().zip(&stored.centre).all(|(a, b)| (a - b).abs() < 1e-9));

    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/fixtures/gene_scores.json"));
    let stored: Scores = serde_json::from_str(text).unwrap();
    let expected = matrix(&stored.scores);
    let found = gene_scores(matrix(&stored.profiles).view(), expected.ncols()).unwrap();
    for (mine, theirs) in found.columns().into_iter().zip(expected.columns()) {
        let sign = mine.dot(&theirs).signum();
        assert!(mine.iter().zip(theirs).all(|(a, b)| (a - sign * b).abs() < 1e-9));
    }
}

#[test]
fn without_a_penalty_the_target_form_gives_trained_changes_back() {
    let (planted, control) = (planted(), query_cells());
    let config = LinearConfig { ridge: 1e-9, features: Features::Targets, rank: 10 };
    let method = Linear::fit(&planted.train, &config).unwrap();
    for target in ["A", "B", "C"] {
        let prediction = method.predict(&planted.query(&[target], &control)).unwrap();
        // The scores are centred over the genes, so a change comes back up to its mean over the genes.
        let residual = predicted_shift(&prediction) - effect(&[target]);
        let centred = &residual - residual.mean().unwrap();
        assert!(prediction.flags.is_empty());
        assert!(centred.iter().all(|gap| gap.abs() < 1e-4), "{target}: {centred}");
    }
}

#[test]
fn a_target_without_features_gets_the_mean_change_and_a_flag() {
    let (planted, control) = (planted(), query_cells());
    let scores = Linear::fit(&planted.train, &LinearConfig::default()).unwrap();
    let unmeasured = scores.predict(&planted.query(&["C"], &control)).unwrap();
    assert_eq!(unmeasured.flags, ["target_not_measured:C"]);
    let mean: Array1<f64> = (effect(&["A"]) + effect(&["B"]) + effect(&["C"])) / 3.0;
    assert!(close(&predicted_shift(&unmeasured), &mean));
    let measured = scores.predict(&planted.query(&["A"], &control)).unwrap();
    assert!(measured.flags.is_empty() && !close(&predicted_shift(&measured), &mean));

    // Of A and C only A is measured: one condition makes no fit.
    let few = planted_in_order(&["", "A", "C"]);
    let prediction = Linear::fit(&few.train, &LinearConfig::default()).unwrap().predict(&few.query(&["A"], &control));
    let prediction = prediction.unwrap();
    assert_eq!(prediction.flags, ["too_few_features"]);
    assert!(close(&predicted_shift(&prediction), &((effect(&["A"]) + effect(&["C"])) / 2.0)));

    let config = LinearConfig { features: Features::Targets, ..LinearConfig::default() };
    let targets = Linear::fit(&planted.train, &config).unwrap();
    assert_eq!(targets.predict(&planted.query(&["A", "D"], &control)).unwrap().flags, ["target_unseen:D"]);
    let elsewhere = Query { context: 5, ..planted.query(&["A"], &control) };
    assert_eq!(targets.predict(&elsewhere).unwrap().flags, ["other_context"]);
}

#[test]
fn the_order_of_the_training_blocks_does_not_matter() {
    let control = query_cells();
    let (one, other) = (planted(), planted_in_order(&["C", "", "B", "A"]));
    for features in [Features::GeneScores, Features::Targets] {
        let config = LinearConfig { features, ..LinearConfig::default() };
        let predict = |planted: &crate::baseline::fixtures::Planted| {
            let method = Linear::fit(&planted.train, &config).unwrap();
            predicted_shift(&method.predict(&planted.query(&["A", "B"], &control)).unwrap())
        };
        assert!((predict(&one) - predict(&other)).iter().all(|gap| gap.abs() < 1e-5));
    }
}
