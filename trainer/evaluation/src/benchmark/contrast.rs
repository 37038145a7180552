//! The metrics that need all conditions of a context: retrieval, and the change against the other conditions.
//!
//! Guarantee: truth and prediction are referred to things that share no noise. In retrieval that is one half of the held-out
//! controls each. In [`PERTURBED`] it is the mean over the other conditions, of the measured means under the truth and of the
//! predicted means under the prediction; so a method that predicts the same for all has no such change.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, ArrayView1, Axis};

use super::ceiling::{Halves, agreement};
use super::measured::{Context, Measured};
use super::score::{Values, change_correlation};
use super::space::Centre;
use crate::metric::{MetricError, chance, no_change, rank_among};

/// Name of the metric against the other conditions.
pub(super) const PERTURBED: &str = "pearson_delta_perturbed";

/// Takes the vector of one space out of a centre.
type Take<'a> = Box<dyn Fn(&Centre) -> Array1<f64> + 'a>;

/// What a method predicts for a condition; expression of the top genes.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) halves: [Centre; 2],
    pub(super) constant: bool,
}

/// What was measured of a condition; expression of the top genes.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) kind: u32,
    pub(super) means: Measured,
}

/// The conditions of one context, with either half of its controls; expression of the top genes.
pub(super) struct Contrast<'a> {
    pub(super) context: &'a Context,
    pub(super) control: [Centre; 2],
    pub(super) asked: Vec<Asked>,
}

impl Contrast<'_> {
    /// The values of a method for every condition.
    pub(super) fn score(&self, answers: &[Answer]) -> Result<Vec<Values>, MetricError> {
        let mut values = vec![Values::new(); self.asked.len()];
        self.retrieve(answers, &mut values);
        let level = self.context.over_halves(&self.control).expression;
        let truths = self.against_others(|at| &self.asked[at].means.mean.expression);
        let whole: Vec<_> = answers.iter().map(|answer| self.context.over_halves(&answer.halves).expression).collect();
        let predictions = self.against_others(|at| &whole[at]);
        for ((values, truth), predicted) in values.iter_mut().zip(truths).zip(predictions) {
            let value = match truth.zip(predicted) {
                Some((truth, predicted)) => change_correlation(truth.view(), predicted.view(), level.view())?,
                None => None,
            };
            values.insert(PERTURBED.into(), value);
        }
        Ok(values)
    }

    /// The ceiling of [`PERTURBED`] for every condition.
    pub(super) fn ceilings(&self) -> Vec<Values> {
        let half = |half: usize| self.against_others(move |at| &self.asked[at].means.halves[half].expression);
        let whole = self.against_others(|at| &self.asked[at].means.mean.expression);
        let (first, second) = (half(0), half(1));
        let ceiling = |at: usize| {
            let pair = (first[at].clone()?, second[at].clone()?);
            let whole = whole[at].clone()?;
            agreement(&Halves { pairs: [pair.clone(), pair], whole: [whole.clone(), whole] }, true)
        };
        (0..self.asked.len()).map(|at| Values::from([(PERTURBED.to_owned(), ceiling(at))])).collect()
    }

    /// What ranking by lot would score, for every condition.
    pub(super) fn by_chance(&self) -> Vec<Values> {
        let rivals = self.asked.len();
        let (top1, reciprocal) = chance(rivals);
        let defined = |value| (rivals > 1 && self.context.halved()).then_some(value);
        let spaces = self.spaces();
        let values = spaces.iter().flat_map(|(space, _)| {
            [
                (format!("retrieval_top1_{space}"), defined(top1)),
                (format!("retrieval_mrr_{space}"), defined(reciprocal)),
            ]
        });
        vec![values.collect(); rivals]
    }

    /// A vector of every condition less the mean over the others of its kind; `None` of one that is alone.
    fn against_others<'b>(&self, of: impl Fn(usize) -> &'b Array1<f64>) -> Vec<Option<Array1<f64>>> {
        let mut sums: BTreeMap<u32, (usize, Array1<f64>)> = BTreeMap::new();
        for (at, asked) in self.asked.iter().enumerate() {
            let (n, sum) = sums.entry(asked.kind).or_insert_with(|| (0, Array1::zeros(of(at).len())));
            *n += 1;
            *sum += of(at);
        }
        let one = |(at, asked): (usize, &Asked)| {
            let (n, sum) = &sums[&asked.kind];
            (*n > 1).then(|| of(at) - (sum - of(at)) / (*n - 1) as f64)
        };
        self.asked.iter().enumerate().map(one).collect()
    }

    /// Names of the spaces, and how to take a vector of each out of a centre.
    fn spaces(&self) -> Vec<(&'static str, Take<'_>)> {
        let panel_free = &self.context.panel_free;
        let mut spaces: Vec<(&'static str, Take<'_>)> =
            vec![("expression", Box::new(|centre: &Centre| centre.expression.select(Axis(0), panel_free)))];
        for (at, (name, _)) in self.control[0].spaces().enumerate() {
            let of = move |centre: &Centre| {
                centre.spaces().nth(at).map_or_else(|| Array1::zeros(0), |(_, mean)| mean.to_owned())
            };
            spaces.push((name, Box::new(of)));
        }
        spaces
    }

    /// Ranks the right condition among those of the context by the cosine of measured and predicted changes.
    ///
    /// A condition that is alone in its context has no retrieval: its values are `None`.
    fn retrieve(&self, answers: &[Answer], values: &mut [Values]) {
        let n = self.asked.len();
        let halved = n > 1 && self.context.halved();
        for (name, of) in self.spaces() {
            let control = self.control.each_ref().map(&of);
            let mut found = vec![[0.0; 2]; n];
            let defined = halved && !control[0].is_empty();
            for half in if defined { 0..2 } else { 0..0 } {
                let truths = units(self.asked.iter().map(|asked| of(&asked.means.mean) - &control[1 - half]));
                let change = |answer: &Answer| {
                    let unmoved =
                        no_change(answer.halves[half].expression.view(), self.control[half].expression.view());
                    // What is left of no change is rounding, which must not rank anything.
                    if unmoved { Array1::zeros(control[half].len()) } else { of(&answer.halves[half]) - &control[half] }
                };
                let similarity = units(answers.iter().map(change)).dot(&truths.t());
                for (own, found) in found.iter_mut().enumerate() {
                    let place = rank_among(&similarity.row(own).to_vec(), own);
                    found[0] += place.top1 / 2.0;
                    found[1] += place.reciprocal / 2.0;
                }
            }
            for (values, [top1, reciprocal]) in values.iter_mut().zip(found) {
                values.insert(format!("retrieval_top1_{name}"), defined.then_some(top1));
                values.insert(format!("retrieval_mrr_{name}"), defined.then_some(reciprocal));
            }
        }
    }
}

/// Vectors of equal length as the rows of a matrix, each of length 1 or zero.
fn units(rows: impl Iterator<Item = Array1<f64>>) -> Array2<f64> {
    let rows: Vec<Array1<f64>> = rows.collect();
    let mut matrix = Array2::zeros((rows.len(), rows.first().map_or(0, Array1::len)));
    for (mut target, row) in matrix.rows_mut().into_iter().zip(&rows) {
        let norm = length(row.view());
        if norm > 0.0 {
            target.assign(&(row / norm));
        }
    }
    matrix
}

fn length(row: ArrayView1<'_, f64>) -> f64 {
    row.dot(&row).sqrt()
}
