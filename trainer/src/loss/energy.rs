//! Energy distance between bags of states, as a training loss (L7).
//!
//! `E = 2·mean‖x−y‖ − mean‖x−x'‖ − mean‖y−y'‖`, the V form (self-pairs included), which is never negative and is
//! zero only for equal distributions. Distances are `√(d² + 1e-12)` so that gradients exist at zero.

use tch::{Kind, Tensor};

/// Energy distance of each pair of bags: `x [K, n, d]`, `y [K, m, d]` → `[K]`.
pub fn energy_distance(x: &Tensor, y: &Tensor) -> Tensor {
    mean_distance(x, y) * 2.0 - mean_distance(x, x) - mean_distance(y, y)
}

fn mean_distance(x: &Tensor, y: &Tensor) -> Tensor {
    let difference = x.unsqueeze(2) - y.unsqueeze(1);
    let squared = difference.square().sum_dim_intlist([-1_i64].as_slice(), false, Kind::Float);
    (squared + 1e-12).sqrt().mean_dim([1_i64, 2].as_slice(), false, Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bag(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).view([1, -1, 1])
    }

    #[test]
    fn closed_forms_hold() {
        let masses = energy_distance(&bag(&[0.0]), &bag(&[3.0])).double_value(&[0]);
        assert!((masses - 6.0).abs() < 1e-4, "two point masses r apart give 2r: {masses}");
        let spread = energy_distance(&bag(&[-1.0, 1.0]), &bag(&[-2.0, 2.0])).double_value(&[0]);
        assert!((spread - 1.0).abs() < 1e-5, "{spread}");
        let same = energy_distance(&bag(&[1.0, 5.0]), &bag(&[5.0, 1.0])).double_value(&[0]);
        assert!(same.abs() < 1e-5, "{same}");
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let y = bag(&[0.5, -1.0, 2.0]);
        let x = bag(&[0.1, 0.7]).set_requires_grad(true);
        energy_distance(&x, &y).sum(Kind::Float).backward();
        let at = |a: f32| energy_distance(&bag(&[a, 0.7]), &y).double_value(&[0]);
        let numeric = (at(0.1 + 1e-2) - at(0.1 - 1e-2)) / 2e-2;
        assert!((x.grad().double_value(&[0, 0, 0]) - numeric).abs() < 1e-3, "{numeric}");
    }
}
