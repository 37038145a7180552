//! What a predictor of perturbations must offer to be evaluated: baselines and our models alike.

use ndarray::{Array1, Array2, ArrayView2};
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
    /// A bag of held-out control cells of the context, cells × genes, log-normalised.
    pub control: ArrayView2<'a, f32>,
    /// Their rows in the store, for seeding.
    pub cells: &'a [u64],
    /// Number of the draw of each cell, for methods that sample: another number, another sample of the same cell.
    pub draws: &'a [u64],
}

/// What becomes of the control cells.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All of them move by the same change (genes), whichever they are.
    Shift(Array1<f64>),
    /// All of them become this one profile (genes), whichever they are.
    Profile(Array1<f64>),
    /// Each becomes a cell of its own.
    Cells {
        /// Predicted cells × genes, log-normalised, in the order of the control cells.
        cells: Array2<f32>,
        /// Predicted cells × dimensions, where the method predicts in the embedding of [`Method::encoder`].
        latent: Option<Array2<f32>>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// What becomes of the cells.
    pub outcome: Outcome,
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
    /// The training cells cannot be read.
    #[error(transparent)]
    Training(#[from] crate::fold::FoldError),
    /// The fit failed.
    #[error("fit: {0}")]
    Linalg(#[from] crate::linalg::LinalgError),
    /// Any other cause, from the method itself.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// A predictor of perturbed cells, fitted.
///
/// Conditions are asked about from several threads at once.
pub trait Method: Send + Sync {
    /// Name, title and one sentence for the report.
    fn info(&self) -> MethodInfo;

    /// Id of the split whose training fold the method was fitted on; `None` for a method without a fit.
    fn fitted_on(&self) -> Option<&str> {
        None
    }

    /// Parameter hash of the frozen encoder that the method predicts in, if it does.
    fn encoder(&self) -> Option<&str> {
        None
    }

    /// Whether a prediction is a random sample, so that another draw gives other cells.
    fn samples(&self) -> bool {
        false
    }

    /// Predicts what becomes of a bag of control cells under a condition. A [`Outcome::Shift`] or [`Outcome::Profile`]
    /// must not depend on the bag.
    ///
    /// # Errors
    /// When the query does not fit the method or its computation fails.
    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError>;
}
