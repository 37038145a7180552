//! The row order: which rows make up global batch `k` of epoch `e`.
//!
//! Guarantee: the answer is a pure function of (seed, epoch, step); ranks, threads and restarts do not
//! enter it. Rows `0..n` are cut into blocks; an epoch permutes the blocks with a keyed permutation and
//! deals the permuted row sequence to `V` virtual streams of equal length; each stream shuffles inside
//! windows of blocks; a global batch takes `B/V` rows from every stream. Every row comes at most once per
//! epoch, and all but a tail of fewer than `B` rows come; the tail changes with the epoch. Rank `r` of `N`
//! serves the streams `v ≡ r (mod N)` and so reads only its own blocks.
//!
//! Memory is one small table per stream at most, however many rows there are.

mod config;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

pub use config::{OrderConfig, OrderError};
use plan::EpochPlan;

/// The order of `0..n` under one configuration.
#[derive(Debug)]
pub struct Order {
    n: u64,
    config: OrderConfig,
    /// The epoch last asked for: consecutive steps reuse its block order and window shuffles.
    plan: Mutex<EpochPlan>,
}

impl Order {
    /// The order of `n` rows (positions `0..n`, for instance of a fold's row list).
    ///
    /// # Errors
    /// When a setting is 0, when `batch` is no multiple of `streams`, or when there are fewer rows than one batch.
    pub fn new(n: usize, config: OrderConfig) -> Result<Self, OrderError> {
        config.check(n as u64)?;
        let plan = Mutex::new(EpochPlan::new(n as u64, &config, 0));
        Ok(Self { n: n as u64, config, plan })
    }

    /// The configuration.
    pub fn config(&self) -> &OrderConfig {
        &self.config
    }

    /// Global batches in every epoch: ⌊n/B⌋.
    pub fn steps_per_epoch(&self) -> u64 {
        self.n / self.config.batch as u64
    }

    /// Epoch and step within it of the `step`-th global batch of a run.
    pub fn locate(&self, step: u64) -> (u64, u64) {
        (step / self.steps_per_epoch(), step % self.steps_per_epoch())
    }

    /// Global batch `step` of `epoch`: `B` positions, stream after stream.
    ///
    /// A step past the end of the epoch runs on into the following epochs, so `batch(0, step)` counts the
    /// steps of a whole run.
    pub fn batch(&self, epoch: u64, step: u64) -> Vec<u64> {
        self.of_streams(epoch, step, 0..self.config.streams)
    }

    /// The part of one virtual stream in a global batch: `B/V` positions.
    ///
    /// # Errors
    /// When there is no such stream.
    pub fn stream_batch(&self, epoch: u64, step: u64, stream: usize) -> Result<Vec<u64>, OrderError> {
        if stream >= self.config.streams {
            return Err(OrderError::Stream { stream, streams: self.config.streams });
        }
        Ok(self.of_streams(epoch, step, stream..=stream))
    }

    /// The part of rank `rank` of `world` in a global batch: the streams `v ≡ rank (mod world)`, in order.
    ///
    /// # Errors
    /// When `world` does not divide the number of streams, or `rank` is not below `world`.
    pub fn rank_batch(&self, epoch: u64, step: u64, rank: usize, world: usize) -> Result<Vec<u64>, OrderError> {
        self.config.check_world(rank, world)?;
        Ok(self.of_streams(epoch, step, (rank..self.config.streams).step_by(world)))
    }

    fn of_streams(&self, epoch: u64, step: u64, streams: impl Iterator<Item = usize>) -> Vec<u64> {
        let (further, step) = self.locate(step);
        let epoch = epoch.wrapping_add(further);
        // A plan is rebuilt from (seed, epoch) alone, so one left behind by a panicking thread is as good as any.
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if plan.epoch() != epoch {
            *plan = EpochPlan::new(self.n, &self.config, epoch);
        }
        let mut rows = Vec::new();
        for stream in streams {
            plan.extend(stream, step, &mut rows);
        }
        rows
    }
}
