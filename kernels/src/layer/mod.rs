//! What a transformer does to rows of bfloat16 between its matrix products: layer norm, and sums of gradients.
//!
//! Guarantee: numbers are worked on in single precision. Sums over columns are taken block of rows by block of rows, in
//! order, so they do not depend on the number of threads. Levels of vector instructions agree to rounding.
//!
//! How it is fast: each operation reads its rows once and writes them once. Blocks of rows are shared out among the
//! threads of the current rayon pool. In single precision torch's own operations are as fast.

mod norm;
mod sums;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

pub use norm::{RowStatistics, layer_norm, layer_norm_backward};
pub use sums::column_sums;

use crate::simd::{FusedTask, Level};

/// Rows that one task takes.
const BLOCK: usize = 64;

/// Runs all tasks, in the current rayon pool if it has several threads.
fn run_all<T: FusedTask + Send>(level: Level, tasks: Vec<T>) {
    if rayon::current_num_threads() > 1 {
        tasks.into_par_iter().for_each(|task| level.run_fused(task));
    } else {
        for task in tasks {
            level.run_fused(task);
        }
    }
}

/// Adds up the sums of blocks, one behind the other in `blocks`, in order.
fn join(blocks: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for block in blocks.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value;
        }
    }
}

/// Panics unless `len` numbers are whole rows of `width`.
fn check_rows(len: usize, width: usize) {
    assert!(width > 0 && len.is_multiple_of(width), "{len} numbers are no rows of {width}");
}
