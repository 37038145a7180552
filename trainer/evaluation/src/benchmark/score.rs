//! The metrics of one prediction of one condition: of means, which follow from the centres alone and so can be worked
//! out again for resampled ones, and of sets of cells.

use std::collections::BTreeMap;

use ndarray::{Array1, ArrayView1, Axis};

use super::measured::Context;
use super::resample::equal;
use super::space::{Cells, Centre};
use crate::metric::{self, Distance, Distances, Estimator, MetricError};

/// Metric values by name; `None` where undefined.
pub(super) type Values = BTreeMap<String, Option<f64>>;

/// What the means of a prediction are measured against.
pub(super) struct Frame<'a> {
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
        let top = |vector: &Array1<f64>| vector.select(Axis(0), &self.context.top);
        let (control, predicted) = (self.context.over_halves(means.control), self.context.over_halves(means.predicted));
        let (truth_top, predicted_top, control_top) =
            (top(&means.truth.expression), top(&predicted.expression), top(&control.expression));

        let strict = self.crossed(means, |truth, predicted, truth_control, control| {
            let truth = top(&(&truth.expression - &truth_control.expression));
            let predicted = top(&(&predicted.expression - &control.expression));
            let floor = top(&control.expression);
            change_correlation(truth.view(), predicted.view(), floor.view())
        })?;
        values.insert("pearson_delta_control".into(), strict);
        let plain =
            |reference: &Array1<f64>| metric::pearson_delta(truth_top.view(), predicted_top.view(), reference.view());
        values.insert("pearson_delta_control_published".into(), plain(&control_top)?);
        values.insert("pearson_delta_published".into(), self.published(&truth_top, &predicted_top, &control_top)?);
        let perturbed = self.centroid.map(|centroid| plain(&top(centroid))).transpose()?.flatten();
        values.insert("pearson_delta_perturbed_published".into(), perturbed);
        values.insert("l2_top1000".into(), Some(metric::l2(truth_top.view(), predicted_top.view())?));
        let (truth, made) = (means.truth.expression.view(), predicted.expression.view());
        values.insert("mse".into(), Some(metric::mse(truth, made)?));
        values.insert("mae".into(), Some(metric::mae(truth, made)?));

        let spaces = means.truth.spaces().zip(predicted.spaces()).zip(control.spaces());
        for (at, (((name, truth), (_, made)), (_, control))) in spaces.enumerate() {
            let strict = self.crossed(means, |truth, predicted, truth_control, control| {
                let space = |centre: &Centre| centre.spaces().nth(at).map(|(_, mean)| mean.to_owned());
                let (Some(truth), Some(predicted), Some(from), Some(to)) =
                    (space(truth), space(predicted), space(truth_control), space(control))
                else {
                    return Ok(None);
                };
                metric::cosine_delta((&truth - &from + &to).view(), predicted.view(), to.view())
            })?;
            values.insert(format!("cosine_delta_{name}"), strict);
            values.insert(format!("cosine_delta_{name}_published"), metric::cosine_delta(truth, made, control)?);
            values.insert(format!("l2_{name}"), Some(metric::l2(truth, made)?));
            if name == "embedding" {
                values.insert("cosine_embedding".into(), metric::cosine(truth, made)?);
            }
        }
        Ok(values)
    }

    /// The mean of a metric over both assignments of the halves of the controls: the truth is referred to one of them, the
    /// prediction to the other. `None` where a half has no cell or one assignment is undefined.
    fn crossed(
        &self,
        means: &Means<'_>,
        metric: impl Fn(&Centre, &Centre, &Centre, &Centre) -> Result<Option<f64>, MetricError>,
    ) -> Result<Option<f64>, MetricError> {
        if !self.context.halved() {
            return Ok(None);
        }
        let one =
            |half: usize| metric(means.truth, &means.predicted[half], &means.control[1 - half], &means.control[half]);
        Ok(one(0)?.zip(one(1)?).map(|(first, second)| f64::midpoint(first, second)))
    }

    /// Pearson-delta with the training control mean under the truth, as in the literature, which does not hold controls
    /// out: a change that was fitted against those controls shares their noise with the truth.
    fn published(
        &self,
        truth: &Array1<f64>,
        prediction: &Array1<f64>,
        control: &Array1<f64>,
    ) -> Result<Option<f64>, MetricError> {
        let moved = truth + control - self.train_control.select(Axis(0), &self.context.top);
        metric::pearson_delta(moved.view(), prediction.view(), control.view())
    }
}

/// Correlation of two changes of a mean; a change that is nothing but the rounding of values as large as those of `level`
/// counts as none.
pub(super) fn change_correlation(
    truth: ArrayView1<'_, f64>,
    predicted: ArrayView1<'_, f64>,
    level: ArrayView1<'_, f64>,
) -> Result<Option<f64>, MetricError> {
    metric::pearson_delta((&truth + &level).view(), (&predicted + &level).view(), level)
}

/// Measured and predicted cells of a condition in one space, equally many of both, because the V form depends on it.
pub(super) struct SetPair {
    space: &'static str,
    /// Cells a side.
    pub(super) n: usize,
    euclidean: Distances,
    squared: Distances,
}

impl SetPair {
    /// In every space.
    pub(super) fn all(truth: &Cells, predicted: &Cells) -> Result<Vec<Self>, MetricError> {
        let n = truth.n().min(predicted.n());
        let (real, made) = (truth.evenly(n), predicted.evenly(n));
        let mut pairs = Vec::new();
        for ((space, real), (_, made)) in real.spaces().zip(made.spaces()) {
            let euclidean = Distances::new(real.view(), made.view(), Distance::Euclidean)?;
            pairs.push(Self { space, n, squared: euclidean.squared(), euclidean });
        }
        Ok(pairs)
    }

    /// The distances, with the measured and the predicted cells weighted anew where weights are given.
    pub(super) fn score(&self, weights: Option<(&Array1<f64>, &Array1<f64>)>, values: &mut Values) {
        let same = equal(self.n);
        let (x, y) = weights.unwrap_or((&same, &same));
        let name = self.space;
        values.insert(format!("energy_{name}"), self.euclidean.energy(x, y, Estimator::V));
        values.insert(format!("energy_u_{name}"), self.euclidean.energy(x, y, Estimator::U));
        values.insert(format!("edist_{name}"), self.squared.energy(x, y, Estimator::U));
    }

    /// What as many cells of the true distribution would score: `2 δ / n`, with the mean distance δ between two measured
    /// cells, where a cell counts as its own neighbour, and 0 in the unbiased forms.
    pub(super) fn ceiling(&self) -> Values {
        let name = self.space;
        let spread = self.euclidean.spread().map(|spread| 2.0 * spread / self.n as f64);
        let unbiased = (self.n > 1).then_some(0.0);
        Values::from([
            (format!("energy_{name}"), spread),
            (format!("energy_u_{name}"), unbiased),
            (format!("edist_{name}"), unbiased),
        ])
    }
}
