//! The random streams of the generator: one for every planted thing and one for every cell.
//!
//! Guarantee: no two parts share a stream, so changing how one part draws leaves the others as they were.

use rand_distr::{Beta, Distribution, StandardNormal};

use crate::permutation::Permutation;
use crate::philox::{Philox, Purpose};

/// What a stream of the generator plants. The numbers belong to every stored seed: never renumber one.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(super) enum Part {
    Baseline = 1,
    Dispersion = 2,
    Modules = 3,
    Program = 4,
    SharedAxis = 5,
    Batch = 6,
    Targets = 7,
    Single = 8,
    Pairs = 9,
    Double = 10,
    Design = 11,
    Cell = 12,
    Guide = 13,
    Cycle = 14,
    Network = 15,
    Line = 16,
    Course = 17,
    Protein = 18,
    Graph = 19,
    Screen = 20,
}

/// The stream of `part` number `index`.
pub(super) fn stream(seed: u64, part: Part, index: usize) -> Philox {
    Philox::new(seed, Purpose::Synth, part as u64, index as u64)
}

/// A standard normal number.
pub(super) fn normal(random: &mut Philox) -> f64 {
    StandardNormal.sample(random)
}

/// A number between two others.
pub(super) fn between(random: &mut Philox, least: f64, most: f64) -> f64 {
    least + (most - least) * random.next_f64()
}

/// Efficiency of a knock-down: Beta(8, 1.6) between 0.2 and 0.985, median about 0.85.
pub(super) fn efficiency(random: &mut Philox) -> f64 {
    Beta::new(8.0, 1.6).map_or(0.85_f64, |beta| beta.sample(random)).clamp(0.2, 0.985)
}

/// `count` distinct items of `from`, in random order.
pub(super) fn choose<T: Clone>(random: &mut Philox, from: &[T], count: usize) -> Vec<T> {
    let mut items = from.to_vec();
    let count = count.min(items.len());
    for at in 0..count {
        let other = at + random.below((items.len() - at) as u64) as usize;
        items.swap(at, other);
    }
    items.truncate(count);
    items
}

/// `count` distinct pairs of numbers below `n`, the smaller one first.
pub(super) fn distinct_pairs(random: &mut Philox, n: usize, count: usize) -> impl Iterator<Item = [usize; 2]> {
    let pairs = Permutation::new((n * n.saturating_sub(1) / 2) as u64, random);
    let count = (count as u64).min(pairs.len());
    (0..count).map(move |at| pair_of_rank(pairs.get(at)))
}

/// The pair number `rank` in the order (0, 1), (0, 2), (1, 2), (0, 3), …
fn pair_of_rank(rank: u64) -> [usize; 2] {
    let mut second = f64::midpoint(1.0, (1.0 + 8.0 * rank as f64).sqrt()) as u64;
    // The square root is rounded; it is off by one at most.
    while second * (second - 1) / 2 > rank {
        second -= 1;
    }
    while second * (second + 1) / 2 <= rank {
        second += 1;
    }
    [(rank - second * (second - 1) / 2) as usize, second as usize]
}

#[cfg(test)]
mod tests {
    use super::{Part, distinct_pairs, pair_of_rank, stream};

    #[test]
    fn every_rank_is_another_pair() {
        let pairs: Vec<[usize; 2]> = (0..10_000 * 9_999 / 2).step_by(997).map(pair_of_rank).collect();
        assert!(pairs.iter().all(|[first, second]| first < second && *second < 10_000));
        assert!(pairs.windows(2).all(|two| two[0].iter().rev().lt(two[1].iter().rev())));
        assert_eq!([0, 1, 2, 3, 5, 6].map(pair_of_rank), [[0, 1], [0, 2], [1, 2], [0, 3], [2, 3], [0, 4]]);
    }

    #[test]
    fn pairs_are_distinct_and_no_more_than_there_are() {
        for (n, count, expected) in [(0, 3, 0), (1, 3, 0), (2, 3, 1), (30, 100, 100), (200, 15_000, 15_000)] {
            let mut pairs: Vec<_> = distinct_pairs(&mut stream(1, Part::Pairs, 0), n, count).collect();
            pairs.sort_unstable();
            pairs.dedup();
            assert_eq!(pairs.len(), expected);
        }
    }
}
