//! Energy distances between two groups of cells, in the conventions that are in use.
//!
//! `E = 2 δ − σ_X − σ_Y` with δ the mean distance across and σ the mean distance within the groups.
//!
//! | distance | estimator | known as |
//! |---|---|---|
//! | [`Distance::Euclidean`] | [`Estimator::V`] | energy distance of cell-eval and dcor; zero only for equal samples |
//! | [`Distance::Euclidean`] | [`Estimator::U`] | the same without the bias of small groups; may be negative |
//! | [`Distance::Squared`] | [`Estimator::U`] | E-distance of scPerturb (`sample_correct=True`) |
//! | [`Distance::Squared`] | [`Estimator::V`] | the same with `sample_correct=False`: exactly `2‖x̄ − ȳ‖²`, so it sees the mean shift only |

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use super::{MetricError, check};

/// Distance between two cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// `‖x − y‖`.
    Euclidean,
    /// `‖x − y‖²`.
    Squared,
}

/// Divisor of the sums within a group of `n` cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimator {
    /// `n²`: the diagonal counts.
    V,
    /// `n (n − 1)`: unbiased, undefined for one cell.
    U,
}

/// Energy distance of two groups (cells × dimensions); `None` where the unbiased form meets a group of one cell.
///
/// # Errors
/// When a group is empty, the dimensions differ or an entry is not finite.
pub fn energy(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    distance: Distance,
    estimator: Estimator,
) -> Result<Option<f64>, MetricError> {
    check_group("first group of cells", x, x.ncols())?;
    check_group("second group of cells", y, x.ncols())?;
    let (Some(within_x), Some(within_y)) = (within(x, distance, estimator), within(y, distance, estimator)) else {
        return Ok(None);
    };
    let across: f64 =
        x.rows().into_iter().map(|a| y.rows().into_iter().map(|b| between(a, b, distance)).sum::<f64>()).sum();
    Ok(Some(2.0 * across / (x.nrows() * y.nrows()) as f64 - within_x - within_y))
}

/// The distances between and within two groups, worked out once, so that the cells can be weighted anew at little cost.
#[derive(Clone, Debug)]
pub struct Distances {
    across: Array2<f64>,
    within: [Array2<f64>; 2],
}

impl Distances {
    /// Of two groups of cells (cells × dimensions).
    ///
    /// # Errors
    /// When a group is empty, the dimensions differ or an entry is not finite.
    pub fn new(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>, distance: Distance) -> Result<Self, MetricError> {
        check_group("first group of cells", x, x.ncols())?;
        check_group("second group of cells", y, x.ncols())?;
        let all = |a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>| {
            Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| between(a.row(i), b.row(j), distance))
        };
        Ok(Self { across: all(x, y), within: [all(x, x), all(y, y)] })
    }

    /// The squared distances, of Euclidean ones.
    #[must_use]
    pub fn squared(&self) -> Self {
        let square = |distances: &Array2<f64>| distances * distances;
        Self { across: square(&self.across), within: self.within.each_ref().map(square) }
    }

    /// [`energy`] with the cells of either group weighted; weights sum to 1, and equal ones give [`energy`]. `None`
    /// where the unbiased form meets a group of one cell.
    pub fn energy(&self, x: &Array1<f64>, y: &Array1<f64>, estimator: Estimator) -> Option<f64> {
        let mut energy = 2.0 * x.dot(&self.across.dot(y));
        for (weights, distances) in [x, y].into_iter().zip(&self.within) {
            let n = weights.len() as f64;
            let scale = match estimator {
                Estimator::V => 1.0,
                Estimator::U if n > 1.0 => n / (n - 1.0),
                Estimator::U => return None,
            };
            energy -= scale * weights.dot(&distances.dot(weights));
        }
        Some(energy)
    }

    /// Mean distance between two different cells of the first group; `None` of one cell.
    pub fn spread(&self) -> Option<f64> {
        let n = self.within[0].nrows() as f64;
        (n > 1.0).then(|| self.within[0].sum() / (n * (n - 1.0)))
    }
}

fn within(group: ArrayView2<'_, f64>, distance: Distance, estimator: Estimator) -> Option<f64> {
    let n = group.nrows();
    let pairs = match estimator {
        Estimator::V => n * n,
        Estimator::U => n * (n - 1),
    };
    let half: f64 = (1..n).map(|i| (0..i).map(|j| between(group.row(i), group.row(j), distance)).sum::<f64>()).sum();
    (pairs > 0).then(|| 2.0 * half / pairs as f64)
}

fn between(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>, distance: Distance) -> f64 {
    let squared: f64 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
    match distance {
        Distance::Euclidean => squared.sqrt(),
        Distance::Squared => squared,
    }
}

