//! One epoch of the order: the permuted blocks, and the window each stream is in.

use super::OrderConfig;
use crate::permutation::Permutation;
use crate::philox::{Philox, Purpose};

#[derive(Debug)]
pub(super) struct EpochPlan {
    seed: u64,
    epoch: u64,
    block_rows: u64,
    window_rows: u64,
    /// Rows of a batch that come from one stream, `B/V`.
    share: u64,
    /// Rows of a stream in an epoch.
    stream_rows: u64,
    blocks: Permutation,
    /// Where the short last block came to lie in the permuted order, and the rows it lacks.
    short_slot: u64,
    lacking: u64,
    /// The window every stream shuffled last.
    windows: Vec<Option<(u64, Permutation)>>,
}

impl EpochPlan {
    pub(super) fn new(n: u64, config: &OrderConfig, epoch: u64) -> Self {
        let block_rows = config.block_rows as u64;
        let n_blocks = n.div_ceil(block_rows);
        let blocks = Permutation::new(n_blocks, &mut Philox::new(config.seed, Purpose::Order, epoch, 0));
        let share = (config.batch / config.streams) as u64;
        Self {
            seed: config.seed,
            epoch,
            block_rows,
            window_rows: config.window_rows(),
            share,
            stream_rows: n / config.batch as u64 * share,
            short_slot: blocks.position_of(n_blocks - 1),
            lacking: n_blocks * block_rows - n,
            blocks,
            windows: vec![None; config.streams],
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Appends the rows that `stream` gives to batch `step`.
    pub(super) fn extend(&mut self, stream: usize, step: u64, rows: &mut Vec<u64>) {
        for at in step * self.share..(step + 1) * self.share {
            let window = at / self.window_rows;
            let start = window * self.window_rows;
            let shuffled = start + self.window(stream, window).get(at - start);
            rows.push(self.row(stream as u64 * self.stream_rows + shuffled));
        }
    }

    fn window(&mut self, stream: usize, window: u64) -> &Permutation {
        let (seed, epoch, window_rows) = (self.seed, self.epoch, self.window_rows);
        let rows = window_rows.min(self.stream_rows - window * window_rows);
        let current = self.windows[stream].take().filter(|(held, _)| *held == window);
        let entry = current.unwrap_or_else(|| {
            // Windows are numbered through all streams, so no two of an epoch share a shuffle.
            let number = stream as u64 * self.stream_rows.div_ceil(window_rows) + window;
            (window, Permutation::new(rows, &mut Philox::new(seed, Purpose::Window, epoch, number)))
        });
        &self.windows[stream].insert(entry).1
    }

    /// The row at `position` of the permuted row sequence.
    fn row(&self, position: u64) -> u64 {
        // Behind the short block every position is shifted by what that block lacks.
        let behind_short = position >= (self.short_slot + 1) * self.block_rows - self.lacking;
        let position = if behind_short { position + self.lacking } else { position };
        self.blocks.get(position / self.block_rows) * self.block_rows + position % self.block_rows
    }
}
