//! The metrics of one prediction of one condition, all but retrieval, which needs every condition.

use std::collections::BTreeMap;

use ndarray::{Array1, ArrayView1, Axis};

use super::view::{Space, View, evenly};
use crate::metric::{self, Distance, Estimator, MetricError};

/// Metric values by name; `None` where undefined.
pub(super) type Values = BTreeMap<String, Option<f64>>;

/// What a prediction is measured against.
pub(super) struct Frame<'a> {
    /// Held-out cells of the condition.
    pub(super) truth: &'a View,
    /// Held-out controls of its context.
    pub(super) control: &'a View,
    /// Genes of the expression metrics.
    pub(super) top: &'a [usize],
    /// Mean of the training controls of its context.
    pub(super) train_control: &'a Array1<f64>,
    /// Mean over the training conditions of their means.
    pub(super) centroid: Option<&'a Array1<f64>>,
}

impl Frame<'_> {
    /// Measures a prediction.
    pub(super) fn score(&self, predicted: &View) -> Result<Values, MetricError> {
        let mut values = Values::new();
        let (truth, prediction) = (self.truth.mean.view(), predicted.mean.view());
        let top = |vector: ArrayView1<'_, f64>| vector.select(Axis(0), self.top);
        let (truth_top, predicted_top) = (top(truth), top(prediction));
        let delta = |reference: &Array1<f64>| {
            metric::pearson_delta(truth_top.view(), predicted_top.view(), top(reference.view()).view())
        };
        values.insert("pearson_delta_control".into(), delta(&self.control.mean)?);
        values.insert("pearson_delta_published".into(), self.published(&truth_top, &predicted_top)?);
        let perturbed = self.centroid.map(delta).transpose()?.flatten();
        values.insert("pearson_delta_perturbed".into(), perturbed);
        values.insert("l2_top1000".into(), Some(metric::l2(truth_top.view(), predicted_top.view())?));
        values.insert("mse".into(), Some(metric::mse(truth, prediction)?));
        values.insert("mae".into(), Some(metric::mae(truth, prediction)?));

        let (truth, control) = (self.truth, self.control);
        in_space("pca50", &truth.components, &control.components, &predicted.components, &mut values)?;
        if let (Some(truth), Some(control), Some(space)) = (&truth.embedding, &control.embedding, &predicted.embedding)
        {
            in_space("embedding", truth, control, space, &mut values)?;
            values.insert("cosine_embedding".into(), metric::cosine(truth.mean.view(), space.mean.view())?);
        }
        Ok(values)
    }

    /// Pearson-delta with the training control mean under the truth, as in the literature, which does not hold controls
    /// out: a change that was fitted against those controls shares their noise with the truth.
    fn published(&self, truth: &Array1<f64>, prediction: &Array1<f64>) -> Result<Option<f64>, MetricError> {
        let control = self.control.mean.select(Axis(0), self.top);
        let moved = truth + &control - self.train_control.select(Axis(0), self.top);
        metric::pearson_delta(moved.view(), prediction.view(), control.view())
    }
}

/// The metrics of a space of cells. Groups are cut to equal size, because the V form depends on it.
fn in_space(
    name: &str,
    truth: &Space,
    control: &Space,
    predicted: &Space,
    values: &mut Values,
) -> Result<(), MetricError> {
    let n = truth.cells.nrows().min(predicted.cells.nrows());
    let (real, made) = (evenly(&truth.cells, n), evenly(&predicted.cells, n));
    let energy = |distance, estimator| metric::energy(real.view(), made.view(), distance, estimator);
    values.insert(format!("energy_{name}"), energy(Distance::Euclidean, Estimator::V)?);
    values.insert(format!("energy_u_{name}"), energy(Distance::Euclidean, Estimator::U)?);
    values.insert(format!("edist_{name}"), energy(Distance::Squared, Estimator::U)?);
    let cosine = metric::cosine_delta(truth.mean.view(), predicted.mean.view(), control.mean.view())?;
    values.insert(format!("cosine_delta_{name}"), cosine);
    values.insert(format!("l2_{name}"), Some(metric::l2(truth.mean.view(), predicted.mean.view())?));
    Ok(())
}
