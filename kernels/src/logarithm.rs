//! The natural logarithm of 1 + x in single precision.
//!
//! Guarantee: within one unit in the last place of the true value for every finite x ≥ 0, with the same bits in
//! vector and scalar code, on every machine and on a GPU: it uses only operations that IEEE 754 rounds exactly, and
//! none is fused.

/// ln(1 + x) for x ≥ 0, without branches, so that the compiler makes vector code of a loop over it.
///
/// 1 + x = 2^e·(1 + f) with 1 + f in [√½, √2); ln(1 + f) = 2·artanh(s), s = f / (2 + f), of which the series in s²
/// needs four terms for single precision. What rounding 1 + x lost, divided by 1 + x, is added back.
/// `cuda/expression.cu` holds the same operations in the same order.
#[inline(always)]
pub(crate) fn ln_1p(x: f32) -> f32 {
    // ln 2 in two parts; the first is short, so that its product with an exponent is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    const SQRT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let u = 1.0 + x;
    let lost = (x - (u - 1.0)) / u;
    let shifted = u.to_bits().wrapping_sub(SQRT_HALF);
    let exponent = ((shifted as i32) >> 23) as f32;
    let f = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    let s = f / (2.0 + f);
    let w = s * s;
    let tail = w * (2.0 / 3.0 + w * (2.0 / 5.0 + w * (2.0 / 7.0 + w * (2.0 / 9.0))));
    let half = 0.5 * f * f;
    exponent * LN2_HIGH + (f - (half - (s * (half + tail) + (exponent * LN2_LOW + lost))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Level, Task};

    struct Logs<'a>(&'a [f32], &'a mut [f32]);

    impl Task for Logs<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            for (out, &x) in self.1.iter_mut().zip(self.0) {
                *out = ln_1p(x);
            }
        }
    }

    /// Every 997th float from 0 to the largest, which meets every exponent many times.
    fn floats() -> Vec<f32> {
        (0..=f32::MAX.to_bits()).step_by(997).map(f32::from_bits).collect()
    }

    #[test]
    fn the_logarithm_is_within_one_unit_in_the_last_place_of_double_precision() {
        for x in floats() {
            let want = f64::from(x).ln_1p();
            let nearest = want as f32;
            let unit = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
            let error = (f64::from(ln_1p(x)) - want).abs() / unit;
            assert!(error <= 1.0, "ln(1 + {x}) is {} not {want}: {error} units", ln_1p(x));
        }
        assert_eq!(ln_1p(0.0).to_bits(), 0);
    }

    #[test]
    fn every_level_gives_the_bits_of_the_scalar_logarithm() {
        let x = floats();
        let want: Vec<u32> = x.iter().map(|&x| ln_1p(x).to_bits()).collect();
        for level in Level::all() {
            let mut out = vec![0.0; x.len()];
            level.run(Logs(&x, &mut out));
            let found = out.iter().zip(&want).position(|(out, want)| out.to_bits() != *want);
            assert_eq!(found.map(|at| x[at]), None, "{level:?}");
        }
    }
}
