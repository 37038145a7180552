//! Training profiles with planted additive effects, for the tests of the baselines.

use std::sync::Arc;

use ndarray::{Array1, Array2};
use syncyte_sharding::labels::Perturbation;

use crate::benchmark::method::{Outcome, Prediction, Query};
use crate::fold::{Condition, RowLabel, Rows, TrainingMeans, TrainingMeansBuilder};

pub(crate) const GENES: [&str; 6] = ["A", "B", "g2", "g3", "g4", "g5"];

/// Singles A, B and C trained on; combinations and D asked for.
pub(crate) struct Planted {
    pub(crate) train: Arc<TrainingMeans>,
    pub(crate) perturbations: Vec<Perturbation>,
}

const ASKED: [&[&str]; 9] =
    [&[], &["A"], &["B"], &["C"], &["D"], &["A", "B"], &["A", "C"], &["B", "C"], &["A", "B", "C"]];

fn perturbation(targets: &[&str]) -> Perturbation {
    Perturbation::of(targets.iter().map(ToString::to_string))
}

fn single_effect(target: &str) -> Array1<f64> {
    let seed = f64::from(target.as_bytes()[0] - b'A');
    Array1::from_shape_fn(GENES.len(), |gene| ((seed * 1.7 + gene as f64) * 2.3).sin())
}

/// Exact `f32` noise that sums to zero over the cells, so that means are the planted ones up to rounding.
fn block(mean: &Array1<f64>) -> Array2<f32> {
    Array2::from_shape_fn((4, GENES.len()), |(cell, gene)| {
        (mean[gene] + [0.5, -0.5, 0.25, -0.25][(cell + gene) % 4]) as f32
    })
}

pub(crate) fn base() -> Array1<f64> {
    Array1::from_shape_fn(GENES.len(), |gene| 3.0 + gene as f64)
}

pub(crate) fn genes() -> Vec<String> {
    GENES.iter().map(ToString::to_string).collect()
}

pub(crate) fn planted() -> Planted {
    planted_in_order(&["", "A", "B", "C"])
}

/// The same training fold, its blocks in another order.
pub(crate) fn planted_in_order(order: &[&str]) -> Planted {
    let mut perturbations: Vec<Perturbation> = ASKED.iter().map(|targets| perturbation(targets)).collect();
    perturbations.push(perturbation(&["A", "D"]));
    let mut builder = TrainingMeansBuilder::new("split", &genes(), &perturbations);
    for target in order {
        let (effect, targets) = if target.is_empty() {
            (Array1::zeros(GENES.len()), vec![])
        } else {
            (single_effect(target), vec![*target])
        };
        let index = perturbations.iter().position(|known| *known == perturbation(&targets)).unwrap() as u32;
        let condition = Condition { context: 0, kind: 0, perturbation: index };
        let labels = [RowLabel { cell: 0, condition }; 4];
        builder.add(&labels, Rows::Dense(block(&(base() + effect)).view())).unwrap();
    }
    Planted { train: Arc::new(builder.finish().unwrap()), perturbations }
}

/// Planted change of a combination.
pub(crate) fn effect(targets: &[&str]) -> Array1<f64> {
    targets.iter().fold(Array1::zeros(GENES.len()), |sum, target| sum + single_effect(target))
}

impl Planted {
    pub(crate) fn query<'a>(&'a self, targets: &[&str], control: &'a Array2<f32>) -> Query<'a> {
        let perturbation = self.perturbations.iter().find(|known| **known == perturbation(targets)).unwrap();
        Query { perturbation, context: 0, kind: 0, control: control.view(), cells: &[0, 1, 2, 3], draws: &[0; 4] }
    }
}

/// Held-out control cells: another batch, with another base level.
pub(crate) fn query_cells() -> Array2<f32> {
    block(&(base() + 0.125))
}

pub(crate) fn predicted_shift(prediction: &Prediction) -> Array1<f64> {
    match &prediction.outcome {
        Outcome::Shift(delta) => delta.clone(),
        other => panic!("no shift: {other:?}"),
    }
}

pub(crate) fn close(a: &Array1<f64>, b: &Array1<f64>) -> bool {
    a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-5)
}
