//! Losses: what is minimised, over the cells of all ranks.
//!
//! Guarantee: a loss and its gradient are those of the global batch, however it is cut into micro-batches and dealt to ranks.
//! A loss gives its local parts: sums over the cells of a micro-batch, and rows whose moments over all cells count. Sums and
//! moments are exchanged once for all losses; then each says what its terms are, and a surrogate of the local parts has the
//! exact gradient. Terms are logged by name.

mod cosine;
pub mod energy;
pub mod moments;
mod mse;
mod objective;
mod smooth_l1;
mod sums;
mod vicreg;

use std::fmt;

use tch::{Kind, Tensor};
use toml::Table;

pub use cosine::Cosine;
pub use mse::Mse;
pub use objective::{Measured, Objective};
pub use smooth_l1::SmoothL1;
pub use sums::Sums;
pub use vicreg::{Branch, Rows, Vicreg};

use crate::batch::view::State;
use crate::component::{Member, Role};
use moments::Moments;

/// What the networks gave for a micro-batch.
#[derive(Debug)]
pub struct Outputs {
    /// Student's states of the cells that it sees.
    pub context: State,
    /// What is predicted from them.
    pub prediction: State,
    /// Teacher's states, without gradient.
    pub target: State,
}

impl Outputs {
    /// The same in f32. Gradients of all losses are added up before they are rounded to another kind.
    fn in_f32(&self) -> Self {
        let float = |state: &State| state.with(state.values().to_kind(Kind::Float));
        Self { context: float(&self.context), prediction: float(&self.prediction), target: float(&self.target) }
    }

    /// Whether prediction and target are compared pooled: where one of them is, or has tokens without a counterpart.
    fn compares_pooled(&self) -> bool {
        self.prediction.is_pooled() || self.prediction.is_ragged() || self.target.is_ragged()
    }

    /// Prediction and target, of one shape.
    fn pair(&self) -> (Tensor, Tensor) {
        if self.compares_pooled() {
            return (self.prediction.pooled(), self.target.pooled());
        }
        (self.prediction.values().shallow_clone(), self.target.values().shallow_clone())
    }
}

/// The local parts of a loss, with gradient.
#[derive(Debug, Default)]
pub struct Parts {
    /// Sums over the cells of the micro-batch, as shares of the global batch.
    pub sums: Vec<Tensor>,
    /// Rows `[n, d]` in f32 whose moments over the global batch count.
    pub rows: Vec<Tensor>,
}

/// A loss over the global batch.
#[derive(Debug)]
pub struct Terms {
    /// Value of each of [`Loss::terms`], unweighted.
    pub values: Vec<f64>,
    /// Their weights in the loss.
    pub weights: Vec<f64>,
    /// `dL/d` of each of the sums.
    pub sums: Vec<f64>,
    /// `dL/dC` of the covariance of each of the rows.
    pub covariances: Vec<Tensor>,
}

/// A loss.
pub trait Loss: fmt::Debug + Send + Sync {
    /// Names of its terms.
    fn terms(&self) -> &[&'static str];

    /// Its parts of a micro-batch, whose states are in f32; `batch` is the number of cells of the step over all ranks.
    fn parts(&self, outputs: &Outputs, batch: usize) -> Parts;

    /// Its terms, from the sums over all cells and the moments of all rows.
    fn measure(&self, sums: &[f64], moments: &[Moments]) -> Terms;
}

impl Role for dyn Loss {
    const SECTION: &'static str = "objective.losses";
    type Build = fn(&Table) -> Result<Box<dyn Loss>, String>;

    fn table() -> &'static [Member<Self>] {
        static TABLE: &[Member<dyn Loss>] = &[
            Member::<dyn Loss>::new::<SmoothL1>("smooth_l1", "L4", smooth_l1::build),
            Member::<dyn Loss>::new::<Mse>("mse", "L3", mse::build),
            Member::<dyn Loss>::new::<Vicreg>("vicreg", "L1", vicreg::build),
            Member::<dyn Loss>::new::<Cosine>("cosine", "L2", cosine::build),
        ];
        TABLE
    }
}

/// The share of a sum over all entries of `like` that makes it a mean over those of the global batch. A cell may have several
/// rows.
fn share(outputs: &Outputs, like: &Tensor, batch: usize) -> f64 {
    let per_cell = like.numel() as f64 / outputs.context.values().size()[0].max(1) as f64;
    1.0 / (batch as f64 * per_cell)
}

/// Terms of a loss that is one weighted sum.
fn weighted_sum(sums: &[f64], weight: f64) -> Terms {
    Terms { values: sums.to_vec(), weights: vec![weight], sums: vec![weight], covariances: Vec::new() }
}

/// Refuses a weight that is not a number of at least 0.
fn check_weight(key: &str, weight: f64) -> Result<(), String> {
    if weight >= 0.0 && weight.is_finite() {
        Ok(())
    } else {
        Err(format!("{key} = {weight} must be a number of at least 0"))
    }
}

#[cfg(test)]
mod tests;
