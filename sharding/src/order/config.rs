//! Settings of the row order and what can be wrong with them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Settings of an [`Order`](super::Order). All of them decide which rows a batch holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderConfig {
    /// Seed of the run.
    pub seed: u64,
    /// Virtual streams `V`; the world size has to divide it.
    pub streams: usize,
    /// Rows in a block: the unit of reading, best a multiple of the store's `chunk_rows`.
    pub block_rows: usize,
    /// Blocks a stream shuffles together.
    pub window_blocks: usize,
    /// Rows `B` of a global batch, a multiple of `streams`.
    pub batch: usize,
}

/// Why an order cannot be made or asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OrderError {
    /// A setting that has to be positive is 0.
    #[error("order: `{setting}` is 0; it has to be at least 1")]
    Zero {
        /// Name of the setting.
        setting: &'static str,
    },
    /// Streams cannot give equal parts of a batch.
    #[error("order: a batch of {batch} rows is no multiple of the {streams} streams; take {below}{above}")]
    Batch {
        /// The batch asked for.
        batch: usize,
        /// Number of streams.
        streams: usize,
        /// The nearest multiple below with the word that joins it, or nothing.
        below: String,
        /// The nearest multiple above.
        above: usize,
    },
    /// Not one batch can be filled.
    #[error("order: {rows} rows do not fill one batch of {batch}; take a batch of at most {rows} rows or more cells")]
    TooFewRows {
        /// Rows there are.
        rows: u64,
        /// The batch asked for.
        batch: usize,
    },
    /// The streams cannot be dealt evenly to the ranks.
    #[error("order: {world} ranks do not divide the {streams} streams; world sizes that do: {divisors}")]
    World {
        /// Number of ranks asked for.
        world: usize,
        /// Number of streams.
        streams: usize,
        /// The divisors of `streams`.
        divisors: String,
    },
    /// No such rank.
    #[error("order: rank {rank} is not below the world size {world}")]
    Rank {
        /// The rank asked for.
        rank: usize,
        /// Number of ranks.
        world: usize,
    },
    /// No such stream.
    #[error("order: stream {stream} is not below the {streams} streams")]
    Stream {
        /// The stream asked for.
        stream: usize,
        /// Number of streams.
        streams: usize,
    },
}

impl OrderConfig {
    /// Whether ranks can share the streams.
    ///
    /// # Errors
    /// When `world` does not divide `streams` (the error lists what does), or `rank` is not below `world`.
    pub fn check_world(&self, rank: usize, world: usize) -> Result<(), OrderError> {
        let streams = self.streams;
        if world == 0 || !streams.is_multiple_of(world) {
            let divisors: Vec<String> =
                (1..=streams).filter(|&d| streams.is_multiple_of(d)).map(|d| d.to_string()).collect();
            return Err(OrderError::World { world, streams, divisors: divisors.join(", ") });
        }
        if rank >= world {
            return Err(OrderError::Rank { rank, world });
        }
        Ok(())
    }

    /// Rows whose blocks a rank of `world` has open at a time: what a loader's cache should be able to hold.
    pub fn open_rows(&self, world: usize) -> usize {
        // A window that does not start on a block border touches one block more.
        self.streams.div_ceil(world.max(1)) * (self.window_blocks + 1) * self.block_rows
    }

    pub(super) fn check(&self, rows: u64) -> Result<(), OrderError> {
        let settings = [
            ("streams", self.streams),
            ("block_rows", self.block_rows),
            ("window_blocks", self.window_blocks),
            ("batch", self.batch),
        ];
        if let Some(&(setting, _)) = settings.iter().find(|(_, value)| *value == 0) {
            return Err(OrderError::Zero { setting });
        }
        let (batch, streams) = (self.batch, self.streams);
        if !batch.is_multiple_of(streams) {
            let floor = batch / streams * streams;
            let below = if floor > 0 { format!("{floor} or ") } else { String::new() };
            return Err(OrderError::Batch { batch, streams, below, above: floor + streams });
        }
        if rows < batch as u64 {
            return Err(OrderError::TooFewRows { rows, batch });
        }
        Ok(())
    }

    /// Rows of a full window.
    pub(super) fn window_rows(&self) -> u64 {
        self.window_blocks as u64 * self.block_rows as u64
    }
}
