//! How far the results of a GPU are from those of the CPU.

use syncyte_kernels::moments::Moments;
use syncyte_kernels::number::Element;

/// What stands for a difference that is no number: of lengths, of a NaN, of the sign of zero.
const UNLIKE: f64 = f64::MAX;

/// The largest difference so far, and the one that is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Agreement {
    pub(super) difference: f64,
    pub(super) tolerance: f64,
}

impl Agreement {
    /// All bits must be equal.
    pub(super) fn exact() -> Self {
        Self { difference: 0.0, tolerance: 0.0 }
    }

    pub(super) fn holds(self) -> bool {
        self.difference <= self.tolerance
    }

    /// Takes in numbers by their bits; the difference is absolute.
    #[must_use]
    pub(super) fn bits<T: Element>(self, found: &[T], want: &[T]) -> Self {
        let pairs = found.iter().zip(want).map(|(found, want)| (found.to_f32(), want.to_f32()));
        let largest = pairs.map(|(found, want)| distance(found, want)).fold(0.0, f64::max);
        self.of_lengths(found.len(), want.len()).at_least(largest)
    }

    /// Takes in one number of double precision by its bits.
    #[must_use]
    pub(super) fn bits_f64(self, found: f64, want: f64) -> Self {
        let distance = (found - want).abs();
        let unlike = distance.is_nan() || distance == 0.0;
        let same = found.to_bits() == want.to_bits();
        self.at_least(if same {
            0.0
        } else if unlike {
            UNLIKE
        } else {
            distance
        })
    }

    /// Moments of columns as the kernel promises them: `|a − b| ≤ 1e-9·|b| + 1e-14·n` for sums and squares of `n` values,
    /// and equal counts. The difference is `|a − b| / (|b| + 1e-5·n)`.
    pub(super) fn of_moments(found: &Moments, want: &Moments) -> Self {
        let start = Self { difference: 0.0, tolerance: 1e-9 };
        let start =
            start.of_lengths(found.columns(), want.columns()).of_lengths(found.rows() as usize, want.rows() as usize);
        (0..found.columns().min(want.columns())).fold(start, |all, column| {
            let (found, want) = (found.column(column), want.column(column));
            let counts = all.of_lengths(found.count as usize, want.count as usize);
            [(found.sum, want.sum), (found.m2, want.m2)].into_iter().fold(counts, |all, (a, b)| {
                let relative = (a - b).abs() / (b.abs() + 1e-5 * want.count as f64).max(f64::MIN_POSITIVE);
                all.at_least(if relative.is_nan() { UNLIKE } else { relative })
            })
        })
    }

    fn of_lengths(self, found: usize, want: usize) -> Self {
        if found == want { self } else { self.at_least(UNLIKE) }
    }

    fn at_least(self, difference: f64) -> Self {
        Self { difference: self.difference.max(difference), ..self }
    }
}

fn distance(found: f32, want: f32) -> f64 {
    if found.to_bits() == want.to_bits() {
        return 0.0;
    }
    let distance = (f64::from(found) - f64::from(want)).abs();
    if distance.is_nan() || distance == 0.0 { UNLIKE } else { distance }
}

#[cfg(test)]
mod tests {
    use syncyte_kernels::moments::Summary;
    use syncyte_kernels::number::Bf16;

    use super::*;

    #[test]
    fn equal_bits_agree_and_the_largest_difference_is_told() {
        assert!(Agreement::exact().bits(&[1.0_f32, f32::NAN], &[1.0, f32::NAN]).holds());
        let found = Agreement::exact().bits(&[1.0_f32, 2.0, 3.0], &[1.0, 2.5, 3.25]).bits(&[Bf16(0)], &[Bf16(0)]);
        assert_eq!((found.difference, found.holds()), (0.5, false));
    }

    #[test]
    fn what_differs_by_no_number_never_agrees() {
        for (found, want) in [(0.0_f32, -0.0), (f32::NAN, 1.0)] {
            assert!(!Agreement::exact().bits(&[found], &[want]).holds());
            assert!(!Agreement::exact().bits_f64(f64::from(found), f64::from(want)).holds());
        }
        assert!(!Agreement::exact().bits(&[1.0_f32], &[]).holds());
        assert!(Agreement::exact().bits_f64(0.1, 0.1).holds());
    }

    #[test]
    fn moments_agree_to_a_billionth_and_counts_exactly() {
        let moments = |count, sum, m2| Moments::from_parts(100, vec![Summary { count, sum, m2 }]);
        let want = moments(100, 5.0, 7.0);
        assert!(Agreement::of_moments(&moments(100, 5.0 + 4e-9, 7.0), &want).holds());
        assert!(!Agreement::of_moments(&moments(100, 5.0 + 6e-9, 7.0), &want).holds());
        assert!(!Agreement::of_moments(&moments(100, 5.0, f64::NAN), &want).holds());
        assert!(!Agreement::of_moments(&Moments::from_parts(99, want.non_zeros().to_vec()), &want).holds());
    }
}
