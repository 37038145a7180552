//! VICReg (Bardes, Ponce & `LeCun` 2022) in the presets of this field, on the global batch.
//!
//! `variance(z) = mean_j max(0, γ − √(Var_j + ε))`, `covariance(z) = Σ_{i≠j} Cov_ij² / d`, both with `N − 1`.
//! In the default preset the statistics are those of the pooled context and the pooled prediction: flattened
//! tokens would let position embeddings supply the variance of a collapsed encoder.

use tch::{Kind, Reduction, Tensor};

use super::moments::{Moments, global_moments, tree_sum};
use crate::collective::{Collective, CollectiveError};
use crate::config::Preset;
use crate::model::layer::{NORM_EPS, pool};

/// Target standard deviation of the variance term.
pub const GAMMA: f64 = 1.0;
/// Added to variances under the root.
pub const EPSILON: f64 = 1e-4;

/// The terms of the loss over the global batch, unweighted, and their weighted sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// Weighted sum.
    pub loss: f64,
    /// Distance of prediction and target.
    pub invariance: f64,
    /// Variance hinge, summed over branches with their factors.
    pub variance: f64,
    /// Off-diagonal covariance, likewise.
    pub covariance: f64,
}

/// Weights of the three terms; `branch` is the factor of each branch inside variance and covariance.
#[derive(Clone, Copy, Debug)]
struct Weights {
    invariance: f64,
    variance: f64,
    covariance: f64,
    branch: f64,
}

/// What the networks gave for a micro-batch.
#[derive(Debug)]
pub struct Outputs {
    /// Student's tokens `[B, T, d]`.
    pub context: Tensor,
    /// Predicted tokens, or pooled `[B, d]`.
    pub prediction: Tensor,
    /// Teacher's tokens `[B, T, d]`.
    pub target: Tensor,
}

/// The parts of a micro-batch that the loss is made of, in f32 and with gradient.
#[derive(Debug)]
pub struct Parts {
    /// Distance of prediction and target, as a share of the global batch.
    distance: Tensor,
    /// Rows whose variance and covariance count.
    branches: Vec<Tensor>,
}

impl Parts {
    /// The parts of a micro-batch; `global_batch` is the number of cells of the step over all ranks.
    pub fn new(preset: Preset, outputs: &Outputs, global_batch: usize) -> Self {
        let float = |x: &Tensor| x.to_kind(Kind::Float);
        let (context, prediction, target) =
            (float(&outputs.context), float(&outputs.prediction), float(&outputs.target));
        let pooled = prediction.dim() == 2;
        let target = if pooled { pool(&target) } else { target };
        let pooled_prediction = if pooled { prediction.shallow_clone() } else { pool(&prediction) };
        let per_cell = prediction.numel() as f64 / prediction.size()[0].max(1) as f64;
        let (distance, branches) = match preset {
            Preset::Default => {
                let d = target.size()[target.dim() - 1];
                let normalised = target.layer_norm([d], None::<&Tensor>, None::<&Tensor>, NORM_EPS, false);
                let distance = prediction.smooth_l1_loss(&normalised, Reduction::Sum, 1.0);
                (distance, vec![pool(&context), pooled_prediction])
            }
            Preset::S0 => (prediction.mse_loss(&target, Reduction::Sum), vec![rows(&prediction), rows(&target)]),
            Preset::S1 => (prediction.mse_loss(&target, Reduction::Sum), vec![pooled_prediction]),
        };
        Self { distance: distance * (1.0 / (global_batch as f64 * per_cell)), branches }
    }
}

fn weights(preset: Preset) -> Weights {
    match preset {
        Preset::Default => Weights { invariance: 1.0, variance: 25.0, covariance: 1.0, branch: 0.5 },
        Preset::S0 => Weights { invariance: 25.0, variance: 25.0, covariance: 1.0, branch: 1.0 },
        Preset::S1 => Weights { invariance: 1.0, variance: 0.1, covariance: 0.1 * 0.04, branch: 1.0 },
    }
}

/// The loss over the global batch, and what its gradient needs.
#[derive(Debug)]
pub struct Measured {
    /// The loss and its terms.
    pub terms: Terms,
    weights: Weights,
    /// Moments of every branch and `dL/dC`.
    branches: Vec<(Moments, Tensor)>,
}

