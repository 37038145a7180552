//! The exponential function in single precision.
//!
//! Guarantee: relative error at most 2·10⁻⁷ from −87.3 to 88; below −87.7 it is exactly zero, above 88 it is that of 88,
//! and what is not a number stays so.

use crate::simd::mul_add;

/// exp(x), without branches, so that the compiler makes vector code of a loop over it.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2, and exp(x) = 2ⁿ·exp(r). The polynomial is the one of degree six in r that begins
/// with 1 + r and has the least relative error (3·10⁻⁹).
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    // Below LOWEST, n is −127, whose power of two is written as zero.
    const LOWEST: f32 = -88.0;
    const HIGHEST: f32 = 88.0;
    // A sum with it has no digits after the point: its last bits are the rounded integer.
    const ROUND: f32 = 1.5 * (1 << 23) as f32;
    // ln 2 in two parts; the first is short, so that its product with n is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    const TERMS: [f32; 5] = [0.001_381_454, 0.008_368_745, 0.041_668_39, 0.166_665_21, 0.499_999_94];

    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let shifted = mul_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FUSED>(n, -LN2_LOW, mul_add::<FUSED>(n, -LN2_HIGH, x));
    let [first, rest @ ..] = TERMS;
    let mut series = first;
    for term in rest {
        series = mul_add::<FUSED>(series, r, term);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    mul_add::<FUSED>(r * r, series, r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{FusedTask, Level};

    struct Exponentials<'a>(&'a [f32], &'a mut [f32]);

    impl FusedTask for Exponentials<'_> {
        #[inline(always)]
        fn run<const FUSED: bool, const LANES: usize>(self) {
            for (out, &x) in self.1.iter_mut().zip(self.0) {
                *out = exp::<FUSED>(x);
            }
        }
    }

    fn exponentials(level: Level, x: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; x.len()];
        level.run_fused(Exponentials(x, &mut out));
        out
    }

    #[test]
    fn the_exponential_is_within_two_ten_millionths_of_double_precision() {
        // Every 499th float of either sign, and a dense sweep of what softmax asks for most.
        let floats = (0..=88_f32.to_bits()).step_by(499).map(f32::from_bits);
        let mut x: Vec<f32> = floats.flat_map(|x| [x, (-x).max(-87.3)]).collect();
        x.extend((0..4_000_000).map(|step| step as f32 * -5e-6));
        for level in Level::all() {
            for (&x, found) in x.iter().zip(exponentials(level, &x)) {
                let want = f64::from(x).exp();
                let error = (f64::from(found) - want).abs() / want;
                assert!(error <= 2e-7, "{level:?}: exp({x}) is {found} not {want}: {error}");
            }
        }
    }

    #[test]
    fn far_below_zero_it_vanishes_and_what_is_no_number_stays_so() {
        for level in Level::all() {
            let x = [f32::NEG_INFINITY, f32::MIN, -88.0, -87.7, 0.0, -0.0, f32::INFINITY, f32::NAN];
            let found = exponentials(level, &x);
            assert_eq!(found[..6], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0], "{level:?}");
            assert!((found[6] / 1.651_636e38 - 1.0).abs() < 1e-6 && found[7].is_nan(), "{level:?} {found:?}");
        }
    }
}
