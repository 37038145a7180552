//! Sums over ranks in a fixed order.
//!
//! Guarantee: the sum of the copies `0 … n − 1` is that of a binary tree over the index: the copies are cut at the
//! largest power of two below `n`, both halves are summed the same way, and the right sum is added to the left one.
//! For a power of two this pairs neighbours first, so that ranks that share a node can sum their part before the
//! nodes do, with the same bits.

use std::ops::{Add, Range};

use syncyte_kernels::number::{Bf16, Element};
use syncyte_kernels::optim::{to_bf16, to_f32};

/// A number that ranks can sum.
pub(super) trait Number: Copy + Default + Send + Sync + Add<Output = Self> + 'static {
    /// The numbers rounded to bfloat16, ties to even.
    fn rounded(values: &[Self]) -> Vec<Bf16>;

    /// Equally many numbers that were rounded.
    fn widen(rounded: &[Bf16], values: &mut [Self]);
}

impl Number for f32 {
    fn rounded(values: &[Self]) -> Vec<Bf16> {
        let mut rounded = vec![Bf16::default(); values.len()];
        to_bf16(values, &mut rounded);
        rounded
    }

    fn widen(rounded: &[Bf16], values: &mut [Self]) {
        to_f32(rounded, values);
    }
}

impl Number for f64 {
    fn rounded(values: &[Self]) -> Vec<Bf16> {
        values.iter().map(|&value| Bf16::from_f32(value as f32)).collect()
    }

    fn widen(rounded: &[Bf16], values: &mut [Self]) {
        values.iter_mut().zip(rounded).for_each(|(value, rounded)| *value = rounded.to_f32().into());
    }
}

/// Elements that are summed at a time, so that partial sums stay in the first-level cache.
const BLOCK: usize = 2048;

/// Sums the copies element by element into `out`, block by block. `read(copy, range)` gives a part of a copy and
/// `write(range, sums)` takes the result.
pub(super) fn tree_sum<'a, T: Number>(
    copies: usize,
    range: Range<usize>,
    read: &dyn Fn(usize, Range<usize>) -> &'a [T],
    write: &mut dyn FnMut(Range<usize>, &[T]),
) {
    let mut scratch = Scratch { free: Vec::new() };
    let mut at = range.start;
    while at < range.end {
        let block = at..(at + BLOCK).min(range.end);
        let sums = scratch.sum(0..copies, &block, read);
        write(block.clone(), &sums[..block.len()]);
        scratch.free.push(sums);
        at = block.end;
    }
}

/// Buffers of one block that are used again.
struct Scratch<T> {
    free: Vec<Vec<T>>,
}

impl<T: Number> Scratch<T> {
    fn sum<'a>(
        &mut self,
        copies: Range<usize>,
        block: &Range<usize>,
        read: &dyn Fn(usize, Range<usize>) -> &'a [T],
    ) -> Vec<T> {
        let n = copies.len();
        if n <= 2 {
            let mut out = self.free.pop().unwrap_or_else(|| vec![T::default(); BLOCK]);
            let first = read(copies.start, block.clone());
            if n == 1 {
                out[..block.len()].copy_from_slice(first);
            } else {
                let second = read(copies.start + 1, block.clone());
                for ((sum, &a), &b) in out.iter_mut().zip(first).zip(second) {
                    *sum = a + b;
                }
            }
            return out;
        }
        let middle = copies.start + left_half(n);
        let mut left = self.sum(copies.start..middle, block, read);
        let right = self.sum(middle..copies.end, block, read);
        for (sum, &b) in left[..block.len()].iter_mut().zip(&right) {
            *sum = *sum + b;
        }
        self.free.push(right);
        left
    }
}

/// The largest power of two below `n` (at least 2).
fn left_half(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// Part `index` of a range that is cut into `parts`, at multiples of a cache line of numbers where it is long enough.
pub(super) fn part(range: &Range<usize>, index: usize, parts: usize) -> Range<usize> {
    const LINE: usize = 16;
    let cut = |i: usize| {
        if i == parts { range.len() } else { (range.len() * i / parts) / LINE * LINE }
    };
    range.start + cut(index)..range.start + cut(index + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The documented tree, written as recursion over single numbers.
    fn tree(values: &[f32]) -> f32 {
        match values {
            [] => 0.0,
            [one] => *one,
            _ => {
                let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
                tree(left) + tree(right)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sums_follow_the_documented_tree_bit_by_bit(copies in 1_usize..12, len in 0_usize..5000, seed in any::<u64>()) {
            let value = |i: usize| (((i as u64 + 1).wrapping_mul(seed | 1) >> 40) as f32).sqrt() - 1000.0;
            let data: Vec<Vec<f32>> = (0..copies).map(|c| (0..len).map(|i| value(c * len + i)).collect()).collect();
            let mut out = vec![0.0_f32; len];
            tree_sum(copies, 0..len, &|copy, range| &data[copy][range], &mut |range, sums| out[range].copy_from_slice(sums));
            for (i, &sum) in out.iter().enumerate() {
                let column: Vec<f32> = data.iter().map(|copy| copy[i]).collect();
                prop_assert_eq!(sum.to_bits(), tree(&column).to_bits());
            }
        }

        #[test]
        fn parts_cover_a_range_once_and_in_order(start in 0_usize..1000, len in 0_usize..10_000, parts in 1_usize..20) {
            let range = start..start + len;
            let mut at = start;
            for index in 0..parts {
                let piece = part(&range, index, parts);
                prop_assert_eq!(piece.start, at);
                prop_assert!(piece.end >= piece.start);
                at = piece.end;
            }
            prop_assert_eq!(at, range.end);
        }

        #[test]
        fn halves_of_a_power_of_two_sum_to_the_same_bits(values in prop::collection::vec(-1e3_f32..1e3, 8)) {
            let nodes: Vec<f32> = values.chunks(2).map(tree).collect();
            prop_assert_eq!(tree(&nodes).to_bits(), tree(&values).to_bits());
        }
    }
}
