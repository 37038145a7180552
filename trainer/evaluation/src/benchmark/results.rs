//! The result file of an evaluation (`RUN/results.json`): what `evaluate` writes and `report` reads.
//!
//! Guarantee: a value that is not defined (the Pearson-delta of a prediction without any change) is `null`
//! in the file and carries a flag; it is never averaged in silently.

use std::path::Path;

use serde::{Deserialize, Serialize};
/// The name of the control among perturbations.
pub use syncyte_sharding::labels::CONTROL;

pub use crate::metric::{Better, MetricInfo};

/// One aggregated number: a method on a split under a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Method, e.g. `no_change`, `additive`, `jepa_set_head`.
    pub method: String,
    /// Split or stratum, e.g. `test/singles`, `test/doubles`.
    pub split: String,
    /// Metric, e.g. `pearson_delta_control`.
    pub metric: String,
    /// Mean over conditions; `None` where the metric is undefined for the method.
    pub value: Option<f64>,
    /// Lower end of the 95 % bootstrap interval over conditions.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Number of conditions that the mean is over: those where the metric is defined.
    pub n_conditions: usize,
    /// Number of conditions of the split where the metric is undefined for the method; they are not in the mean.
    #[serde(default)]
    pub n_undefined: usize,
    /// Training seeds behind the value.
    pub seeds: Vec<u64>,
    /// What the true mean would score given the cells that were measured; `None` where the metric has no ceiling.
    #[serde(default)]
    pub ceiling: Option<f64>,
    /// How much the sampling of a method that samples moves the value: its standard error over parts of the samples.
    #[serde(default)]
    pub sampling_sd: Option<f64>,
    /// For one of our models, how it stands to the best baseline: `better`, `worse`, `within noise` or `cannot be judged`.
    #[serde(default)]
    pub verdict: Option<String>,
}

/// One method on one condition (the per-perturbation table).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConditionRow {
    /// Method.
    pub method: String,
    /// Finest stratum of the condition: `test/singles`, `test/doubles` or, for larger combinations, `test/all`.
    pub split: String,
    /// Canonical name of the perturbation.
    pub perturbation: String,
    /// Context of the cells.
    pub context: String,
    /// Number of held-out cells behind the truth.
    pub n_cells: usize,
    /// Cells a side that the distances between sets are taken of.
    #[serde(default)]
    pub n_distance_cells: usize,
    /// Value of every metric, by name; `None` where undefined.
    pub metrics: std::collections::BTreeMap<String, Option<f64>>,
    /// Remarks of the method, e.g. `single_missing:CEBPA`, `no_predicted_change`.
    pub flags: Vec<String>,
}

/// Paired difference of two methods over the conditions where both are defined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Method, not a baseline.
    pub method: String,
    /// Baseline it is held against.
    pub baseline: String,
    /// Split or stratum, as in [`ResultRow::split`].
    pub split: String,
    /// Metric.
    pub metric: String,
    /// Mean over conditions of the method's value minus the baseline's, in the units of the metric.
    pub difference: f64,
    /// Lower end of the paired 95 % bootstrap interval over conditions.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Number of conditions where both are defined.
    pub n_conditions: usize,
    /// Whether this is the baseline with the best mean on the split under the metric.
    pub best_baseline: bool,
    /// Whether the whole interval lies on the better side of zero.
    pub beats: bool,
}

/// What a metric is worth without a method: chance, or the truth itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// `chance`, or `ceiling` for what the true mean would score given the cells that were measured.
    pub name: String,
    /// Split or stratum, as in [`ResultRow::split`].
    pub split: String,
    /// Metric.
    pub metric: String,
    /// Mean over the conditions where it is defined.
    pub value: f64,
    /// Number of those conditions.
    pub n_conditions: usize,
}

