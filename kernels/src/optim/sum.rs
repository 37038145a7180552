//! Sums of equally long slices, as collectives need them.
//!
//! Guarantee: the order of the additions is a function of the number of inputs alone. For `n = 2ᵏ` inputs it is the
//! binary tree of strides `n/2, n/4, …, 1`: level by level, for every `i` below the stride `s`, input `i` becomes
//! input `i` + input `i + s`; so four inputs give `(x₀ + x₂) + (x₁ + x₃)`. For any other number it is from left to
//! right: `((x₀ + x₁) + x₂) + …`. One input is copied. Inputs of bfloat16 are added in single precision, and the sum is
//! rounded once.
//!
//! This tree makes results equal at every number of ranks: where `n` parts lie on `r` ranks (powers of two), part `i`
//! on rank `i mod r`, the levels of stride `≥ r` pair parts of one rank, which adds them by this function, and the
//! levels below `r` are this function over the ranks.

use crate::number::Element;
use crate::optim::convert::converted;
use crate::simd::{Level, Task};

/// Elements of every input that are taken at once.
const LANES: usize = 32;

/// Writes the sum of the inputs, in the order that the module describes; zeros where there are none.
///
/// # Panics
/// When the slices differ in length.
pub fn sum_into<O: Element, I: Element>(out: &mut [O], inputs: &[&[I]]) {
    sum_into_at(Level::best(), out, inputs);
}

fn sum_into_at<O: Element, I: Element>(level: Level, out: &mut [O], inputs: &[&[I]]) {
    assert!(inputs.iter().all(|input| input.len() == out.len()), "a sum and what it is of differ in length");
    level.run(Sum { out, inputs });
}

struct Sum<'a, O, I> {
    out: &'a mut [O],
    inputs: &'a [&'a [I]],
}

impl<O: Element, I: Element> Task for Sum<'_, O, I> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (out, rest) = self.out.as_chunks_mut::<LANES>();
        pass(out, self.inputs, 0);
        pass(rest.as_chunks_mut::<1>().0, self.inputs, out.len() * LANES);
    }
}

/// Sums what the inputs hold from `begin` on, `N` elements at a time.
#[inline(always)]
fn pass<O: Element, I: Element, const N: usize>(out: &mut [[O; N]], inputs: &[&[I]], begin: usize) {
    let mut scratch = vec![[0.0_f32; N]; inputs.len() / 2];
    for (at, out) in out.iter_mut().enumerate() {
        let input = |i: usize| -> &[I; N] { &inputs[i][begin..].as_chunks().0[at] };
        *out = match inputs.len() {
            0 => [O::default(); N],
            1 => converted(input(0)),
            n if n.is_power_of_two() => converted(&tree(&mut scratch, input)),
            n => {
                let mut sum = add(&converted(input(0)), input(1));
                for i in 2..n {
                    sum = add(&sum, input(i));
                }
                converted(&sum)
            }
        };
    }
}

/// The sum of twice as many inputs (2, 4, 8, …) as the scratch has places, by the tree.
#[inline(always)]
fn tree<'a, I: Element, const N: usize>(scratch: &mut [[f32; N]], input: impl Fn(usize) -> &'a [I; N]) -> [f32; N] {
    let mut stride = scratch.len();
    for (i, sum) in scratch.iter_mut().enumerate() {
        *sum = add(&converted(input(i)), input(i + stride));
    }
    while stride > 1 {
        stride /= 2;
        let (low, high) = scratch.split_at_mut(stride);
        for (low, high) in low.iter_mut().zip(high) {
            *low = add(low, high);
        }
    }
    scratch[0]
}

