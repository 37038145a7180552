//! Errors of the mean profile.

use ndarray::ArrayView1;

use super::super::{l2, mae, mse};
use super::{Ceiling, DISTANCE, Function, Metric, Space, Spaces, TOP};
use crate::metric::role::Unit;

/// Share of the mean absolute deviation of a normal variable in its standard deviation.
const MEAN_ABSOLUTE: f64 = 0.797_884_560_802_865_4;
const ALL: Spaces = Spaces { expression: Some(Space::All), components: false, embeddings: false };

pub(in crate::metric) static L2: Metric = Metric {
    name: "l2_{space}",
    title: "L2 ({space})",
    definition: "Euclidean distance of the predicted from the measured mean in {where}.",
    spaces: Spaces { components: true, embeddings: true, ..TOP },
    function: Function::Means(|sides| l2(sides.truth, sides.predicted).map(Some)),
    ceiling: Ceiling::Variances(|variances| Some(root_of_sum(variances))),
    oracle: ["vector", "l2"],
    ..DISTANCE
};

pub(in crate::metric) static MSE: Metric = Metric {
    name: "mse",
    title: "MSE",
    definition: "Mean squared error of the mean profile over {where}.",
    unit: Unit::Squared,
    spaces: ALL,
    function: Function::Means(|sides| mse(sides.truth, sides.predicted).map(Some)),
    ceiling: Ceiling::Variances(|variances| variances.mean()),
    oracle: ["vector", "mse"],
    ..DISTANCE
};

pub(in crate::metric) static MAE: Metric = Metric {
    name: "mae",
    title: "MAE",
    definition: "Mean absolute error of the mean profile over {where}.",
    spaces: ALL,
    function: Function::Means(|sides| mae(sides.truth, sides.predicted).map(Some)),
    ceiling: Ceiling::Variances(|variances| variances.mapv(f64::sqrt).mean().map(|sd| MEAN_ABSOLUTE * sd)),
    oracle: ["vector", "mae"],
    ..DISTANCE
};

/// Expected root of a sum of squares of independent normal variables with these variances, to second order:
/// `√Q · (1 − Var Q / 8Q²)` with `Q = Σσ²` and `Var Q = 2Σσ⁴`.
fn root_of_sum(variances: ArrayView1<'_, f64>) -> f64 {
    let total: f64 = variances.sum();
    if total <= 0.0 {
        return 0.0;
    }
    let spread: f64 = 2.0 * variances.iter().map(|variance| variance * variance).sum::<f64>();
    total.sqrt() * (1.0 - spread / (8.0 * total * total))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::root_of_sum;

    #[test]
    fn the_expected_norm_is_that_of_the_chi_distribution() {
        // E χ with 4 degrees of freedom is √2 Γ(2.5) / Γ(2).
        let found = root_of_sum(array![1.0, 1.0, 1.0, 1.0].view());
        assert!((found - 1.879_971).abs() < 0.01, "{found}");
        assert!(root_of_sum(array![0.0].view()).abs() < 1e-12);
    }
}
