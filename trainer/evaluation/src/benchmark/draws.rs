//! The values of one method on one condition: as measured, and how they move when cells and controls are drawn again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bootstrap::Sampled;
use super::resample::STEP;
use super::score::Values;

/// Values with their deviations.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Scored {
    values: Values,
    deviations: BTreeMap<usize, Vec<f32>>,
    /// Values from parts of the samples, of a method that samples.
    parts: Vec<Values>,
}

impl Scored {
    /// Adds metrics: their values, and their values in every draw.
    pub(super) fn add(&mut self, values: Values, draws: &[Values]) {
        for (&metric, value) in &values {
            if let Some(value) = value {
                let drawn = draws.iter().map(|draw| draw.get(&metric).copied().flatten());
                self.deviations.insert(metric, deviations(*value, drawn));
            }
        }
        self.values.extend(values);
    }

    /// Sets the values from parts of the samples.
    pub(super) fn set_parts(&mut self, parts: Vec<Values>) {
        self.parts = parts;
    }

    /// The value of a metric; `None` where undefined.
    pub(super) fn value(&self, metric: usize) -> Option<f64> {
        self.values.get(&metric).copied().flatten()
    }

    /// The value of a metric with its deviations.
    pub(super) fn sampled(&self, metric: usize) -> Option<Sampled<'_>> {
        let deviations = self.deviations.get(&metric).map_or(&[][..], Vec::as_slice);
        Some(Sampled { value: self.value(metric)?, deviations })
    }

    /// The value of a metric from each part of the samples, where all are defined.
    pub(super) fn parts(&self, metric: usize) -> Option<Vec<f64>> {
        let parts: Option<Vec<f64>> = self.parts.iter().map(|part| part.get(&metric).copied().flatten()).collect();
        parts.filter(|parts| parts.len() > 1)
    }

    /// All values.
    pub(super) fn into_values(self) -> Values {
        self.values
    }
}

/// Distances of the draws from their mean, at full length; a draw in which the metric is undefined moves nothing.
fn deviations(value: f64, drawn: impl Iterator<Item = Option<f64>>) -> Vec<f32> {
    let drawn: Vec<Option<f64>> = drawn.collect();
    let defined: Vec<f64> = drawn.iter().copied().flatten().collect();
    let mean = if defined.is_empty() { value } else { defined.iter().sum::<f64>() / defined.len() as f64 };
    drawn.into_iter().map(|value| value.map_or(0.0, |value| ((value - mean) / STEP) as f32)).collect()
}

/// The difference of two values with their deviations; where `not_negative`, values below zero count as zero.
pub(super) fn difference(a: Sampled<'_>, b: Sampled<'_>, not_negative: bool) -> (f64, Vec<f32>) {
    let count = |value: f64| if not_negative { value.max(0.0) } else { value };
    let value = count(a.value) - count(b.value);
    let drawn = a.deviations.iter().zip(b.deviations).map(|(&x, &y)| {
        let drawn = count(a.value + f64::from(x)) - count(b.value + f64::from(y));
        (drawn - value) as f32
    });
    (value, drawn.collect())
}

#[cfg(test)]
mod tests {
    use super::{Scored, difference};
    use crate::benchmark::bootstrap::Sampled;
    use crate::benchmark::score::Values;

    #[test]
    fn deviations_are_from_the_mean_of_the_draws_and_undefined_draws_move_nothing() {
        let of = |value: Option<f64>| Values::from([(0, value)]);
        let mut scored = Scored::default();
        scored.add(of(Some(5.0)), &[of(Some(7.0)), of(None), of(Some(9.0))]);
        let sampled = scored.sampled(0).unwrap();
        assert_eq!((sampled.value, sampled.deviations), (5.0, &[-2.0f32, 0.0, 2.0][..]), "drawn half the way");
        scored.add(of(None), &[]);
        assert!(scored.sampled(0).is_none());
    }

    #[test]
    fn unbiased_distances_below_zero_count_as_zero() {
        let (a, b) =
            (Sampled { value: -0.5, deviations: &[0.0, 1.0] }, Sampled { value: -0.1, deviations: &[0.0, 0.0] });
        assert_eq!(difference(a, b, true), (0.0, vec![0.0, 0.5]));
        assert_eq!(difference(a, b, false).0, -0.4);
    }
}
