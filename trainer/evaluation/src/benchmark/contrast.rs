//! The metrics that need all conditions of a context: retrieval, and the change against the other conditions.
//!
//! Guarantee: truth and prediction are referred to things that share no noise. In retrieval that is one half of the held-out
//! controls each. In what distinguishes a condition from the others it is the mean over the other conditions, of the
//! measured means under the truth and of the predicted means under the prediction; so a method that predicts the same for all has no such change.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array1, Array2, ArrayView1, Axis};
use serde::{Deserialize, Serialize};

use super::ceiling::{Halves, agreement};
use super::measured::{Context, Measured};
use super::score::Values;
use super::space::Centre;
use crate::metric::role::{Ceiling, Contrasted, Function, Space};
use crate::metric::{Column, MetricError, Rank, no_change, rank_among};

/// What a method predicts for a condition; expression of the top genes.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    pub(super) columns: &'a [Column],
    pub(super) context: &'a Context,
    pub(super) control: [Centre; 2],
    pub(super) asked: Vec<Asked>,
}

impl Contrast<'_> {
    /// The values of a method for every condition.
    pub(super) fn score(&self, answers: &[Answer]) -> Result<Vec<Values>, MetricError> {
        let mut values = vec![Values::new(); self.asked.len()];
        self.retrieve(answers, &mut values);
        let whole: Vec<_> = answers.iter().map(|answer| self.context.over_halves(&answer.halves).expression).collect();
        let level = self.context.over_halves(&self.control).expression;
        let truths = self.against_others(|at| &self.asked[at].means.mean.expression);
        let predictions = self.against_others(|at| &whole[at]);
        for (at, column) in self.columns.iter().enumerate() {
            let Function::Others(function) = column.metric.function else { continue };
            for ((values, truth), predicted) in values.iter_mut().zip(&truths).zip(&predictions) {
                let value = match truth.as_ref().zip(predicted.as_ref()) {
                    Some((truth, predicted)) => {
                        function(&Contrasted { truth: truth.view(), predicted: predicted.view(), level: level.view() })?
                    }
                    None => None,
                };
                values.insert(at, value);
            }
        }
        Ok(values)
    }

    /// The ceilings of what distinguishes a condition from the others, for every condition.
    pub(super) fn ceilings(&self) -> Vec<Values> {
        let half = |half: usize| self.against_others(move |at| &self.asked[at].means.halves[half].expression);
        let whole = self.against_others(|at| &self.asked[at].means.mean.expression);
        let (first, second) = (half(0), half(1));
        let ceiling = |at: usize| {
            let pair = (first[at].clone()?, second[at].clone()?);
            let whole = whole[at].clone()?;
            agreement(&Halves { pairs: [pair.clone(), pair], whole: [whole.clone(), whole] }, true)
        };
        let columns = self.columns.iter().enumerate();
        let of_others: Vec<usize> =
            columns.filter(|(_, column)| matches!(column.metric.ceiling, Ceiling::Others)).map(|(at, _)| at).collect();
        (0..self.asked.len()).map(|at| of_others.iter().map(|&column| (column, ceiling(at))).collect()).collect()
    }

    /// What ranking by lot would score, for every condition.
    pub(super) fn by_chance(&self) -> Vec<Values> {
        let rivals = self.asked.len();
        let defined = rivals > 1 && self.context.halved();
        let chance = |(at, column): (usize, &Column)| match column.metric.function {
            Function::Rank(_, chance) => Some((at, defined.then(|| chance(rivals)))),
            _ => None,
        };
        vec![self.columns.iter().enumerate().filter_map(chance).collect(); rivals]
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

    /// The vector of a centre in a space; its expression is that of the top genes.
    fn vector(&self, centre: &Centre, space: Space) -> Array1<f64> {
        match space {
            Space::Untargeted => centre.expression.select(Axis(0), &self.context.panel_free),
            Space::Top | Space::All => centre.expression.clone(),
            Space::Components | Space::Embedding(_) => centre.of_cells(space).to_owned(),
        }
    }

    /// Ranks the right condition among those of the context by the cosine of measured and predicted changes.
    ///
    /// A condition that is alone in its context has no retrieval: its values are `None`.
    fn retrieve(&self, answers: &[Answer], values: &mut [Values]) {
        let n = self.asked.len();
        let halved = n > 1 && self.context.halved();
        let ranked = |column: &&Column| matches!(column.metric.function, Function::Rank(..));
        let spaces: BTreeSet<Space> = self.columns.iter().filter(ranked).map(|column| column.space).collect();
        for space in spaces {
            let of = |centre: &Centre| self.vector(centre, space);
            let control = self.control.each_ref().map(of);
            let defined = halved && !control[0].is_empty();
            let mut places: Vec<Vec<Rank>> = vec![Vec::new(); n];
            for half in if defined { 0..2 } else { 0..0 } {
                let truths = units(self.asked.iter().map(|asked| of(&asked.means.mean) - &control[1 - half]));
                let change = |answer: &Answer| {
                    let unmoved =
                        no_change(answer.halves[half].expression.view(), self.control[half].expression.view());
                    // What is left of no change is rounding, which must not rank anything.
                    if unmoved { Array1::zeros(control[half].len()) } else { of(&answer.halves[half]) - &control[half] }
                };
                let similarity = units(answers.iter().map(change)).dot(&truths.t());
                for (own, places) in places.iter_mut().enumerate() {
                    places.push(rank_among(&similarity.row(own).to_vec(), own));
                }
            }
            for (at, column) in self.columns.iter().enumerate().filter(|(_, column)| column.space == space) {
                let Function::Rank(function, _) = column.metric.function else { continue };
                for (values, places) in values.iter_mut().zip(&places) {
                    let mean = || places.iter().map(function).sum::<f64>() / places.len() as f64;
                    values.insert(at, defined.then(mean));
                }
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