/// Measures the loss over all micro-batches of all ranks. `flags` are summed over ranks on the way.
///
/// # Errors
/// When an all-reduce fails.
pub fn measure(
    preset: Preset,
    parts: &[Parts],
    flags: &mut [f64],
    collective: &dyn Collective,
) -> Result<Measured, CollectiveError> {
    let weights = weights(preset);
    let distances = parts.iter().map(|part| vec![part.distance.double_value(&[])]).collect();
    let mut extra = tree_sum(distances);
    extra.extend_from_slice(flags);
    let branches: Vec<Vec<Tensor>> =
        parts.iter().map(|part| part.branches.iter().map(Tensor::detach).collect()).collect();
    let moments = global_moments(collective, &branches, &mut extra)?;
    flags.copy_from_slice(&extra[1..]);
    let mut terms = Terms { invariance: extra[0], ..Terms::default() };
    let mut measured = Vec::new();
    for branch in moments {
        let (variance, covariance) = statistics(&branch.covariance);
        terms.variance += weights.branch * variance;
        terms.covariance += weights.branch * covariance;
        let gradient = gradient(&branch, weights.branch * weights.variance, weights.branch * weights.covariance);
        measured.push((branch, gradient));
    }
    terms.loss = weights.invariance * terms.invariance
        + weights.variance * terms.variance
        + weights.covariance * terms.covariance;
    Ok(Measured { terms, weights, branches: measured })
}

impl Measured {
    /// What to call `backward` on for a micro-batch: its gradients, **summed** over micro-batches and ranks, are those
    /// of the loss over the global batch.
    pub fn surrogate(&self, parts: &Parts) -> Tensor {
        let mut surrogate = &parts.distance * self.weights.invariance;
        for (rows, (moments, gradient)) in parts.branches.iter().zip(&self.branches) {
            if rows.requires_grad() {
                surrogate += moments.surrogate(rows, gradient);
            }
        }
        surrogate
    }
}

/// [`measure`] and [`Measured::surrogate`] for a step of one micro-batch.
///
/// # Errors
/// When an all-reduce fails.
pub fn loss(
    preset: Preset,
    outputs: &Outputs,
    global_batch: usize,
    collective: &dyn Collective,
) -> Result<(Tensor, Terms), CollectiveError> {
    let parts = [Parts::new(preset, outputs, global_batch)];
    let measured = measure(preset, &parts, &mut [], collective)?;
    Ok((measured.surrogate(&parts[0]), measured.terms))
}

/// Flattens tokens into rows `[B·T, d]`.
fn rows(tokens: &Tensor) -> Tensor {
    tokens.reshape([-1, tokens.size()[tokens.dim() - 1]])
}

/// Variance hinge and off-diagonal term of a covariance matrix.
fn statistics(covariance: &Tensor) -> (f64, f64) {
    let d = covariance.size()[0] as f64;
    let diagonal = covariance.diagonal(0, 0, 1);
    let hinge = ((&diagonal + EPSILON).sqrt() * -1.0 + GAMMA).clamp_min(0.0).mean(Kind::Double).double_value(&[]);
    let off = covariance - Tensor::diag_embed(&diagonal, 0, 0, 1);
    (hinge, off.square().sum(Kind::Double).double_value(&[]) / d)
}

