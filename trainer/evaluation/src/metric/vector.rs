//! Metrics between two vectors: a measured and a predicted mean profile, or two mean latents.

use ndarray::ArrayView1;

use super::{MetricError, check};

/// Euclidean distance `√Σ(y − ŷ)²`, not divided by the number of entries.
///
/// # Errors
/// When the lengths differ or an entry is not finite.
pub fn l2(truth: ArrayView1<'_, f64>, prediction: ArrayView1<'_, f64>) -> Result<f64, MetricError> {
    Ok(squared_error(truth, prediction)?.sqrt())
}

/// Mean squared error.
///
/// # Errors
/// When the lengths differ or an entry is not finite.
pub fn mse(truth: ArrayView1<'_, f64>, prediction: ArrayView1<'_, f64>) -> Result<f64, MetricError> {
    Ok(squared_error(truth, prediction)? / truth.len() as f64)
}

/// Mean absolute error.
///
/// # Errors
/// When the lengths differ or an entry is not finite.
pub fn mae(truth: ArrayView1<'_, f64>, prediction: ArrayView1<'_, f64>) -> Result<f64, MetricError> {
    check_pair(truth, prediction)?;
    let sum: f64 = truth.iter().zip(prediction).map(|(y, predicted)| (y - predicted).abs()).sum();
    Ok(sum / truth.len() as f64)
}

/// Pearson correlation; `None` where one of the two is constant.
///
/// # Errors
/// When the lengths differ or an entry is not finite.
pub fn pearson(truth: ArrayView1<'_, f64>, prediction: ArrayView1<'_, f64>) -> Result<Option<f64>, MetricError> {
    check_pair(truth, prediction)?;
    let centred = |vector: ArrayView1<'_, f64>| {
        let mean = vector.sum() / vector.len() as f64;
        vector.mapv(|entry| entry - mean)
    };
    let floor = |vector: ArrayView1<'_, f64>| magnitude(vector) * 1e-12;
    let (a, b) = (centred(truth), centred(prediction));
    Ok(direction(a.view(), b.view(), floor(truth), floor(prediction)))
}

/// Cosine of the angle; `None` where one of the two is zero.
///
/// # Errors
/// When the lengths differ or an entry is not finite.
pub fn cosine(truth: ArrayView1<'_, f64>, prediction: ArrayView1<'_, f64>) -> Result<Option<f64>, MetricError> {
    check_pair(truth, prediction)?;
    Ok(direction(truth, prediction, 0.0, 0.0))
}

/// Cosine of two vectors; `None` where the root mean square of one does not exceed its floor.
pub(super) fn direction(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>, floor_a: f64, floor_b: f64) -> Option<f64> {
    let root = (a.len() as f64).sqrt();
    let (norm_a, norm_b) = (a.dot(&a).sqrt(), b.dot(&b).sqrt());
    let defined = norm_a > floor_a * root && norm_b > floor_b * root;
    defined.then(|| (a.dot(&b) / norm_a / norm_b).clamp(-1.0, 1.0))
}

/// Largest absolute entry.
pub(super) fn magnitude(vector: ArrayView1<'_, f64>) -> f64 {
    vector.iter().fold(0.0, |largest, entry| entry.abs().max(largest))
}

/// Checks truth and prediction against each other.
pub(super) fn check_pair(truth: ArrayView1<'_, f64>, prediction: ArrayView1<'_, f64>) -> Result<(), MetricError> {
    check("truth", truth, truth.len())?;
    check("prediction", prediction, truth.len())
}

fn squared_error(truth: ArrayView1<'_, f64>, prediction: ArrayView1<'_, f64>) -> Result<f64, MetricError> {
    check_pair(truth, prediction)?;
    Ok(truth.iter().zip(prediction).map(|(y, predicted)| (y - predicted).powi(2)).sum())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};
    use proptest::prelude::*;

    use super::{cosine, l2, mae, mse, pearson};
    use crate::metric::MetricError;

    #[test]
    fn closed_forms_hold() {
        let (y, predicted) = (array![0.0, 0.0, 3.0], array![0.0, 4.0, 0.0]);
        assert_eq!(l2(y.view(), predicted.view()), Ok(5.0));
        assert_eq!(mse(y.view(), predicted.view()), Ok(25.0 / 3.0));
        assert_eq!(mae(y.view(), predicted.view()), Ok(7.0 / 3.0));
        assert_eq!(cosine(y.view(), predicted.view()), Ok(Some(0.0)));
        assert_eq!(pearson(y.view(), (&y * 2.0 + 1.0).view()).unwrap().map(|r| (r * 1e12).round()), Some(1e12));
    }

    #[test]
    fn a_constant_has_no_correlation_and_a_zero_vector_no_direction() {
        let y = array![0.1, 0.7, 0.3];
        assert_eq!(pearson(y.view(), array![0.3, 0.3, 0.3].view()), Ok(None));
        assert_eq!(cosine(y.view(), Array1::zeros(3).view()), Ok(None));
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let error = l2(array![1.0, 2.0].view(), array![1.0, f64::NAN].view()).unwrap_err();
        assert!(matches!(error, MetricError::NotFinite { what: "prediction", at: 1, .. }));
        assert!(matches!(mae(array![1.0].view(), array![1.0, 2.0].view()), Err(MetricError::Length { .. })));
        assert!(matches!(mae(Array1::zeros(0).view(), array![1.0].view()), Err(MetricError::Empty { what: "truth" })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pearson_is_invariant_to_scale_and_offset(
            y in prop::collection::vec(-5.0f64..5.0, 8), z in prop::collection::vec(-5.0f64..5.0, 8),
            scale in 0.1f64..10.0, offset in -3.0f64..3.0,
        ) {
            let (y, z) = (Array1::from(y), Array1::from(z));
            let plain = pearson(y.view(), z.view()).unwrap().unwrap();
            let moved = pearson(y.view(), (&z * scale + offset).view()).unwrap().unwrap();
            prop_assert!((plain - moved).abs() < 1e-9);
        }
    }
}
