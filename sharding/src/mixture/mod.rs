//! Mixing of data sets: which rows of which data set make up a global batch (D13).
//!
//! Guarantee: a batch is a pure function of (seed, epoch, step); ranks, threads and restarts do not enter it.
//! A global batch is cut into `packs` of equal size, and every pack comes from one data set, drawn with a
//! probability in proportion to `nᵗ` (`n` its rows, `t` the exponent): one pack a batch gives batches of a single
//! data set, more give packed batches. Rank `r` of `N` takes its streams of every pack, so all ranks see the same
//! composition, at every world size.
//!
//! Packs are not drawn one by one but by quota: a round of [`ROUND`] steps takes systematic samples at one random
//! offset, so in a round a data set gets its expected number of packs, rounded up or down, without bias; within a
//! batch likewise; the batches of a round are then shuffled. Each data set goes through its own [`Order`], pass
//! after pass: every row comes at most once a pass, and all but a tail of less than one pack come.

mod error;
mod round;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub use error::MixtureError;
pub use round::ROUND;
use round::{Quotas, Round};

use crate::order::{Order, OrderConfig};
use crate::philox::{Purpose, draw};

/// Settings of a [`Mixture`]. All of them decide which rows a batch holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureConfig {
    /// Seed of the run.
    pub seed: u64,
    /// Virtual streams; the world size has to divide them, and they the rows of a pack.
    pub streams: usize,
    /// Rows of a global batch.
    pub batch: usize,
    /// Packs of a batch: 1 for batches of a single data set; has to divide `batch`.
    pub packs: usize,
    /// Exponent of the weights: 1 samples all rows alike, 0 all data sets alike.
    pub exponent: f64,
}

impl MixtureConfig {
    /// Weights by the square root of the rows, and batches of a single data set.
    pub fn new(seed: u64, streams: usize, batch: usize) -> Self {
        Self { seed, streams, batch, packs: 1, exponent: 0.5 }
    }
}

/// One data set of a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its rows, for instance those of the training fold.
    pub rows: usize,
    /// Rows in a block of its order.
    pub block_rows: usize,
    /// Blocks that a stream of its order shuffles together.
    pub window_blocks: usize,
}

/// Rows of one data set in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Index of the data set.
    pub dataset: usize,
    /// Positions in its rows.
    pub rows: Vec<u64>,
}

/// The mixture of several data sets under one configuration.
#[derive(Debug)]
pub struct Mixture {
    batch: usize,
    total_rows: usize,
    quotas: Quotas,
    orders: Vec<Order>,
    /// The round last asked for: consecutive steps share it.
    held: Mutex<Round>,
}

impl Mixture {
    /// The mixture of `parts`, whose order is part of the configuration.
    ///
    /// # Errors
    /// When there is no part, a setting is out of range, or a part does not fill one pack: the part is named by
    /// its index.
    pub fn new(parts: &[Part], config: &MixtureConfig) -> Result<Self, MixtureError> {
        let MixtureConfig { seed, streams, batch, packs, exponent } = *config;
        if parts.is_empty() {
            return Err(MixtureError::Empty);
        }
        if packs == 0 || !batch.is_multiple_of(packs) {
            return Err(MixtureError::Packs { packs, batch });
        }
        if !(exponent.is_finite() && exponent >= 0.0) {
            return Err(MixtureError::Exponent { exponent });
        }
        let order = |(dataset, part): (usize, &Part)| {
            let config = OrderConfig {
                // The rounds use b = 0; a data set is shuffled unlike the others.
                seed: draw(seed, Purpose::Mixture, dataset as u64, 1),
                streams,
                block_rows: part.block_rows,
                window_blocks: part.window_blocks,
                batch: batch / packs,
            };
            Order::new(part.rows, config).map_err(|source| MixtureError::Part { dataset, source })
        };
        let orders: Vec<Order> = parts.iter().enumerate().map(order).collect::<Result<_, _>>()?;
        let weights: Vec<f64> = parts.iter().map(|part| (part.rows as f64).powf(exponent)).collect();
        let quotas = Quotas::new(seed, packs, &weights);
        let held = Mutex::new(Round::first(&quotas));
        let total_rows = parts.iter().map(|part| part.rows).sum();
        Ok(Self { batch, total_rows, quotas, orders, held })
    }

    /// Probability of every data set; they sum to 1.
    pub fn weights(&self) -> &[f64] {
        self.quotas.weights()
    }

    /// Global batches of an epoch: as many as hold the rows of all data sets once, ⌊Σn/B⌋, and at least one. With
    /// an exponent other than 1 small data sets go round more often in it, and large ones less.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.total_rows / self.batch).max(1) as u64
    }

    /// Global batch `step` of `epoch`: its packs, in the order of the data sets.
    ///
    /// A step past the end of the epoch runs on into the following ones.
    pub fn batch(&self, epoch: u64, step: u64) -> Vec<Pack> {
        let packs = self.packs(epoch, step).into_iter();
        packs.map(|(dataset, number)| Pack { dataset, rows: self.orders[dataset].batch(0, number) }).collect()
    }

    /// The part of rank `rank` of `world` in a global batch: its streams of every pack.
    ///
    /// # Errors
    /// When `world` does not divide the number of streams, or `rank` is not below `world`.
    pub fn rank_batch(&self, epoch: u64, step: u64, rank: usize, world: usize) -> Result<Vec<Pack>, MixtureError> {
        let part = |(dataset, number): (usize, u64)| {
            let rows = self.orders[dataset].rank_batch(0, number, rank, world);
            Ok(Pack { dataset, rows: rows.map_err(|source| MixtureError::Part { dataset, source })? })
        };
        self.packs(epoch, step).into_iter().map(part).collect()
    }

    /// Data set of every pack of a batch, and which pack of that data set in the whole run it is.
    fn packs(&self, epoch: u64, step: u64) -> Vec<(usize, u64)> {
        let step = epoch * self.steps_per_epoch() + step;
        // A round is rebuilt from its number alone, so one left behind by a panicking thread is as good as any.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.seek(&self.quotas, step / ROUND);
        held.packs(&self.quotas, step % ROUND)
    }
}
