//! L1: the variance and covariance terms of VICReg (Bardes, Ponce & `LeCun` 2022), on the global batch.
//!
//! `variance(z) = mean_j max(0, γ − √(Var_j + ε))`, `covariance(z) = Σ_{i≠j} Cov_ij² / d`, both with `N − 1`. By default of
//! the pooled context and the pooled prediction: flattened tokens would let position embeddings supply the variance of a
//! collapsed encoder, and a prediction alone can take its variance from the perturbation.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use toml::Table;

use super::moments::Moments;
use super::{Loss, Outputs, Parts, Terms, check_weight};
use crate::batch::view::State;
use crate::component::{Settings, read};

/// Target standard deviation of the variance term.
pub(super) const GAMMA: f64 = 1.0;
/// Added to variances under the root.
pub(super) const EPSILON: f64 = 1e-4;

/// States whose statistics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// The student's states.
    Context,
    /// The predicted states.
    Prediction,
    /// The teacher's states: without gradient, they only enlarge the value that is logged.
    Target,
}

/// What a row of the statistics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// The pooled state of a cell.
    Cells,
    /// A token of a cell.
    Tokens,
}

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vicreg {
    /// Weight of the variance term.
    pub variance: f64,
    /// Weight of the covariance term.
    pub covariance: f64,
    /// States whose statistics count.
    pub branches: Vec<Branch>,
    /// What a row of the statistics is.
    pub rows: Rows,
    /// Whether the terms are means over the branches, and not sums.
    pub mean: bool,
}

impl Default for Vicreg {
    fn default() -> Self {
        let branches = vec![Branch::Context, Branch::Prediction];
        Self { variance: 25.0, covariance: 1.0, branches, rows: Rows::Cells, mean: true }
    }
}

impl Settings for Vicreg {
    fn check(&self) -> Result<(), String> {
        check_weight("variance", self.variance)?;
        check_weight("covariance", self.covariance)?;
        if self.branches.is_empty() {
            return Err("branches is empty; name at least one of context, prediction and target".into());
        }
        Ok(())
    }
}

pub(super) fn build(table: &Table) -> Result<Box<dyn Loss>, String> {
    Ok(Box::new(read::<Vicreg>(table)?))
}

impl Vicreg {
    /// Factor of each branch within the terms.
    fn factor(&self) -> f64 {
        if self.mean { 1.0 / self.branches.len() as f64 } else { 1.0 }
    }

    fn rows(&self, state: &State) -> Tensor {
        match self.rows {
            Rows::Cells => state.pooled(),
            Rows::Tokens => flattened(state),
        }
    }
}

impl Loss for Vicreg {
    fn terms(&self) -> &[&'static str] {
        &["variance", "covariance"]
    }

    fn parts(&self, outputs: &Outputs, _batch: usize) -> Parts {
        let state = |branch: &Branch| match branch {
            Branch::Context => &outputs.context,
            Branch::Prediction => &outputs.prediction,
            Branch::Target => &outputs.target,
        };
        // A target counts in the shape of the prediction that it is compared with.
        let of = |branch: &Branch| match branch {
            Branch::Target if outputs.compares_pooled() => outputs.target.pooled(),
            branch => self.rows(state(branch)),
        };
        Parts { sums: Vec::new(), rows: self.branches.iter().map(of).collect() }
    }

    fn measure(&self, _sums: &[f64], moments: &[Moments]) -> Terms {
        let factor = self.factor();
        let (mut values, mut covariances) = (vec![0.0; 2], Vec::new());
        for branch in moments {
            let (variance, covariance) = statistics(&branch.covariance);
            values[0] += factor * variance;
            values[1] += factor * covariance;
            covariances.push(gradient(branch, factor * self.variance, factor * self.covariance));
        }
        Terms { values, weights: vec![self.variance, self.covariance], sums: Vec::new(), covariances }
    }
}

/// Tokens as rows `[B·T, d]`; only those that are there.
fn flattened(state: &State) -> Tensor {
    let (tokens, mask) = state.as_tokens();
    let rows = tokens.reshape([-1, tokens.size()[tokens.dim() - 1]]);
    match mask {
        None => rows,
        Some(mask) => rows.index_select(0, &mask.reshape([-1]).nonzero().squeeze_dim(1)),
    }
}

/// Variance hinge and off-diagonal term of a covariance matrix.
pub(super) fn statistics(covariance: &Tensor) -> (f64, f64) {
    let d = covariance.size()[0] as f64;
    let diagonal = covariance.diagonal(0, 0, 1);
    let hinge = ((&diagonal + EPSILON).sqrt() * -1.0 + GAMMA).clamp_min(0.0).mean(Kind::Double).double_value(&[]);
    let off = covariance - Tensor::diag_embed(&diagonal, 0, 0, 1);
    (hinge, off.square().sum(Kind::Double).double_value(&[]) / d)
}

/// `dL/dC` of `variance·v + covariance·c`.
pub(super) fn gradient(branch: &Moments, variance: f64, covariance: f64) -> Tensor {
    let c = &branch.covariance;
    let d = c.size()[0] as f64;
    let diagonal = c.diagonal(0, 0, 1);
    let sd = (&diagonal + EPSILON).sqrt();
    let on = sd.lt(GAMMA).to_kind(Kind::Float) / &sd * (-variance / (2.0 * d));
    let off = (c - Tensor::diag_embed(&diagonal, 0, 0, 1)) * (2.0 * covariance / d);
    off + Tensor::diag_embed(&on, 0, 0, 1)
}