/// The room that a metric leaves on a split, between knowing nothing and the truth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DynamicRange {
    /// Split or stratum, as in [`ResultRow::split`].
    pub split: String,
    /// Metric.
    pub metric: String,
    /// Value of the best method that predicts the same whatever is asked for; 0 where the metric is undefined for those.
    pub floor: f64,
    /// That method; `None` where the metric is undefined for all of them.
    pub floor_method: Option<String>,
    /// What the true mean would score.
    pub ceiling: f64,
    /// `(floor − ceiling) / (floor − perfect)`, the share of the way from knowing nothing to a perfect value that the
    /// measured cells allow (Miller et al. 2025); `None` where the floor is perfect.
    pub share: Option<f64>,
}

/// A held-out condition that was not evaluated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DroppedCondition {
    /// Canonical name of the perturbation.
    pub perturbation: String,
    /// Context of the cells.
    pub context: String,
    /// Number of its held-out cells.
    pub n_cells: usize,
    /// Why it was left out, e.g. `fewer than 10 held-out cells`.
    pub reason: String,
}

/// A point of the embedding figure: one held-out cell or one prediction, on the two leading components.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingPoint {
    /// First principal component.
    pub x: f64,
    /// Second principal component.
    pub y: f64,
    /// Canonical name of the perturbation.
    pub perturbation: String,
    /// Whether the point is a prediction (otherwise a measured cell).
    pub predicted: bool,
}

fn yes() -> bool {
    true
}

/// What a method is, for readers of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodInfo {
    /// Name used in [`ResultRow::method`].
    pub name: String,
    /// Heading, e.g. `Additive`.
    pub title: String,
    /// One sentence on what it does and what it was allowed to see.
    pub description: String,
    /// Whether it is a baseline (otherwise one of our models).
    pub baseline: bool,
    /// Whether its prediction depends on the perturbation that is asked for.
    #[serde(default = "yes")]
    pub informed: bool,
}

/// Where the numbers come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// SHA-256 of the resolved configuration.
    pub config_hash: String,
    /// Hash of the cell store.
    pub data_hash: String,
    /// Hash of the split.
    pub split_hash: String,
    /// Source revision the program was built from.
    pub git: String,
    /// Seed of the run.
    pub seed: u64,
    /// Parameter hash of the first encoder that was evaluated.
    pub parameter_hash: String,
    /// Parameter hashes of all encoders, by the name of their embedding.
    #[serde(default)]
    pub encoders: std::collections::BTreeMap<String, String>,
    /// Machine: processor, cores, memory, accelerator.
    pub hardware: String,
    /// Cells, genes, perturbations, source files, whether synthetic; free form, shown as a table.
    pub data: std::collections::BTreeMap<String, String>,
    /// Wall time in seconds, by stage.
    pub stage_seconds: std::collections::BTreeMap<String, f64>,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Aggregated numbers.
    pub results: Vec<ResultRow>,
    /// Per-condition numbers.
    pub conditions: Vec<ConditionRow>,
    /// Methods against baselines, paired over conditions.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// Chance levels and ceilings of the metrics.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// Room that the metrics leave.
    #[serde(default)]
    pub ranges: Vec<DynamicRange>,
    /// What makes the numbers less sure than they look, in sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Held-out conditions that were not evaluated, and why.
    #[serde(default)]
    pub dropped: Vec<DroppedCondition>,
    /// Method whose predictions the embedding figure shows.
    #[serde(default)]
    pub embedding_method: String,
    /// Points of the embedding figure.
    pub embedding: Vec<EmbeddingPoint>,
    /// Metrics in the order of the table; the first is the primary one.
    pub metrics: Vec<MetricInfo>,
    /// Methods in the order of the table.
    pub methods: Vec<MethodInfo>,
    /// Where the numbers come from.
    pub provenance: Provenance,
}

/// Why a result file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// File.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The file is not a result file.
    #[error("{path} is not a result file of `syncyte evaluate`: {source}")]
    Format {
        /// File.
        path: String,
        /// Cause.
        source: serde_json::Error,
    },
}

impl Results {
    /// Reads a result file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a result file.
    pub fn load(path: &Path) -> Result<Self, ResultsError> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ResultsError::Io { path: name(), source })?;
        serde_json::from_str(&text).map_err(|source| ResultsError::Format { path: name(), source })
    }
}
