//! Simple predictors that any model has to beat, fitted on the statistics of the training fold alone.
//!
//! All changes are against the training controls of the same context, and are put on the held-out control cells of
//! the query. Values are not clipped at zero, so that the mean of the predicted cells is exactly the predicted mean. A
//! baseline that lacks what it needs falls back as its description says and flags the prediction:
//!
//! | flag | meaning |
//! |---|---|
//! | `unseen_perturbation` | the perturbation was not trained on in any context |
//! | `other_context` | its change is the mean over other contexts, its own having none |
//! | `single_missing:GENE` | the single perturbation of GENE was not trained on; it adds nothing |
//! | `target_not_measured:GENE` | GENE is no measured gene, so the linear model has no features for it |
//! | `target_unseen:GENE` | no training perturbation targets GENE, so it has no feature column |
//! | `too_few_features` | fewer than two training perturbations have features, so there is no linear fit |
//! | `no_training_perturbation` | nothing of this kind was trained on; the control comes back |

mod additive;
mod linear;
mod mean;

use std::sync::Arc;

use ndarray::Array1;

pub use additive::Additive;
pub use linear::{Bilinear, Features, Linear, LinearConfig, gene_scores};
pub use mean::{MeanShift, NoChange, TrainMean};

use crate::benchmark::method::{Method, MethodError, Outcome, Prediction, Query};
use crate::benchmark::results::MethodInfo;
use crate::fold::{Origin, TrainingCells, TrainingMeans};

/// What a method may learn from: the training fold, and nothing else.
#[derive(Clone, Copy)]
pub struct Training<'a> {
    /// Means of its conditions.
    pub means: &'a Arc<TrainingMeans>,
    /// Its cells, for methods that need more than means; they may be visited as often as a fit needs.
    pub cells: &'a dyn TrainingCells,
    /// Seed of whatever a fit draws.
    pub seed: u64,
}

/// Fits a baseline.
pub type Fit = fn(&Training<'_>) -> Result<Box<dyn Method>, MethodError>;

/// All baselines, in the order of the table.
pub static BASELINES: [Fit; 7] = [
    |_| Ok(Box::new(NoChange)),
    |training| Ok(Box::new(MeanShift::own(training.means))),
    |training| Ok(Box::new(MeanShift::all(training.means))),
    |training| Ok(Box::new(TrainMean::new(training.means))),
    |training| Ok(Box::new(Additive::new(training.means))),
    |training| linear(training, Features::GeneScores),
    |training| linear(training, Features::Targets),
];

/// Fits all baselines.
///
/// # Errors
/// When a fit fails.
pub fn all(training: &Training<'_>) -> Result<Vec<Box<dyn Method>>, MethodError> {
    BASELINES.iter().map(|fit| fit(training)).collect()
}

fn linear(training: &Training<'_>, features: Features) -> Result<Box<dyn Method>, MethodError> {
    let config = LinearConfig { features, ..LinearConfig::default() };
    Ok(Box::new(Linear::fit(training.means, &config)?))
}

/// Description of a baseline.
fn info(name: &str, title: &str, description: &str) -> MethodInfo {
    let (name, title, description) = (name.into(), title.into(), description.into());
    MethodInfo { name, title, description, baseline: true, informed: true }
}

/// Description of a baseline that predicts the same whatever is asked for.
fn uninformed(name: &str, title: &str, description: &str) -> MethodInfo {
    MethodInfo { informed: false, ..info(name, title, description) }
}

/// Refuses control cells of other genes.
fn check_genes(query: &Query<'_>, expected: usize) -> Result<(), MethodError> {
    let found = query.control.ncols();
    if found == expected { Ok(()) } else { Err(MethodError::Genes { expected, found }) }
}

/// Every control cell plus one change.
fn shifted(delta: Array1<f64>, flags: Vec<String>) -> Prediction {
    Prediction { outcome: Outcome::Shift(delta), flags }
}

/// The control cells as they are, where nothing was trained on.
fn untrained(n_genes: usize) -> Prediction {
    shifted(Array1::zeros(n_genes), vec!["no_training_perturbation".into()])
}

/// The flag of a statistic that was borrowed.
fn borrowed(origin: Origin) -> Option<String> {
    (origin == Origin::OtherContexts).then(|| "other_context".into())
}

#[cfg(test)]
mod fixtures;
