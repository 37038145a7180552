//! Why an evaluation fails.

use super::method::MethodError;
use super::space::EncodeError;
use crate::fold::FoldError;
use crate::linalg::LinalgError;
use crate::metric::MetricError;

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// Profiles, components or held-out cells do not belong together.
    #[error(transparent)]
    Profile(#[from] FoldError),
    /// A method was fitted under another split.
    #[error(
        "method {method} was fitted under split {fitted_on}, but the cells are held out under {split}; fit it again"
    )]
    OtherSplit {
        /// Method.
        method: String,
        /// Split it was fitted under.
        fitted_on: String,
        /// Split of the held-out cells.
        split: String,
    },
    /// A method predicts in an embedding that is not evaluated.
    #[error(
        "method {method} predicts in the embedding of encoder {encoder}, which is not among those that are evaluated"
    )]
    Encoder {
        /// Method.
        method: String,
        /// Parameter hash of the encoder.
        encoder: String,
    },
    /// Two methods have one name.
    #[error("two methods are named {0}; a name must be unique in the table")]
    DuplicateMethod(String),
    /// Training profiles, components and held-out cells differ in their genes.
    #[error(
        "the {what} has {found} genes, but the held-out cells have {expected} (or the same number in another order)"
    )]
    Genes {
        /// Which of them.
        what: &'static str,
        /// Genes of the held-out cells.
        expected: usize,
        /// Genes found.
        found: usize,
    },
    /// No condition has enough cells.
    #[error(
        "none of the {conditions} held-out conditions has {min_cells} cells; hold out more cells or lower the minimum"
    )]
    NoCondition {
        /// Number of conditions.
        conditions: usize,
        /// The minimum.
        min_cells: u64,
    },
    /// A method failed.
    #[error("method {method} on {perturbation}: {source}")]
    Method {
        /// Method.
        method: String,
        /// Perturbation.
        perturbation: String,
        /// Cause.
        source: Box<MethodError>,
    },
    /// A method returned something that is no prediction.
    #[error("method {method} on {perturbation}: {reason}")]
    Prediction {
        /// Method.
        method: String,
        /// Perturbation.
        perturbation: String,
        /// What is wrong.
        reason: String,
    },
    /// A metric met values that it is not defined for.
    #[error("metrics of {method} on {perturbation}: {source}")]
    Metric {
        /// Method.
        method: String,
        /// Perturbation.
        perturbation: String,
        /// Cause.
        source: MetricError,
    },
    /// The frozen encoder failed.
    #[error("encoding the cells of {perturbation}: {source}")]
    Encode {
        /// Perturbation, or the control.
        perturbation: String,
        /// Cause.
        source: EncodeError,
    },
    /// Another process that takes part failed, or could not be reached.
    #[error("{reason}")]
    Exchange {
        /// What it said.
        reason: String,
    },
    /// The embedding figure could not be computed.
    #[error("embedding figure: {0}")]
    Figure(#[from] LinalgError),
}
