//! Values as measured, and in every draw of cells and controls.
//!
//! Guarantee: in one draw all conditions of a context meet the same resampled controls, and all methods the same
//! resampled cells. A method that moves each control for itself makes another mean change to other controls, which counts;
//! only in the metrics over all conditions is its change held.

use ndarray::Array2;
use rayon::prelude::*;

use super::ceiling;
use super::contrast::{Answer, Asked, Contrast};
use super::draws::Scored;
use super::measured::{Context, Measured, Sampling, Truth};
use super::predict::Predicted;
use super::resample::{Drawn, weights};
use super::score::{Frame, Means, SetPair, Values};
use super::space::Centre;
use crate::metric::{Column, MetricError};

/// A context and its controls in every draw.
pub(super) struct Redraw<'a> {
    pub(super) columns: &'a [Column],
    pub(super) context: &'a Context,
    pub(super) sampling: Sampling,
    /// Means of both halves of the controls.
    controls: Vec<[Centre; 2]>,
}

/// One condition in every draw.
pub(super) struct Case<'a> {
    frame: Frame<'a>,
    truth: &'a Truth,
    /// Means of the cells, draw by draw.
    drawn: Vec<Measured>,
    /// Place of the condition among all.
    at: usize,
}

/// What is kept of a condition for the metrics over all of them; expression of the top genes.
pub(super) struct Kept {
    pub(super) asked: Asked,
    /// Draw by draw.
    pub(super) drawn: Vec<Measured>,
    /// By method.
    pub(super) answers: Vec<Answer>,
}

impl<'a> Redraw<'a> {
    pub(super) fn new(columns: &'a [Column], context: &'a Context, sampling: Sampling) -> Self {
        let controls = |draw: usize| -> [Centre; 2] {
            context.halves.each_ref().map(|half| half.mean.plus(&half.deviations.at(draw)))
        };
        Self { columns, context, sampling, controls: (0..sampling.draws).map(controls).collect() }
    }

    /// The condition number `at`.
    pub(super) fn case<'b>(&self, truth: &'b Truth, frame: Frame<'b>, at: usize) -> Case<'b> {
        let drawn = (0..self.sampling.draws).map(|draw| truth.drawn(draw)).collect();
        Case { frame, truth, drawn, at }
    }

    /// The ceilings of the metrics of one condition.
    pub(super) fn ceilings(&self, case: &Case<'_>) -> Scored {
        let of = |measured: &Measured, control: &[Centre; 2]| {
            ceiling::of_agreement(self.columns, measured, control, self.context)
        };
        let draws: Vec<Values> =
            case.drawn.iter().zip(&self.controls).map(|(drawn, control)| of(drawn, control)).collect();
        let mut ceilings = Scored::default();
        ceilings.add(of(&case.truth.measured, &self.context.means()), &draws);
        ceilings.add(ceiling::of_errors(self.columns, case.truth, self.context), &[]);
        ceilings
    }

    /// The metrics of a prediction of one condition.
    pub(super) fn score(
        &self,
        case: &Case<'_>,
        predicted: &Predicted,
        sets: &[SetPair],
    ) -> Result<Scored, MetricError> {
        let control = self.context.means();
        let measured = |halves: &[Centre; 2]| {
            case.frame.means(&Means { truth: &case.truth.measured.mean, control: &control, predicted: halves })
        };
        let mut values = measured(&predicted.halves)?;
        for pair in sets {
            pair.score(self.columns, None, &mut values);
        }

        let n = sets.first().map_or(0, SetPair::n);
        let drawn = |drawn: Drawn| -> Array2<f64> { weights(self.sampling.seed, drawn, self.sampling.draws, n) };
        let from = self.context.means();
        let (real, made) = (drawn(Drawn::Set(case.at)), drawn(Drawn::Predicted(self.context.number)));
        let draws: Result<Vec<Values>, MetricError> = (0..self.sampling.draws)
            .into_par_iter()
            .map(|draw| {
                let control = &self.controls[draw];
                let moved = predicted.drawn(draw, &from, control);
                let mut values =
                    case.frame.means(&Means { truth: &case.drawn[draw].mean, control, predicted: &moved })?;
                let weights = (real.row(draw).to_owned(), made.row(draw).to_owned());
                for pair in sets {
                    pair.score(self.columns, Some((&weights.0, &weights.1)), &mut values);
                }
                Ok(values)
            })
            .collect();
        let mut scored = Scored::default();
        scored.add(values, &draws?);
        scored.set_parts(predicted.parts.iter().map(measured).collect::<Result<_, _>>()?);
        Ok(scored)
    }

    /// The conditions as measured.
    pub(super) fn measured(&self, kept: &[Kept]) -> Contrast<'a> {
        let control = self.context.halves.each_ref().map(|half| half.mean.of_genes(&self.context.top));
        let asked = kept.iter().map(|kept| kept.asked.clone()).collect();
        Contrast { columns: self.columns, context: self.context, control, asked }
    }

    /// The conditions in a draw.
    fn drawn(&self, kept: &[Kept], draw: usize) -> Contrast<'a> {
        let control = self.controls[draw].each_ref().map(|centre| centre.of_genes(&self.context.top));
        let asked = |kept: &Kept| Asked { kind: kept.asked.kind, means: kept.drawn[draw].clone() };
        Contrast { columns: self.columns, context: self.context, control, asked: kept.iter().map(asked).collect() }
    }

    /// The ceilings of the metrics over all conditions: of every condition, with those of its draws.
    pub(super) fn contrast_ceilings(&self, kept: &[Kept]) -> Vec<(Values, Vec<Values>)> {
        let draws = (0..self.sampling.draws).into_par_iter().map(|draw| self.drawn(kept, draw).ceilings());
        by_condition(self.measured(kept).ceilings(), &draws.collect::<Vec<_>>())
    }

    /// The metrics of a method over all conditions: the values of every condition, with those of its draws.
    pub(super) fn contrast(&self, kept: &[Kept], method: usize) -> Result<Vec<(Values, Vec<Values>)>, MetricError> {
        let measured = self.measured(kept);
        let answers: Vec<Answer> = kept.iter().map(|kept| kept.answers[method].clone()).collect();
        let values = measured.score(&answers)?;
        let draws: Result<Vec<Vec<Values>>, MetricError> = (0..self.sampling.draws)
            .into_par_iter()
            .map(|draw| {
                let contrast = self.drawn(kept, draw);
                let answer = |answer: &Answer| {
                    let halves = moved(&answer.halves, answer.constant, &measured.control, &contrast.control);
                    Answer { halves, constant: answer.constant }
                };
                contrast.score(&answers.iter().map(answer).collect::<Vec<_>>())
            })
            .collect();
        Ok(by_condition(values, &draws?))
    }
}

/// The values of every condition with those of its draws (draws × conditions).
fn by_condition(values: Vec<Values>, draws: &[Vec<Values>]) -> Vec<(Values, Vec<Values>)> {
    let with_draws = |(at, values): (usize, Values)| (values, draws.iter().map(|draw| draw[at].clone()).collect());
    values.into_iter().enumerate().map(with_draws).collect()
}

/// Where a prediction lies when the controls move from `from` to `to`.
fn moved(halves: &[Centre; 2], constant: bool, from: &[Centre; 2], to: &[Centre; 2]) -> [Centre; 2] {
    std::array::from_fn(
        |half| {
            if constant { halves[half].clone() } else { halves[half].plus(&to[half].minus(&from[half])) }
        },
    )
}
