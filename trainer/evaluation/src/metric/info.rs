//! What a metric is, for readers of a result file.

use serde::{Deserialize, Serialize};

/// Better direction of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Errors and distances.
    Lower,
    /// Correlations and similarities.
    Higher,
}

/// One column of the table of results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricInfo {
    /// Name, e.g. `pearson_delta_control`.
    pub name: String,
    /// Heading, e.g. `Pearson-delta (control)`.
    pub title: String,
    /// One sentence: definition and space.
    pub definition: String,
    /// Unit; empty for correlations, cosines and shares.
    #[serde(default)]
    pub unit: String,
    /// Better direction.
    pub better: Better,
    /// Whether methods are judged by it; forms that are shown for comparison with papers alone are not.
    #[serde(default = "yes")]
    pub judged: bool,
    /// Whether values below zero are the noise of an unbiased estimate of something that is not negative: they count as
    /// zero where two are compared.
    #[serde(default)]
    pub not_negative: bool,
    /// Whether it is a distance between sets of cells, of which there is a cap.
    #[serde(default)]
    pub of_sets: bool,
    /// Least and greatest value that there can be, where there is one: an interval ends there.
    #[serde(default)]
    pub range: [Option<f64>; 2],
    /// Stored vectors of an independent implementation that its function is checked against.
    #[serde(default)]
    pub oracle: String,
}

impl MetricInfo {
    /// The interval without what lies outside the range.
    pub(crate) fn within(&self, (low, high): (f64, f64)) -> (f64, f64) {
        let [least, greatest] = self.range;
        let clamp = |value: f64| {
            let value = least.map_or(value, |least| value.max(least));
            greatest.map_or(value, |greatest| value.min(greatest))
        };
        (clamp(low), clamp(high))
    }
}

fn yes() -> bool {
    true
}