#[inline(always)]
fn add<I: Element, const N: usize>(a: &[f32; N], b: &[I; N]) -> [f32; N] {
    let mut sum = *a;
    for (sum, b) in sum.iter_mut().zip(b) {
        *sum += b.to_f32();
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::Bf16;

    /// The sum of inputs `first, first + step, …` below `n`: a node of the tree, seen from its root.
    fn node(inputs: &[f32], first: usize, step: usize) -> f32 {
        if step >= inputs.len() {
            return inputs[first];
        }
        node(inputs, first, 2 * step) + node(inputs, first + step, 2 * step)
    }

    fn reference(inputs: &[f32]) -> f32 {
        match inputs {
            [] => 0.0,
            _ if inputs.len().is_power_of_two() => node(inputs, 0, 1),
            [first, rest @ ..] => rest.iter().fold(*first, |sum, x| sum + x),
        }
    }

    #[test]
    fn four_inputs_are_paired_at_stride_two_and_three_go_from_left_to_right() {
        // 2²⁴ + 1 is 2²⁴ in single precision: what is left of the ones tells the order.
        let big = 16_777_216.0_f32;
        let inputs = [[big], [1.0], [-big], [1.0]];
        let mut out = [0.0_f32];
        sum_into(&mut out, &inputs.each_ref().map(|x| &x[..]));
        assert_eq!(out, [2.0]);
        sum_into(&mut out, &[&[big][..], &[-big], &[1.0]]);
        assert_eq!(out, [1.0]);
        sum_into(&mut out, &[&[big][..], &[1.0], &[-big]]);
        assert_eq!(out, [0.0]);
    }

    #[test]
    fn no_input_gives_zeros_and_one_is_copied_with_the_sign_of_its_zeros() {
        let mut out = [7.0_f32; 3];
        sum_into::<f32, f32>(&mut out, &[]);
        assert_eq!(out, [0.0; 3]);
        for n in [1, 3, 4] {
            sum_into(&mut out, &vec![&[-0.0_f32; 3][..]; n]);
            assert_eq!(out.map(f32::to_bits), [0x8000_0000; 3]);
        }
    }

    #[test]
    fn bfloat16_is_rounded_once() {
        // Each 2⁻⁹ alone would be lost beside 1: bfloat16 has 8 significant bits.
        let (one, small) = ([Bf16::from_f32(1.0)], [Bf16::from_f32(1.0 / 512.0)]);
        let mut out = [Bf16::default()];
        sum_into(&mut out, &[&one[..], &small, &small, &small, &small]);
        assert_eq!(out[0].to_f32(), 1.0 + 1.0 / 128.0);
        let mut single = [0.0_f32];
        sum_into(&mut single, &[&one[..], &small]);
        assert_eq!(single, [1.0 + 1.0 / 512.0]);
    }

    #[test]
    fn slices_of_different_lengths_are_refused() {
        let refused = std::panic::catch_unwind(|| sum_into(&mut [0.0_f32; 2], &[&[1.0_f32, 2.0][..], &[1.0]]));
        assert!(refused.is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_level_adds_in_the_order_that_is_promised(
            n in 0_usize..18, len in 0_usize..1200, seeds in prop::collection::vec(-1e6_f32..1e6, 20..40),
        ) {
            let value = |i: usize, at: usize| seeds[(i * 7 + at * 3) % seeds.len()] / (1 + at % 11) as f32;
            let inputs: Vec<Vec<f32>> = (0..n).map(|i| (0..len).map(|at| value(i, at)).collect()).collect();
            let halves: Vec<Vec<Bf16>> =
                inputs.iter().map(|row| row.iter().map(|&x| Bf16::from_f32(x)).collect()).collect();
            let (views, half_views): (Vec<&[f32]>, Vec<&[Bf16]>) =
                (inputs.iter().map(|row| &row[..]).collect(), halves.iter().map(|row| &row[..]).collect());
            for level in Level::all() {
                let (mut out, mut half) = (vec![f32::NAN; len], vec![Bf16(1); len]);
                sum_into_at(level, &mut out, &views);
                sum_into_at(level, &mut half, &half_views);
                for at in 0..len {
                    let column: Vec<f32> = inputs.iter().map(|row| row[at]).collect();
                    prop_assert_eq!(out[at].to_bits(), reference(&column).to_bits());
                    let column: Vec<f32> = halves.iter().map(|row| row[at].to_f32()).collect();
                    prop_assert_eq!(half[at], Bf16::from_f32(reference(&column)));
                }
            }
        }

        #[test]
        fn any_number_of_ranks_gives_the_same_bits(
            parts in prop::collection::vec(prop::collection::vec(-1e6_f32..1e6, 5), 16),
        ) {
            let views: Vec<&[f32]> = parts.iter().map(|part| &part[..]).collect();
            let mut whole = vec![0.0_f32; 5];
            sum_into(&mut whole, &views);
            for ranks in [1, 2, 4, 8, 16] {
                let of_rank = |rank: usize| {
                    let own: Vec<&[f32]> = views.iter().skip(rank).step_by(ranks).copied().collect();
                    let mut sum = vec![0.0_f32; 5];
                    sum_into(&mut sum, &own);
                    sum
                };
                let sums: Vec<Vec<f32>> = (0..ranks).map(of_rank).collect();
                let sums: Vec<&[f32]> = sums.iter().map(|sum| &sum[..]).collect();
                let mut all = vec![0.0_f32; 5];
                sum_into(&mut all, &sums);
                prop_assert_eq!(&all, &whole, "{} ranks", ranks);
            }
        }
    }
}
