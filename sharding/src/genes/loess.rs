//! Local regression of degree 2 in one variable: the trend of variance over mean that `seurat_v3` takes away.
//!
//! Guarantee: the fit at every point is the local regression itself (`surface = "direct"` in R's `loess` and in
//! scikit-misc, not their interpolation between a few points), with tricube weights over the `⌊span·n⌋` nearest
//! points (Cleveland and Devlin 1988). It depends on the set of points alone, neither on their order nor on threads.

use rayon::prelude::*;

/// A power of the distance that is left with less than this part of itself once the lower powers are taken away
/// cannot be told from them: the fit goes on with the lower ones.
const DEPENDENT: f64 = 1e-12;

/// The fitted value at every point.
pub(super) fn loess(x: &[f64], y: &[f64], span: f64) -> Vec<f64> {
    let mut points: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
    // Sorted by both, so that sums over equal x do not depend on the order of the genes either.
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let near = ((points.len() as f64 * span + 1e-5) as usize).clamp(1, points.len().max(1));
    x.par_iter().map(|&at| local(&points, near, at)).collect()
}

/// The local regression at `at`, from the `near` nearest of the sorted points.
fn local(points: &[(f64, f64)], near: usize, at: f64) -> f64 {
    let window = nearest(points, near, at);
    let bandwidth = (at - window[0].0).max(window[near - 1].0 - at);
    if bandwidth <= 0.0 {
        let first = points.partition_point(|point| point.0 < at);
        let equal = points[first..].iter().take_while(|point| point.0 <= at);
        let (sum, count) = equal.fold((0.0, 0.0), |(sum, count), point| (sum + point.1, count + 1.0));
        return sum / count;
    }
    // Distances in bandwidths, so that the powers have one scale; the fit is wanted at distance 0.
    let distance = |point: &(f64, f64)| (point.0 - at) / bandwidth;
    let weighted: Vec<[f64; 3]> = window
        .iter()
        .map(|point| [tricube(distance(point)), distance(point), point.1])
        .filter(|[weight, ..]| *weight > 0.0)
        .collect();
    quadratic_at_zero(&weighted)
}

/// The `near` points nearest to `at`.
fn nearest(points: &[(f64, f64)], near: usize, at: f64) -> &[(f64, f64)] {
    let (mut low, mut high) = (0, points.len() - near);
    while low < high {
        let start = usize::midpoint(low, high);
        if points[start + near].0 - at < at - points[start].0 {
            low = start + 1;
        } else {
            high = start;
        }
    }
    &points[low..low + near]
}

fn tricube(distance: f64) -> f64 {
    (1.0 - distance.abs().powi(3)).max(0.0).powi(3)
}

/// The value at 0 of the quadratic fitted to (weight, distance, value), by polynomials that are orthogonal under
/// the weights. With fewer than three distinct distances the degree falls, where a least-squares solver would fail.
fn quadratic_at_zero(points: &[[f64; 3]]) -> f64 {
    let inner = |left: &dyn Fn(f64) -> f64, right: &dyn Fn(f64) -> f64| -> f64 {
        points.iter().map(|&[weight, distance, _]| weight * left(distance) * right(distance)).sum()
    };
    let project = |basis: &dyn Fn(f64) -> f64| -> f64 {
        points.iter().map(|&[weight, distance, value]| weight * basis(distance) * value).sum()
    };
    let total = inner(&|_| 1.0, &|_| 1.0);
    let centre = inner(&|_| 1.0, &|d| d) / total;
    let linear = |d: f64| d - centre;
    let mut fitted = project(&|_| 1.0) / total;
    let spread = inner(&linear, &linear);
    if spread <= DEPENDENT * inner(&|d| d, &|d| d) {
        return fitted;
    }
    fitted += project(&linear) / spread * linear(0.0);
    let slope = inner(&|d| d * d, &linear) / spread;
    let level = inner(&|d| d * d, &|_| 1.0) / total;
    let quadratic = |d: f64| d * d - slope * linear(d) - level;
    let bend = inner(&quadratic, &quadratic);
    if bend <= DEPENDENT * inner(&|d| d * d, &|d| d * d) {
        return fitted;
    }
    fitted + project(&quadratic) / bend * quadratic(0.0)
}

#[cfg(test)]
mod tests {
    use super::loess;
    use crate::philox::{Philox, Purpose};

    fn close(found: &[f64], wanted: &[f64], tolerance: f64) {
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() <= tolerance, "{found} against {wanted}");
        }
    }

    #[test]
    fn a_quadratic_is_its_own_fit() {
        let x: Vec<f64> = (0..50).map(|at| f64::from(at * at) / 100.0 - 9.0).collect();
        let y: Vec<f64> = x.iter().map(|x| 2.0 - 3.0 * x + 0.25 * x * x).collect();
        close(&loess(&x, &y, 0.3), &y, 1e-10);
    }

    #[test]
    fn the_order_of_the_points_does_not_matter() {
        let mut random = Philox::new(1, Purpose::Trial, 0, 0);
        let points: Vec<(f64, f64)> =
            (0..200).map(|_| ((random.normal() * 8.0).round() / 8.0, random.normal())).collect();
        let mut shuffled: Vec<usize> = (0..points.len()).collect();
        random.shuffle(&mut shuffled);
        let fit = |order: &[usize]| {
            let (x, y): (Vec<f64>, Vec<f64>) = order.iter().map(|&at| points[at]).unzip();
            loess(&x, &y, 0.3)
        };
        let straight = fit(&(0..points.len()).collect::<Vec<_>>());
        let found = fit(&shuffled);
        assert!(shuffled.iter().zip(&found).all(|(&at, value)| straight[at].to_bits() == value.to_bits()));
    }

    #[test]
    fn ties_lower_the_degree_in_place_of_failing() {
        let x = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
        let y = [1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 7.0, 7.0, 7.0];
        close(&loess(&x, &y, 0.3), &[2.0, 2.0, 2.0, 2.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0], 1e-12);
        assert!(loess(&x, &y, 0.75).iter().all(|value| (1.0..=7.0).contains(value)));
    }
}
