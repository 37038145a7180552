//! The global norm of the gradient, and whether all of it is finite, in one pass.
//!
//! Guarantee: gradients are summed in blocks of [`NORM_BLOCK`], and the sum of a block depends on its values alone, not
//! on the processor or on who sums it. So ranks and threads may share the blocks of a flat gradient as they like: the
//! sums of all blocks, added in the order of the blocks ([`GradientNorm::of_blocks`]), give the bits of
//! [`gradient_norm`] over the whole.
//!
//! That all gradients are finite needs no look of its own. The square of an `f32` is exact in double precision and
//! below 2²⁵⁶, so no sum of fewer than 2⁷⁶⁷ of them overflows; and since no square is negative, nothing cancels
//! an infinity. The sum is therefore finite exactly where every gradient is.

use std::hint::black_box;

use crate::number::Element;
use crate::simd::{Level, Task};

/// Elements of a block.
pub const NORM_BLOCK: usize = 4096;

/// Sums of a block: element `i` goes to sum `i mod 32`. As many as a warp has threads.
const LANES: usize = 32;

/// Sum of squares of a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientNorm {
    squares: f64,
}

impl GradientNorm {
    /// From the sums of all blocks ([`square_sums`]), added first to last.
    pub fn of_blocks(sums: &[f64]) -> Self {
        Self { squares: sums.iter().fold(0.0, |all, sum| all + sum) }
    }

    /// Sum of squares.
    pub fn squares(self) -> f64 {
        self.squares
    }

    /// Whether every gradient is finite.
    pub fn is_finite(self) -> bool {
        self.squares.is_finite()
    }

    /// The norm.
    pub fn norm(self) -> f64 {
        self.squares.sqrt()
    }

    /// What every gradient is multiplied by so that the norm of `unscale` times the gradient is at most `clip`
    /// (infinite: no clipping). `unscale` undoes what the gradients carry: a loss scale, a sum over samples. Of no use
    /// where not every gradient is finite.
    pub fn scale(self, unscale: f64, clip: f64) -> f64 {
        unscale * (clip / (self.norm() * unscale).max(f64::MIN_POSITIVE)).min(1.0)
    }
}

/// The norm of a gradient.
pub fn gradient_norm<G: Element>(grads: &[G]) -> GradientNorm {
    gradient_norm_at(Level::best(), grads)
}

fn gradient_norm_at<G: Element>(level: Level, grads: &[G]) -> GradientNorm {
    GradientNorm { squares: level.run(Fold(grads)) }
}

/// Writes the sum of squares of every block of [`NORM_BLOCK`] gradients; the last block may be shorter.
///
/// # Panics
/// When there are not as many sums as blocks.
pub fn square_sums<G: Element>(grads: &[G], sums: &mut [f64]) {
    square_sums_at(Level::best(), grads, sums);
}

fn square_sums_at<G: Element>(level: Level, grads: &[G], sums: &mut [f64]) {
    assert_eq!(sums.len(), grads.len().div_ceil(NORM_BLOCK), "sums and blocks of gradients differ in number");
    level.run(Blocks { grads, sums });
}

struct Fold<'a, G>(&'a [G]);

impl<G: Element> Task for Fold<'_, G> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        // A loop: what a closure does in the library's `fold` would not be compiled for the level.
        let mut all = 0.0;
        for block in self.0.chunks(NORM_BLOCK) {
            all += square_sum(block);
        }
        all
    }
}

struct Blocks<'a, G> {
    grads: &'a [G],
    sums: &'a mut [f64],
}

impl<G: Element> Task for Blocks<'_, G> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (sum, block) in self.sums.iter_mut().zip(self.grads.chunks(NORM_BLOCK)) {
            *sum = square_sum(block);
        }
    }
}

