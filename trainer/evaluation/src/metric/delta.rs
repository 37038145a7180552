//! Metrics of the change against a reference: they ask what a perturbation did, not what the cells look like.

use ndarray::{Array1, ArrayView1};

use super::vector::{check_pair, direction, magnitude};
use super::{MetricError, check};

/// Share of the largest value below which a change counts as none: above the rounding of `f32` cells, below
/// anything an experiment could measure.
const NOISE: f64 = 1e-6;

/// The `n` entries of highest value in ascending order of index; ties go to the lower index.
pub fn top_genes(control_mean: ArrayView1<'_, f64>, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..control_mean.len()).collect();
    order.sort_by(|&a, &b| control_mean[b].total_cmp(&control_mean[a]).then(a.cmp(&b)));
    order.truncate(n);
    order.sort_unstable();
    order
}

/// Pearson correlation of `y − r` with `ŷ − r`; `None` where a side has no variance, e.g. a prediction of no change.
///
/// With the control mean as reference `r` it is the Pearson-delta of the linear-baseline literature; with the mean of
/// the perturbed training conditions it removes what all perturbations share.
///
/// # Errors
/// When the lengths differ or an entry is not finite.
pub fn pearson_delta(
    truth: ArrayView1<'_, f64>,
    prediction: ArrayView1<'_, f64>,
    reference: ArrayView1<'_, f64>,
) -> Result<Option<f64>, MetricError> {
    let Deltas { mut real, mut predicted, floor } = Deltas::of(truth, prediction, reference)?;
    real -= real.sum() / real.len() as f64;
    predicted -= predicted.sum() / predicted.len() as f64;
    Ok(direction(real.view(), predicted.view(), floor, floor))
}

/// Cosine of `y − r` and `ŷ − r`; `None` where one of them is no change.
///
/// # Errors
/// When the lengths differ or an entry is not finite.
pub fn cosine_delta(
    truth: ArrayView1<'_, f64>,
    prediction: ArrayView1<'_, f64>,
    reference: ArrayView1<'_, f64>,
) -> Result<Option<f64>, MetricError> {
    let Deltas { real, predicted, floor } = Deltas::of(truth, prediction, reference)?;
    Ok(direction(real.view(), predicted.view(), floor, floor))
}

/// Whether a prediction equals the reference up to rounding.
pub fn no_change(prediction: ArrayView1<'_, f64>, reference: ArrayView1<'_, f64>) -> bool {
    let floor = NOISE * magnitude(reference).max(magnitude(prediction));
    prediction.iter().zip(reference).all(|(value, from)| (value - from).abs() <= floor)
}

struct Deltas {
    real: Array1<f64>,
    predicted: Array1<f64>,
    floor: f64,
}

impl Deltas {
    fn of(
        truth: ArrayView1<'_, f64>,
        prediction: ArrayView1<'_, f64>,
        reference: ArrayView1<'_, f64>,
    ) -> Result<Self, MetricError> {
        check_pair(truth, prediction)?;
        check("reference", reference, truth.len())?;
        let floor = NOISE * magnitude(reference).max(magnitude(truth)).max(magnitude(prediction));
        Ok(Self { real: &truth - &reference, predicted: &prediction - &reference, floor })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};

    use super::{cosine_delta, no_change, pearson_delta, top_genes};
    use crate::metric::{MetricError, pearson};

    #[test]
    fn the_highest_genes_come_back_and_ties_go_to_the_lower_index() {
        assert_eq!(top_genes(array![1.0, 3.0, 3.0, 0.0, 3.0].view(), 2), [1, 2]);
        assert_eq!(top_genes(array![1.0, 3.0].view(), 1000), [0, 1]);
    }

    #[test]
    fn predicting_the_control_has_a_high_raw_correlation_and_no_delta() {
        let control = Array1::from_iter((0..50).map(|gene| f64::from(gene) * 0.1));
        let truth = Array1::from_iter((0..50).map(|gene| f64::from(gene) * 0.1 + f64::from(gene % 3) * 0.05));
        assert!(pearson(truth.view(), control.view()).unwrap().unwrap() > 0.9);
        assert_eq!(pearson_delta(truth.view(), control.view(), control.view()), Ok(None));
        assert_eq!(cosine_delta(truth.view(), control.view(), control.view()), Ok(None));
        assert!(no_change(control.view(), control.view()) && !no_change(truth.view(), control.view()));
    }

    #[test]
    fn a_constant_shift_has_a_direction_but_no_correlation() {
        let (control, truth) = (array![1.0, 2.0, 4.0], array![1.5, 2.0, 5.0]);
        let shifted = &control + 0.3;
        assert_eq!(pearson_delta(truth.view(), shifted.view(), control.view()), Ok(None));
        let cosine = cosine_delta(truth.view(), shifted.view(), control.view()).unwrap().unwrap();
        assert!((cosine - 1.5 / (3.0f64.sqrt() * 1.25f64.sqrt())).abs() < 1e-12);
    }

    #[test]
    fn a_reference_that_is_not_finite_is_named() {
        let y = array![1.0, 2.0];
        let error = pearson_delta(y.view(), y.view(), array![0.0, f64::INFINITY].view()).unwrap_err();
        assert!(matches!(error, MetricError::NotFinite { what: "reference", at: 1, .. }));
    }
}
