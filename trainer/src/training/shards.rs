//! The cut of a global batch into micro-batches.

use std::ops::Range;

use super::TaskError;
use crate::config::Config;

/// How the global batch is cut into micro-batches, and which of them a rank computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Micro-batches of a step, over all ranks.
    pub count: usize,
    /// Micro-batches of each rank.
    pub per_rank: usize,
    /// Whether a rank has consecutive ones, as the fixed tree of the deterministic mode wants.
    consecutive: bool,
    rank: usize,
    world: usize,
}

impl Shards {
    /// The cut of a configuration.
    ///
    /// # Errors
    /// When the ranks do not divide the logical shards, or the micro-batches do not divide the streams.
    pub fn new(config: &Config, rank: usize, world: usize) -> Result<Self, TaskError> {
        let engine = &config.engine;
        let count = if engine.deterministic { engine.logical_shards } else { world * engine.micro_batches };
        if !count.is_multiple_of(world) {
            return Err(TaskError::Invalid(format!(
                "engine.deterministic needs a number of ranks that divides engine.logical_shards = {count}, not {world}"
            )));
        }
        if engine.micro_batches > 1 && !config.data.streams.is_multiple_of(count) {
            return Err(TaskError::Invalid(format!(
                "{world} ranks with engine.micro_batches = {} do not divide data.streams = {}",
                engine.micro_batches, config.data.streams
            )));
        }
        Ok(Self { count, per_rank: count / world, consecutive: engine.deterministic, rank, world })
    }

    /// This rank's micro-batches, in the order in which they are computed.
    pub fn own(self) -> impl Iterator<Item = usize> {
        (0..self.per_rank)
            .map(move |i| if self.consecutive { self.rank * self.per_rank + i } else { self.rank + i * self.world })
    }

    /// The part of `count` things of a step that micro-batch `shard` has.
    ///
    /// # Errors
    /// When they cannot be shared out evenly: names the key, and what the number must be a multiple of.
    pub fn part(self, key: &str, count: usize, shard: usize) -> Result<Range<usize>, TaskError> {
        if count == 0 || !count.is_multiple_of(self.count) {
            let of = if self.consecutive {
                format!("engine.logical_shards = {}", self.count)
            } else if self.count == self.world {
                format!("the {} ranks", self.world)
            } else {
                format!("the {} micro-batches of all ranks", self.count)
            };
            return Err(TaskError::Invalid(format!("{key} = {count} is not a multiple of {of}")));
        }
        let each = count / self.count;
        Ok(shard * each..(shard + 1) * each)
    }
}