/// The sum of one block: that of 32 sums, folded in half five times.
#[inline(always)]
fn square_sum<G: Element>(block: &[G]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (rows, rest) = block.as_chunks();
    for row in rows {
        add_squares(&mut lanes, row);
    }
    // Zeros change no sum.
    let mut last = [G::default(); LANES];
    last[..rest.len()].copy_from_slice(rest);
    add_squares(&mut lanes, &last);
    // A compiler that saw how the sums are folded would arrange them for that, not for the loop.
    let lanes = black_box(&mut lanes);
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn add_squares<G: Element>(lanes: &mut [f64; LANES], row: &[G; LANES]) {
    // All squares, then all sums: in one loop the compiler finds no vectors.
    let mut squares = [0.0_f64; LANES];
    for (square, grad) in squares.iter_mut().zip(row) {
        let grad = f64::from(grad.to_f32());
        *square = grad * grad;
    }
    let mut sums = *lanes;
    for (sum, square) in sums.iter_mut().zip(&squares) {
        *sum += square;
    }
    *lanes = sums;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::Bf16;

    /// The order of additions as the module's text has it, one after another.
    fn in_order(grads: &[f32]) -> f64 {
        let mut all = 0.0;
        for block in grads.chunks(NORM_BLOCK) {
            let lane = |lane: usize| -> f64 {
                block.iter().skip(lane).step_by(LANES).fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x))
            };
            let mut sums: Vec<f64> = (0..LANES).map(lane).collect();
            while sums.len() > 1 {
                let half = sums.len() / 2;
                sums = (0..half).map(|i| sums[i] + sums[i + half]).collect();
            }
            all += sums[0];
        }
        all
    }

    #[test]
    fn three_and_four_have_norm_five_and_clipping_brings_it_to_the_limit() {
        let norm = gradient_norm(&[3.0_f32, -4.0]);
        assert_eq!((norm.squares(), norm.norm(), norm.is_finite()), (25.0, 5.0, true));
        assert_eq!([norm.scale(1.0, 1.0), norm.scale(1.0, 10.0), norm.scale(1.0, f64::INFINITY)], [0.2, 1.0, 1.0]);
        // Gradients that carry a factor of 8 have norm 5 / 8 without it.
        assert_eq!([norm.scale(0.125, 1.0), norm.scale(0.125, 0.5)], [0.125, 0.1]);
        assert_eq!(gradient_norm(&[0.0_f32; 3]).scale(1.0, 1.0), 1.0);
        assert_eq!(gradient_norm::<Bf16>(&[]).squares().to_bits(), 0);
    }

    #[test]
    fn the_largest_gradients_do_not_overflow_and_the_smallest_do_not_vanish() {
        let count = 3 * NORM_BLOCK + 5;
        for level in Level::all() {
            let most = gradient_norm_at(level, &vec![f32::MAX; count]);
            assert!(
                most.is_finite() && (most.norm() / (f64::from(f32::MAX) * (count as f64).sqrt()) - 1.0).abs() < 1e-12
            );
            let least = gradient_norm_at(level, &[f32::from_bits(1)]);
            assert_eq!(least.norm(), 2.0_f64.powi(-149));
        }
    }

    #[test]
    fn one_number_that_is_not_finite_is_seen_at_every_place_beside_the_largest() {
        let mut grads = vec![f32::MAX; NORM_BLOCK + 45];
        let mut halves = vec![Bf16::from_f32(-1e38); grads.len()];
        let places = (0..100).chain(NORM_BLOCK - 40..grads.len());
        for (at, bad) in places.zip([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN].into_iter().cycle()) {
            (grads[at], halves[at]) = (bad, Bf16::from_f32(bad));
            for level in Level::all() {
                assert!(!gradient_norm_at(level, &grads).is_finite(), "{bad} at {at}");
                assert!(!gradient_norm_at(level, &halves).is_finite(), "{bad} at {at}");
            }
            (grads[at], halves[at]) = (f32::MAX, Bf16::from_f32(-1e38));
        }
        // Two of opposite sign do not cancel.
        (grads[3], grads[3 + LANES]) = (f32::INFINITY, f32::NEG_INFINITY);
        assert!(!gradient_norm(&grads).is_finite());
    }

    #[test]
    fn as_many_sums_as_blocks_are_asked_for() {
        let refused = std::panic::catch_unwind(|| square_sums(&vec![1.0_f32; NORM_BLOCK + 1], &mut [0.0]));
        assert!(refused.is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_level_and_every_division_of_the_blocks_gives_the_bits_of_the_written_order(
            seeds in prop::collection::vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 1..50),
            count in 0_usize..5 * NORM_BLOCK,
            cut in 0_usize..=5,
        ) {
            let grads: Vec<f32> = seeds.iter().cycle().take(count).enumerate()
                .map(|(i, x)| x / (1 + i % 7) as f32).collect();
            let halves: Vec<Bf16> = grads.iter().map(|&x| Bf16::from_f32(x / 4.0)).collect();
            let widened: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
            let cut = (cut * NORM_BLOCK).min(count);
            for level in Level::all() {
                let whole = gradient_norm_at(level, &grads);
                prop_assert_eq!(whole.squares().to_bits(), in_order(&grads).to_bits());
                prop_assert_eq!(gradient_norm_at(level, &halves).squares().to_bits(), in_order(&widened).to_bits());
                let mut sums = vec![f64::NAN; count.div_ceil(NORM_BLOCK)];
                let (ours, theirs) = sums.split_at_mut(cut.div_ceil(NORM_BLOCK));
                square_sums_at(level, &grads[..cut], ours);
                square_sums_at(level, &grads[cut..], theirs);
                prop_assert_eq!(GradientNorm::of_blocks(&sums), whole);
            }
        }

        #[test]
        fn the_norm_is_that_of_the_plain_sum(values in prop::collection::vec(-10.0_f32..10.0, 0..10_000)) {
            let plain: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            prop_assert!((gradient_norm(&values).squares() - plain).abs() <= 1e-12 * plain);
        }
    }
}
