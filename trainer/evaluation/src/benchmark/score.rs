//! The metrics of one prediction of one condition: of means, which follow from the centres alone and so can be worked
//! out again for resampled ones, and of sets of cells.

use std::collections::BTreeMap;

use ndarray::{Array1, ArrayView1, Axis};

use super::measured::Context;
use super::resample::equal;
use super::space::{Cells, Centre};
use crate::metric::role::{Ceiling, Function, SetDistances, Space};
use crate::metric::{Column, Distance, Distances, MetricError, Sides};

/// Values by number of the column; `None` where undefined.
pub(super) type Values = BTreeMap<usize, Option<f64>>;

/// What the means of a prediction are measured against.
pub(super) struct Frame<'a> {
    /// What is worked out.
    pub(super) columns: &'a [Column],
    /// The context of the condition.
    pub(super) context: &'a Context,
    /// Mean of the training controls of the context.
    pub(super) train_control: &'a Array1<f64>,
    /// Mean over the training conditions of their means.
    pub(super) centroid: Option<&'a Array1<f64>>,
}

/// Means of one condition, as measured or as resampled.
pub(super) struct Means<'a> {
    /// Of the measured cells.
    pub(super) truth: &'a Centre,
    /// Of either half of the controls.
    pub(super) control: &'a [Centre; 2],
    /// Predicted from either half of the controls.
    pub(super) predicted: &'a [Centre; 2],
}

impl Frame<'_> {
    /// The metrics of means.
    pub(super) fn means(&self, means: &Means<'_>) -> Result<Values, MetricError> {
        let mut values = Values::new();
        let (control, predicted) = (self.context.over_halves(means.control), self.context.over_halves(means.predicted));
        let whole = [means.truth, &predicted, &control];
        let halves = [0, 1].map(|half| [&means.predicted[half], &means.control[half]]);
        let top = Top::new(self, whole, halves);
        for (at, column) in self.columns.iter().enumerate() {
            let Function::Means(function) = column.metric.function else { continue };
            let sides = match column.space {
                Space::Top => top.sides(self.context.halved()),
                Space::All => self.sides(whole, halves, |centre| centre.expression.view()),
                space => self.sides(whole, halves, |centre| centre.of_cells(space)),
            };
            values.insert(at, function(&sides)?);
        }
        Ok(values)
    }

    /// All vectors in one space, which is taken out of centres as it is.
    fn sides<'b>(
        &self,
        [truth, predicted, control]: [&'b Centre; 3],
        halves: [[&'b Centre; 2]; 2],
        of: impl Fn(&'b Centre) -> ArrayView1<'b, f64>,
    ) -> Sides<'b> {
        Sides {
            truth: of(truth),
            predicted: of(predicted),
            control: of(control),
            halves: self.context.halved().then(|| halves.map(|half| half.map(&of))),
            train_control: None,
            centroid: None,
        }
    }
}

/// Expression of the top genes.
struct Top {
    whole: [Array1<f64>; 3],
    halves: [[Array1<f64>; 2]; 2],
    train_control: Array1<f64>,
    centroid: Option<Array1<f64>>,
}

impl Top {
    fn new(frame: &Frame<'_>, whole: [&Centre; 3], halves: [[&Centre; 2]; 2]) -> Self {
        let top = |vector: &Array1<f64>| vector.select(Axis(0), &frame.context.top);
        Self {
            whole: whole.map(|centre| top(&centre.expression)),
            halves: halves.map(|half| half.map(|centre| top(&centre.expression))),
            train_control: top(frame.train_control),
            centroid: frame.centroid.map(top),
        }
    }

    fn sides(&self, halved: bool) -> Sides<'_> {
        let [truth, predicted, control] = self.whole.each_ref().map(|vector| vector.view());
        Sides {
            truth,
            predicted,
            control,
            halves: halved.then(|| self.halves.each_ref().map(|half| half.each_ref().map(|vector| vector.view()))),
            train_control: Some(self.train_control.view()),
            centroid: self.centroid.as_ref().map(|vector| vector.view()),
        }
    }
}

/// Measured and predicted cells of a condition in one space, equally many of both, because the V form depends on it.
pub(super) struct SetPair {
    space: Space,
    distances: SetDistances,
}

impl SetPair {
    /// In every space.
    pub(super) fn all(truth: &Cells, predicted: &Cells) -> Result<Vec<Self>, MetricError> {
        let n = truth.n().min(predicted.n());
        let (real, made) = (truth.evenly(n), predicted.evenly(n));
        let mut pairs = Vec::new();
        for ((space, real), (_, made)) in real.spaces().zip(made.spaces()) {
            let euclidean = Distances::new(real.view(), made.view(), Distance::Euclidean)?;
            pairs.push(Self { space, distances: SetDistances { n, squared: euclidean.squared(), euclidean } });
        }
        Ok(pairs)
    }

    /// Cells a side.
    pub(super) fn n(&self) -> usize {
        self.distances.n
    }

    /// The distances, with the measured and the predicted cells weighted anew where weights are given.
    pub(super) fn score(&self, columns: &[Column], weights: Option<(&Array1<f64>, &Array1<f64>)>, values: &mut Values) {
        let same = equal(self.n());
        let (x, y) = weights.unwrap_or((&same, &same));
        for (at, column) in columns.iter().enumerate().filter(|(_, column)| column.space == self.space) {
            if let Function::Sets(function) = column.metric.function {
                values.insert(at, function(&self.distances, x, y));
            }
        }
    }

    /// What as many cells of the true distribution would score.
    pub(super) fn ceiling(&self, columns: &[Column]) -> Values {
        let own = columns.iter().enumerate().filter(|(_, column)| column.space == self.space);
        let ceiling = |(at, column): (usize, &Column)| match column.metric.ceiling {
            Ceiling::Sets(function) => Some((at, function(&self.distances))),
            _ => None,
        };
        own.filter_map(ceiling).collect()
    }
}