fn check_group(what: &'static str, group: ArrayView2<'_, f64>, dimensions: usize) -> Result<(), MetricError> {
    if group.nrows() == 0 {
        return Err(MetricError::Empty { what });
    }
    group.rows().into_iter().try_for_each(|row| check(what, row, dimensions))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Axis, array};
    use proptest::prelude::*;

    use super::{Distance, Distances, Estimator, energy};
    use crate::metric::MetricError;

    fn value(x: &Array2<f64>, y: &Array2<f64>, distance: Distance, estimator: Estimator) -> f64 {
        energy(x.view(), y.view(), distance, estimator).unwrap().unwrap()
    }

    #[test]
    fn the_four_conventions_give_the_published_numbers() {
        let x = array![[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]];
        let y = array![[3.0, 1.0], [2.0, 2.0]];
        for (distance, estimator, golden) in [
            (Distance::Squared, Estimator::U, 8.666_666_666_666_666),
            (Distance::Squared, Estimator::V, 10.777_777_777_777_779),
            (Distance::Euclidean, Estimator::U, 2.048_803_245_154_484_6),
            (Distance::Euclidean, Estimator::V, 3.337_695_357_174_341_7),
        ] {
            assert!((value(&x, &y, distance, estimator) - golden).abs() < 1e-12, "{distance:?} {estimator:?}");
        }
    }

    #[test]
    fn the_squared_form_is_blind_to_spread_and_the_euclidean_is_not() {
        let (x, y) = (array![[-1.0], [1.0]], array![[-2.0], [2.0]]);
        assert!((value(&x, &y, Distance::Squared, Estimator::V) - 0.0).abs() < 1e-12);
        assert!((value(&x, &y, Distance::Euclidean, Estimator::V) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn two_points_at_distance_r_are_2r_apart() {
        let (x, y) = (array![[0.0, 0.0]], array![[3.0, 4.0]]);
        assert!((value(&x, &y, Distance::Euclidean, Estimator::V) - 10.0).abs() < 1e-12);
    }

    #[test]
    fn one_cell_has_no_unbiased_form() {
        let (x, y) = (array![[0.0, 0.0]], array![[3.0, 4.0], [1.0, 1.0]]);
        assert_eq!(energy(x.view(), y.view(), Distance::Euclidean, Estimator::U), Ok(None));
        assert_eq!(energy(y.view(), x.view(), Distance::Squared, Estimator::U), Ok(None));
    }

    /// Midpoints of `n` equal quantiles of N(0, 1), by inverting a tabulated distribution function.
    fn normal_quantiles(n: usize) -> Array2<f64> {
        let (step, mut below, mut at) = (1e-4, 0.0, -8.0f64);
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        Array2::from_shape_fn((n, 1), |(i, _)| {
            let target = (i as f64 + 0.5) / n as f64;
            while below < target {
                below += density(at + step / 2.0) * step;
                at += step;
            }
            at
        })
    }

    #[test]
    fn normal_distributions_give_the_closed_form() {
        let x = normal_quantiles(1500);
        let shifted = &x + 1.0;
        let wide = &x * 2.0;
        assert!((value(&x, &shifted, Distance::Euclidean, Estimator::V) - 0.541_806_579_3).abs() < 2e-3);
        assert!((value(&x, &wide, Distance::Euclidean, Estimator::V) - 0.183_110_731_0).abs() < 2e-3);
    }

    #[test]
    fn bad_groups_are_named() {
        let (x, nan) = (array![[0.0, 0.0]], array![[1.0, f64::NAN]]);
        let of = |a: &Array2<f64>, b: &Array2<f64>| energy(a.view(), b.view(), Distance::Squared, Estimator::V);
        assert!(matches!(of(&x, &nan), Err(MetricError::NotFinite { what: "second group of cells", at: 1, .. })));
        assert!(matches!(of(&x, &array![[1.0]]), Err(MetricError::Length { .. })));
        assert!(matches!(of(&Array2::zeros((0, 2)), &x), Err(MetricError::Empty { .. })));
    }

    fn cells(n: usize) -> impl Strategy<Value = Array2<f64>> {
        prop::collection::vec(-3.0f64..3.0, n * 3).prop_map(move |flat| Array2::from_shape_vec((n, 3), flat).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_squared_v_form_is_twice_the_squared_mean_shift(x in cells(7), y in cells(4)) {
            let shift = x.mean_axis(Axis(0)).unwrap() - y.mean_axis(Axis(0)).unwrap();
            prop_assert!((value(&x, &y, Distance::Squared, Estimator::V) - 2.0 * shift.dot(&shift)).abs() < 1e-9);
        }

        #[test]
        fn equal_weights_give_the_energy_and_a_cell_of_weight_zero_is_not_there(x in cells(6), y in cells(5)) {
            let equal = |n: usize| Array1::from_elem(n, 1.0 / n as f64);
            let euclidean = Distances::new(x.view(), y.view(), Distance::Euclidean).unwrap();
            for (distances, distance) in [(&euclidean, Distance::Euclidean), (&euclidean.squared(), Distance::Squared)] {
                for estimator in [Estimator::V, Estimator::U] {
                    let found = distances.energy(&equal(6), &equal(5), estimator).unwrap();
                    prop_assert!((found - value(&x, &y, distance, estimator)).abs() < 1e-9);
                }
                let mut five = equal(5).to_vec();
                five.push(0.0);
                let found = distances.energy(&Array1::from(five), &equal(5), Estimator::V).unwrap();
                let expected = value(&x.slice(ndarray::s![..5, ..]).to_owned(), &y, distance, Estimator::V);
                prop_assert!((found - expected).abs() < 1e-9);
            }
        }

        #[test]
        fn the_euclidean_v_form_is_a_distance(x in cells(6), y in cells(5)) {
            prop_assert!(value(&x, &y, Distance::Euclidean, Estimator::V) >= -1e-12);
            prop_assert!(value(&x, &x, Distance::Euclidean, Estimator::V).abs() < 1e-12);
            let (there, back) = (value(&x, &y, Distance::Euclidean, Estimator::V), value(&y, &x, Distance::Euclidean, Estimator::V));
            prop_assert!((there - back).abs() < 1e-12);
        }
    }
}
