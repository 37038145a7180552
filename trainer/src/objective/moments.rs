//! Covariance of the global batch with exact gradients and no communication in backward.
//!
//! For a loss `L(C)` of the covariance `C` over all ranks, `dL/dz` of a local row is that of the surrogate
//! `⟨G, zcᵀ zc⟩/(N−1)` with `G = dL/dC` held fixed and `zc = z − μ` (μ the global mean, held fixed): the
//! dependence on μ drops out because the centred rows sum to zero. Gradients of ranks are then **summed**.

use tch::{Kind, Tensor};

use crate::collective::{Collective, CollectiveError};

/// A branch's centred rows and the covariance over all ranks.
#[derive(Debug)]
pub struct Moments {
    /// Local rows minus the global mean, `[n, d]`, with gradient.
    pub centred: Tensor,
    /// Covariance over all ranks, `[d, d]`, `N − 1` in the denominator, without gradient.
    pub covariance: Tensor,
    /// Rows over all ranks.
    pub rows: f64,
}

/// Global moments of several branches in two all-reduces, whatever their number.
///
/// Each branch is `[n, d]`. `extra` scalars are summed over ranks along with the second all-reduce.
///
/// # Errors
/// When an all-reduce fails.
pub fn global_moments(
    collective: &dyn Collective,
    branches: &[Tensor],
    extra: &mut [f64],
) -> Result<Vec<Moments>, CollectiveError> {
    let widths: Vec<usize> = branches.iter().map(|z| z.size()[1] as usize).collect();
    let mut sums = Vec::new();
    for z in branches {
        sums.push(z.size()[0] as f64);
        sums.extend(to_f64(&z.detach().sum_dim_intlist([0_i64].as_slice(), false, Kind::Double)));
    }
    collective.all_reduce_sum_f64(&mut sums)?;

    let (mut centred, mut counts, mut products, mut at) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (z, &d) in branches.iter().zip(&widths) {
        let rows = sums[at];
        let mean: Vec<f32> = sums[at + 1..at + 1 + d].iter().map(|sum| (sum / rows) as f32).collect();
        at += 1 + d;
        let zc = z - Tensor::from_slice(&mean).to_device(z.device());
        let fixed = zc.detach();
        products.extend(to_f64(&fixed.tr().matmul(&fixed)));
        centred.push(zc);
        counts.push(rows);
    }
    let own = products.len();
    products.extend_from_slice(extra);
    collective.all_reduce_sum_f64(&mut products)?;
    extra.copy_from_slice(&products[own..]);

    let mut at = 0;
    Ok(centred
        .into_iter()
        .zip(counts)
        .zip(&widths)
        .map(|((zc, rows), &d)| {
            let scale = 1.0 / (rows - 1.0).max(1.0);
            let values: Vec<f32> = products[at..at + d * d].iter().map(|x| (x * scale) as f32).collect();
            at += d * d;
            let covariance = Tensor::from_slice(&values).view([d as i64, d as i64]).to_device(zc.device());
            Moments { centred: zc, covariance, rows }
        })
        .collect())
}

impl Moments {
    /// The surrogate whose gradient with respect to the local rows is that of a loss with `dL/dC = gradient`.
    pub fn surrogate(&self, gradient: &Tensor) -> Tensor {
        (gradient * self.centred.tr().matmul(&self.centred)).sum(Kind::Float) / (self.rows - 1.0).max(1.0)
    }
}

fn to_f64(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().view([-1])).unwrap_or_default()
}
