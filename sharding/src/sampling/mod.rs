//! Batches that are drawn by label: bags of one condition with matched controls, and batches balanced by
//! perturbation (D12).
//!
//! Guarantee: what is drawn is a pure function of (seed, epoch, step); ranks, threads and restarts do not enter
//! it, and rank `r` of `N` takes the `r`-th of `N` equal slices. These are plans of rows only: positions in the
//! list of rows that a plan was made for, as those of an [`Order`](crate::order::Order).
//!
//! A plan by label asks for cells wherever they lie. A store whose cells of one condition lie together answers it
//! with few chunks; one in random order decodes about a chunk for every cell, for a large store best held in
//! memory (`LoaderConfig::hold`) or embedded first.

mod bags;
mod balanced;
mod error;
#[cfg(test)]
mod tests;

pub use bags::{Bag, BagReport, Bags, Condition, MATCHED_CELLS};
pub use balanced::Balanced;
pub use error::SamplingError;

use std::ops::Range;

/// Which of `count` things rank `rank` of `world` takes.
fn share(count: usize, rank: usize, world: usize) -> Result<Range<usize>, SamplingError> {
    if world == 0 || !count.is_multiple_of(world) || rank >= world {
        return Err(SamplingError::Ranks { count, rank, world });
    }
    let size = count / world;
    Ok(rank * size..(rank + 1) * size)
}
