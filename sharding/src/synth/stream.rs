//! The random streams of the generator: one for every planted thing and one for every cell.
//!
//! Guarantee: no two parts share a stream, so changing how one part draws leaves the others as they were.

use rand_distr::{Beta, Distribution, StandardNormal};

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
}

/// The stream of `part` number `index`.
pub(super) fn stream(seed: u64, part: Part, index: usize) -> Philox {
    Philox::new(seed, Purpose::Synth, part as u64, index as u64)
}

/// A standard normal number.
pub(super) fn normal(random: &mut Philox) -> f64 {
    StandardNormal.sample(random)
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