/// `dL/dC` of `variance·v + covariance·c`.
fn gradient(branch: &Moments, variance: f64, covariance: f64) -> Tensor {
    let c = &branch.covariance;
    let d = c.size()[0] as f64;
    let diagonal = c.diagonal(0, 0, 1);
    let sd = (&diagonal + EPSILON).sqrt();
    let on = sd.lt(GAMMA).to_kind(Kind::Float) / &sd * (-variance / (2.0 * d));
    let off = (c - Tensor::diag_embed(&diagonal, 0, 0, 1)) * (2.0 * covariance / d);
    off + Tensor::diag_embed(&on, 0, 0, 1)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::collective::Solo;

    fn golden() -> Tensor {
        Tensor::from_slice(&[0.1_f32, 0.5, 0.3, 0.5, -0.1, 0.9, -0.3, 0.1]).view([4, 2])
    }

    #[test]
    fn statistics_match_the_golden_values() {
        let moments = global_moments(&Solo, &[vec![golden()]], &mut []).unwrap();
        let c = &moments[0].covariance;
        assert!((c.double_value(&[0, 0]).sqrt() - 0.258_198_889_7).abs() < 1e-6, "{c:?}");
        assert!(((c.double_value(&[0, 0]) + EPSILON).sqrt() - 0.258_392_466_4).abs() < 1e-6);
        assert!((c.double_value(&[0, 1]) - 0.026_666_666_7).abs() < 1e-7);
        let (variance, covariance) = statistics(c);
        assert!((variance - 0.707_427_922_0).abs() < 1e-6, "{variance}");
        assert!((covariance - 7.1111e-4).abs() < 1e-7, "{covariance}");
    }

    #[test]
    fn smooth_l1_matches_the_golden_values() {
        let at = |x: f32| {
            Tensor::from_slice(&[x])
                .smooth_l1_loss(&Tensor::from_slice(&[0.0_f32]), Reduction::Sum, 1.0)
                .double_value(&[])
        };
        assert!((at(0.5) - 0.125).abs() < 1e-7 && (at(2.0) - 1.5).abs() < 1e-7);
    }

    #[test]
    fn collapsed_rows_have_variance_term_point_99() {
        let moments =
            global_moments(&Solo, &[vec![Tensor::ones([8, 3], (Kind::Float, Device::Cpu))]], &mut []).unwrap();
        assert!((statistics(&moments[0].covariance).0 - 0.99).abs() < 1e-6);
    }

    /// The same loss written with autograd through the whole batch.
    fn direct(z: &Tensor) -> Tensor {
        let n = z.size()[0] as f64;
        let d = z.size()[1] as f64;
        let zc = z - z.mean_dim([0_i64].as_slice(), true, Kind::Float);
        let c = zc.tr().matmul(&zc) / (n - 1.0);
        let sd = (c.diagonal(0, 0, 1) + EPSILON).sqrt();
        let v = (sd * -1.0 + GAMMA).clamp_min(0.0).mean(Kind::Float);
        let off = &c - Tensor::diag_embed(&c.diagonal(0, 0, 1), 0, 0, 1);
        v * 25.0 + off.square().sum(Kind::Float) / d
    }

    #[test]
    fn surrogate_gradients_are_those_of_the_loss_itself() {
        let z = (golden() * 2.0).set_requires_grad(true);
        let moments = global_moments(&Solo, &[vec![z.detach()]], &mut []).unwrap();
        moments[0].surrogate(&z, &gradient(&moments[0], 25.0, 1.0)).backward();
        let reference = (golden() * 2.0).set_requires_grad(true);
        direct(&reference).backward();
        assert!((z.grad() - reference.grad()).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn total_is_the_weighted_sum_of_the_logged_terms() {
        tch::manual_seed(1);
        let options = (Kind::Float, Device::Cpu);
        let (context, prediction, target) =
            (Tensor::randn([6, 3, 4], options), Tensor::randn([6, 3, 4], options), Tensor::randn([6, 3, 4], options));
        for (preset, w) in
            [(Preset::Default, (1.0, 25.0, 1.0)), (Preset::S0, (25.0, 25.0, 1.0)), (Preset::S1, (1.0, 0.1, 0.004))]
        {
            let outputs = Outputs {
                context: context.shallow_clone(),
                prediction: prediction.shallow_clone(),
                target: target.shallow_clone(),
            };
            let (_, t) = loss(preset, &outputs, 6, &Solo).unwrap();
            let sum = w.0 * t.invariance + w.1 * t.variance + w.2 * t.covariance;
            assert!((t.loss - sum).abs() < 1e-9, "{preset:?} {t:?}");
        }
    }

    #[test]
    fn an_encoder_that_maps_every_cell_to_one_token_grid_is_seen_as_collapsed() {
        tch::manual_seed(1);
        let grid = Tensor::randn([1, 16, 8], (Kind::Float, Device::Cpu)) * 3.0;
        let cells = grid.expand([32, 16, 8], false).contiguous();
        let [context, prediction, target] = [(); 3].map(|()| cells.shallow_clone());
        let outputs = Outputs { context, prediction, target };
        let (_, pooled) = loss(Preset::Default, &outputs, 32, &Solo).unwrap();
        let (_, flattened) = loss(Preset::S0, &outputs, 32, &Solo).unwrap();
        assert!((pooled.variance - 0.99).abs() < 1e-3, "{pooled:?}");
        assert!(flattened.variance < 0.1, "the trap that the default preset avoids: {flattened:?}");
    }
}
