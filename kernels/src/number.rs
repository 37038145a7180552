//! The number types that sparse rows are stored in and that dense rows are written in.
//!
//! Guarantee: small integers are read as they are stored; nothing widens a whole array first. The traits are
//! sealed: a kernel's CUDA source knows the same list.

use std::fmt::Debug;

mod sealed {
    pub trait Sealed {}
}

/// A stored value: `u8`, `u16`, `u32` (counts) or `f32` (counts or log-normalised expression).
pub trait Value: sealed::Sealed + Copy + Debug + Default + PartialEq + Send + Sync + 'static {
    /// Name of the type in Rust and in the CUDA sources.
    const NAME: &'static str;

    /// The value, rounded to single precision (exact up to 2²⁴).
    fn to_f32(self) -> f32;

    /// The value in double precision, exact.
    fn to_f64(self) -> f64;

    /// Place of a count in a table of all counts. A type that is no integer has none: `usize::MAX`.
    fn to_index(self) -> usize;

    /// The largest place of these counts in a table; 0 for none, `usize::MAX` for a type that is no integer.
    fn largest_index(values: &[Self]) -> usize;
}

/// A stored column index: `u16` or `u32`.
pub trait Column: sealed::Sealed + Copy + Debug + Default + Ord + Send + Sync + 'static {
    /// Name of the type in Rust and in the CUDA sources.
    const NAME: &'static str;

    /// The column.
    fn to_usize(self) -> usize;
}

/// A number of a dense row: `f32` or [`Bf16`].
pub trait Element: sealed::Sealed + Copy + Debug + Default + PartialEq + Send + Sync + 'static {
    /// Name of the type in Rust and in the CUDA sources.
    const NAME: &'static str;

    /// The nearest number of this type, ties to even.
    fn from_f32(value: f32) -> Self;

    /// The number in single precision, exact.
    fn to_f32(self) -> f32;
}

/// A bfloat16: the upper half of an `f32`, in the memory layout of libtorch and CUDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(
    /// The bits.
    pub u16,
);

// SAFETY: a u16 with another name; all bits are valid, zeros among them.
unsafe impl bytemuck::Zeroable for Bf16 {}
// SAFETY: as above; it has no padding, and is copied freely.
unsafe impl bytemuck::Pod for Bf16 {}

macro_rules! count {
    ($($type:ident)*) => {$(
        impl sealed::Sealed for $type {}
        impl Value for $type {
            const NAME: &'static str = stringify!($type);

            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn to_index(self) -> usize {
                self as usize
            }

            #[inline(always)]
            fn largest_index(values: &[Self]) -> usize {
                values.iter().fold(0, |largest, &value| value.max(largest)) as usize
            }
        }
    )*};
}

count!(u8 u16 u32);

impl sealed::Sealed for f32 {}

impl Value for f32 {
    const NAME: &'static str = "f32";

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn to_index(self) -> usize {
        usize::MAX
    }

    #[inline(always)]
    fn largest_index(_: &[Self]) -> usize {
        usize::MAX
    }
}

macro_rules! column {
    ($($type:ident)*) => {$(
        impl Column for $type {
            const NAME: &'static str = stringify!($type);

            #[inline(always)]
            fn to_usize(self) -> usize {
                self as usize
            }
        }
    )*};
}

column!(u16 u32);

impl Element for f32 {
    const NAME: &'static str = "f32";

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl sealed::Sealed for Bf16 {}

impl Element for Bf16 {
    const NAME: &'static str = "bf16";

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        // Rounding up may carry into the exponent, which is then the right one. A NaN must not become infinite.
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x0040;
        Self(if value.is_nan() { quiet } else { rounded } as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bfloat16_matches_golden_values() {
        let bits = |value: f32| Bf16::from_f32(value).0;
        assert_eq!([bits(0.0), bits(1.0), bits(-2.0), bits(f32::INFINITY)], [0, 0x3f80, 0xc000, 0x7f80]);
        // 1 + 2⁻⁸ lies halfway between 1 and 1 + 2⁻⁷, 1 + 3·2⁻⁸ between 1 + 2⁻⁷ and 1 + 2⁻⁶: both go to the even one.
        assert_eq!([bits(1.0 + 1.0 / 256.0), bits(1.0 + 3.0 / 256.0)], [0x3f80, 0x3f82]);
        assert_eq!(bits(f32::MAX), 0x7f80);
        assert!(Bf16::from_f32(f32::from_bits(0x7f80_0001)).to_f32().is_nan());
    }

    proptest! {
        #[test]
        fn bfloat16_is_the_nearest_of_its_kind(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite() && value.abs() < 3e38);
            let near = Bf16::from_f32(value);
            let distance = |at: Bf16| (f64::from(at.to_f32()) - f64::from(value)).abs();
            for other in [near.0.wrapping_sub(1), near.0.wrapping_add(1)].map(Bf16) {
                prop_assert!(!other.to_f32().is_finite() || distance(near) <= distance(other), "{value} {near:?}");
            }
        }
    }
}
