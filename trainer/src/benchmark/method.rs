//! What a predictor of perturbations must offer to be evaluated: baselines and our models alike.

use ndarray::{Array2, ArrayView2};
use syncyte_sharding::labels::Perturbation;

use super::results::MethodInfo;

/// A question: what do these control cells become?
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// What is done to the cells.
    pub perturbation: &'a Perturbation,
    /// Number of their context.
    pub context: u32,
    /// Number of the kind of perturbation.
    pub kind: u32,
    /// Held-out control cells of the context, cells × genes, log-normalised.
    pub control: ArrayView2<'a, f32>,
    /// Their rows in the store, for seeding.
    pub cells: &'a [u64],
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Predicted cells × genes, log-normalised.
    pub cells: Array2<f32>,
    /// Predicted cells × dimensions, where the method predicts in the embedding of the frozen encoder.
    pub latent: Option<Array2<f32>>,
    /// Remarks, e.g. `single_missing:CEBPA`.
    pub flags: Vec<String>,
}

/// Why a method gives no prediction.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// The query has other genes than the method was fitted on.
    #[error("the control cells have {found} genes, but the method was fitted on {expected}")]
    Genes {
        /// Genes of the method.
        expected: usize,
        /// Genes of the query.
        found: usize,
    },
    /// The fit failed.
    #[error("fit: {0}")]
    Linalg(#[from] crate::linalg::LinalgError),
    /// Any other cause, from the method itself.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// A predictor of perturbed cells.
pub trait Method {
    /// Name, title and one sentence for the report.
    fn info(&self) -> MethodInfo;

    /// Id of the split whose training fold the method was fitted on; `None` for a method without a fit.
    fn fitted_on(&self) -> Option<&str> {
        None
    }

    /// Predicts the cells of a condition.
    ///
    /// # Errors
    /// When the query does not fit the method or its computation fails.
    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError>;
}
