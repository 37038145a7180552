//! The vector instructions that a loop is compiled for, chosen when it runs.
//!
//! Guarantee: a [`Task`] is one piece of ordinary Rust, compiled once per [`Level`]. Rust neither fuses a product
//! with a sum nor reorders floating-point operations by itself, so every level gives the same bits; only speed
//! differs. On processors other than x86-64 there is one level, [`Level::Scalar`].
//!
//! A [`FusedTask`] gives up equal bits for speed: it is told whether the level fuses, and levels agree to rounding.

use crate::number::Bf16;

/// Work that is compiled for every level. `run` must be `#[inline(always)]`, or it is compiled for none of them.
pub(crate) trait Task {
    /// What the work yields.
    type Output;

    /// Does the work.
    fn run(self) -> Self::Output;
}

/// Dense arithmetic that is compiled for every level and knows which: with `FUSED`, `f32::mul_add` is one instruction
/// (without, it would be a call); `LANES` single-precision numbers make a vector. `run` must be `#[inline(always)]`.
pub(crate) trait FusedTask {
    /// Does the work.
    fn run<const FUSED: bool, const LANES: usize>(self);
}

/// `a·b + c`, rounded once with `FUSED` and twice without.
#[inline(always)]
pub(crate) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// What every processor of the architecture has.
    Scalar,
    /// AVX2 and FMA: 8 single-precision lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 (F, BW, DQ, VL): 16 single-precision lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest level that this processor has. The answer is cached by the standard library.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn best() -> Self {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx512 {
            Self::Avx512
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            Self::Avx2
        } else {
            Self::Scalar
        }
    }

    /// The one level of this architecture.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn best() -> Self {
        Self::Scalar
    }

    /// Every level up to the best, for tests that compare them.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        match Self::best() {
            Self::Avx512 => vec![Self::Scalar, Self::Avx2, Self::Avx512],
            Self::Avx2 => vec![Self::Scalar, Self::Avx2],
            Self::Scalar => vec![Self::Scalar],
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Scalar]
    }

    /// Runs the task with the instructions of this level.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Self::Scalar => task.run(),
            // SAFETY: a level above scalar comes from `best`, which saw these features.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512(task) },
        }
    }

    /// Runs the task with the instructions of this level, fused where it can fuse.
    pub(crate) fn run_fused<T: FusedTask>(self, task: T) {
        match self {
            Self::Scalar => task.run::<false, 4>(),
            // SAFETY: a level above scalar comes from `best`, which saw these features.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2_fused(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512_fused(task) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<T: Task>(task: T) -> T::Output {
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<T: Task>(task: T) -> T::Output {
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2_fused<T: FusedTask>(task: T) {
    task.run::<true, 8>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512_fused<T: FusedTask>(task: T) {
    task.run::<true, 16>();
}

/// Asks for the memory of `items` that start at `pointer`, which need not be valid: a hint, never a fault.
#[inline(always)]
pub(crate) fn prefetch<T>(pointer: *const T, items: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..(items * size_of::<T>()).div_ceil(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program sees and does not fault; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(pointer.cast::<i8>().wrapping_add(line * 64)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (pointer, items);
}

/// Writes around the caches where that can be done, so that what was there before is not read. [`fence`] comes after
/// the last.
#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(clippy::cast_ptr_alignment, reason = "the alignment is checked"))]
pub(crate) fn stream<const N: usize>(to: &mut [Bf16; N], from: [Bf16; N]) {
    #[cfg(target_arch = "x86_64")]
    if N.is_multiple_of(8) && to.as_ptr().addr().is_multiple_of(16) {
        use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
        let (to, from) = (to.as_mut_ptr().cast::<__m128i>(), from.as_ptr().cast::<__m128i>());
        for eight in 0..N / 8 {
            // SAFETY: both arrays have `N` numbers of two bytes, of which these are eight, and `to` is aligned to 16
            // bytes. SSE2 is part of x86-64.
            unsafe { _mm_stream_si128(to.add(eight), _mm_loadu_si128(from.add(eight))) };
        }
        return;
    }
    *to = from;
}

/// Makes what was written around the caches come before all that is written later, as other threads see it.
#[inline(always)]
pub(crate) fn fence() {
    // SAFETY: SSE is part of x86-64.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}
