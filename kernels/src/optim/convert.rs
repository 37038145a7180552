//! Between single precision and bfloat16.
//!
//! Guarantee: every level of vector instructions gives the bits of [`Bf16::from_f32`] and [`Bf16::to_f32`], those of
//! numbers that are not numbers among them.

use crate::number::{Bf16, Element};
use crate::simd::{Level, Task};

/// Elements that are taken at once.
const LANES: usize = 32;

/// Rounds every value to the nearest bfloat16, ties to even. What is not a number stays so; what is nearer to 2¹²⁸ than
/// to the largest bfloat16 becomes infinite.
///
/// # Panics
/// When the slices differ in length.
pub fn to_bf16(values: &[f32], out: &mut [Bf16]) {
    convert_at(Level::best(), values, out);
}

/// Widens every value to single precision, exactly.
///
/// # Panics
/// When the slices differ in length.
pub fn to_f32(values: &[Bf16], out: &mut [f32]) {
    convert_at(Level::best(), values, out);
}

fn convert_at<A: Element, B: Element>(level: Level, values: &[A], out: &mut [B]) {
    assert_eq!(values.len(), out.len(), "values and their conversion differ in length");
    level.run(Convert { values, out });
}

struct Convert<'a, A, B> {
    values: &'a [A],
    out: &'a mut [B],
}

impl<A: Element, B: Element> Task for Convert<'_, A, B> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (values, values_rest) = self.values.as_chunks::<LANES>();
        let (out, out_rest) = self.out.as_chunks_mut::<LANES>();
        for (to, from) in out.iter_mut().zip(values) {
            *to = converted(from);
        }
        for (to, from) in out_rest.iter_mut().zip(values_rest) {
            *to = B::from_f32(from.to_f32());
        }
    }
}

/// The values as numbers of another type.
#[inline(always)]
pub(super) fn converted<A: Element, B: Element, const N: usize>(values: &[A; N]) -> [B; N] {
    let mut out = [B::default(); N];
    for (to, from) in out.iter_mut().zip(values) {
        *to = B::from_f32(from.to_f32());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_bfloat16_widens_exactly_and_comes_back_on_every_level() {
        let all: Vec<Bf16> = (0..=u16::MAX).map(Bf16).collect();
        for level in Level::all() {
            let mut wide = vec![1.0_f32; all.len()];
            convert_at(level, &all, &mut wide);
            for (half, single) in all.iter().zip(&wide) {
                assert_eq!(single.to_bits(), u32::from(half.0) << 16, "{level:?}");
            }
            let mut back = vec![Bf16(1); all.len()];
            convert_at(level, &wide, &mut back);
            for (half, back) in all.iter().zip(&back) {
                // A signalling number that is none comes back quiet.
                let want = if half.to_f32().is_nan() { half.0 | 0x40 } else { half.0 };
                assert_eq!(back.0, want, "{level:?} {half:?}");
            }
        }
    }

    #[test]
    fn slices_of_different_lengths_are_refused() {
        let refused = std::panic::catch_unwind(|| to_bf16(&[1.0, 2.0], &mut [Bf16::default()]));
        assert!(refused.is_err());
    }

    /// The nearest bfloat16 by its definition: that of the two neighbours which is nearer, the even one in a tie.
    fn nearest(value: f32) -> u16 {
        let below = (value.to_bits() >> 16) as u16;
        let distance = |bits: u16| {
            let bound = 2.0_f64.powi(128).copysign(f64::from(value));
            let half = f64::from(f32::from_bits(u32::from(bits) << 16));
            ((if half.is_infinite() { bound } else { half }) - f64::from(value)).abs()
        };
        let (low, high) = (distance(below), distance(below + 1));
        if low < high || (low == high && below.is_multiple_of(2)) { below } else { below + 1 }
    }

    proptest! {
        #[test]
        fn every_single_goes_to_the_nearest_bfloat16_on_every_level(
            bits in prop::collection::vec(prop_oneof![
                any::<u32>(),
                // Ties and their neighbours.
                (any::<u16>(), 0x7fff_u32..=0x8001).prop_map(|(high, low)| u32::from(high) << 16 | low),
            ], 0..200),
        ) {
            let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            for level in Level::all() {
                let mut out = vec![Bf16(1); values.len()];
                convert_at(level, &values, &mut out);
                for (value, out) in values.iter().zip(&out) {
                    if value.is_nan() {
                        prop_assert!(out.to_f32().is_nan() && out.to_f32().is_sign_negative() == value.is_sign_negative());
                    } else if value.is_infinite() {
                        prop_assert_eq!(out.to_f32(), *value);
                    } else {
                        prop_assert_eq!(out.0, nearest(*value), "{}", value);
                    }
                }
            }
        }
    }
}
