//! Covariance of the global batch with exact gradients and no communication in backward.
//!
//! For a loss `L(C)` of the covariance `C` over all ranks, `dL/dz` of a local row is that of the surrogate
//! `⟨G, zcᵀ zc⟩/(N−1)` with `G = dL/dC` held fixed and `zc = z − μ` (μ the global mean, held fixed): the
//! dependence on μ drops out because the centred rows sum to zero. Gradients of ranks are then **summed**.
//!
//! Guarantee: sums over the rows of a micro-batch, over micro-batches and over ranks are each taken in a fixed order,
//! by the tree of [`tree_sum`], so equal micro-batches give equal bits however they are dealt to ranks.

use tch::{Kind, Tensor};

use syncyte_fabric::collective::{Collective, CollectiveError};

/// Mean and covariance of a branch over all micro-batches of all ranks.
#[derive(Debug)]
pub struct Moments {
    /// Mean, `[d]`.
    pub mean: Tensor,
    /// Covariance `[d, d]`, `N − 1` in the denominator, without gradient.
    pub covariance: Tensor,
    /// Rows over all ranks.
    pub rows: f64,
}

/// Global moments of several branches in two all-reduces, whatever their number; in one where there are none.
///
/// `micro_batches[i][b]` is branch `b` of micro-batch `i`, `[n, d]`. `extra` scalars are summed over ranks along with
/// the second all-reduce.
///
/// # Errors
/// When an all-reduce fails.
pub fn global_moments(
    collective: &dyn Collective,
    micro_batches: &[Vec<Tensor>],
    extra: &mut [f64],
) -> Result<Vec<Moments>, CollectiveError> {
    let Some(first) = micro_batches.first() else { return Ok(Vec::new()) };
    let widths: Vec<usize> = first.iter().map(|z| z.size()[1] as usize).collect();
    let mut sums = tree_sum(micro_batches.iter().map(|branches| row_sums(branches)).collect());
    if !sums.is_empty() {
        collective.all_reduce_sum_f64(&mut sums)?;
    }

    let mut means = Vec::new();
    let mut at = 0;
    for (z, &d) in first.iter().zip(&widths) {
        let rows = sums[at];
        let mean: Vec<f32> = sums[at + 1..at + 1 + d].iter().map(|sum| (sum / rows) as f32).collect();
        means.push((rows, Tensor::from_slice(&mean).to_device(z.device())));
        at += 1 + d;
    }
    let mut products = tree_sum(micro_batches.iter().map(|branches| centred_products(branches, &means)).collect());
    let own = products.len();
    products.extend_from_slice(extra);
    collective.all_reduce_sum_f64(&mut products)?;
    extra.copy_from_slice(&products[own..]);

    let mut at = 0;
    Ok(means
        .into_iter()
        .zip(&widths)
        .map(|((rows, mean), &d)| {
            let scale = 1.0 / (rows - 1.0).max(1.0);
            let values: Vec<f32> = products[at..at + d * d].iter().map(|x| (x * scale) as f32).collect();
            at += d * d;
            let covariance = Tensor::from_slice(&values).view([d as i64, d as i64]).to_device(mean.device());
            Moments { mean, covariance, rows }
        })
        .collect())
}

/// Rows and sums over rows of every branch, one behind the other.
fn row_sums(branches: &[Tensor]) -> Vec<f64> {
    let mut sums = Vec::new();
    for z in branches {
        sums.push(z.size()[0] as f64);
        sums.extend(to_f64(&z.detach().sum_dim_intlist([0_i64].as_slice(), false, Kind::Double)));
    }
    sums
}

/// `zcᵀ zc` of every branch, one behind the other.
fn centred_products(branches: &[Tensor], means: &[(f64, Tensor)]) -> Vec<f64> {
    let of = |(z, (_, mean)): (&Tensor, &(f64, Tensor))| {
        let centred = z.detach() - mean;
        to_f64(&centred.tr().matmul(&centred))
    };
    branches.iter().zip(means).flat_map(of).collect()
}

/// Sum by a binary tree that pairs neighbours first (as the collectives do over ranks), element by element.
pub fn tree_sum(mut parts: Vec<Vec<f64>>) -> Vec<f64> {
    while parts.len() > 1 {
        let mut sums = Vec::with_capacity(parts.len().div_ceil(2));
        let mut from = parts.into_iter();
        while let Some(mut left) = from.next() {
            if let Some(right) = from.next() {
                left.iter_mut().zip(right).for_each(|(a, b)| *a += b);
            }
            sums.push(left);
        }
        parts = sums;
    }
    parts.pop().unwrap_or_default()
}

impl Moments {
    /// The surrogate whose gradient with respect to local rows `z [n, d]` is that of a loss with `dL/dC = gradient`.
    pub fn surrogate(&self, z: &Tensor, gradient: &Tensor) -> Tensor {
        let centred = z - &self.mean;
        (gradient * centred.tr().matmul(&centred)).sum(Kind::Float) / (self.rows - 1.0).max(1.0)
    }
}

fn to_f64(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().view([-1])).unwrap_or_default()
}
