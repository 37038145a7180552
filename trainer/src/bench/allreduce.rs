//! Time of an all-reduce by size, beside a plain copy through shared memory.

use std::time::Instant;

use serde::Serialize;

use syncyte_evaluation::quantile::quantile;
use syncyte_fabric::collective::{Collective, CollectiveError, Label, Operation, Region, Wire};

/// Times of one size, of the slowest rank for each turn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AllReduceTimes {
    /// Bytes of each rank's buffer.
    pub bytes: usize,
    /// Median time, microseconds.
    pub median_us: f64,
    /// Time that 95 % are not slower than, microseconds.
    pub p95_us: f64,
    /// Bus bandwidth as NCCL's tests define it: bytes ÷ time · 2(n − 1)/n, in GB/s.
    pub busbw_gb_s: f64,
    /// Median time of copying the next local rank's buffer instead, microseconds: what one pass of memory takes.
    pub copy_us: f64,
}

/// Times all-reduces of these sizes, `turns` each after some to warm up.
///
/// # Errors
/// When an operation fails.
pub fn measure(
    sizes: &[usize],
    turns: usize,
    collective: &dyn Collective,
) -> Result<Vec<AllReduceTimes>, CollectiveError> {
    let most = sizes.iter().copied().max().unwrap_or(0) / size_of::<f32>();
    // Behind the buffer there is room for a copy of the neighbour's.
    let region = collective.allocate(2 * most)?;
    sizes
        .iter()
        .map(|&bytes| {
            let n = bytes / size_of::<f32>();
            let mut times = time(Operation::AllReduce(Wire::F32), &region, n, turns, collective)?;
            let mut copies = time(Operation::Fetch { behind: most }, &region, n, turns, collective)?;
            times.sort_by(f64::total_cmp);
            copies.sort_by(f64::total_cmp);
            let (ranks, median) = (collective.size() as f64, quantile(&times, 0.5));
            Ok(AllReduceTimes {
                bytes,
                median_us: median * 1e6,
                p95_us: quantile(&times, 0.95) * 1e6,
                busbw_gb_s: bytes as f64 / median * 2.0 * (ranks - 1.0) / ranks / 1e9,
                copy_us: quantile(&copies, 0.5) * 1e6,
            })
        })
        .collect()
}

/// Seconds of each turn on the rank where it took longest.
fn time(
    operation: Operation,
    region: &Region,
    n: usize,
    turns: usize,
    collective: &dyn Collective,
) -> Result<Vec<f64>, CollectiveError> {
    let warmup = turns.div_ceil(5);
    let mut times = Vec::with_capacity(turns);
    for turn in 0..warmup + turns {
        collective.barrier()?;
        let began = Instant::now();
        collective.start(operation, region, 0..n, Label::plain("measurement")).wait()?;
        if turn >= warmup {
            times.push(began.elapsed().as_secs_f64());
        }
    }
    // All ranks' times side by side; a sum of one number and zeros is exact.
    let mut all = vec![0.0_f64; turns * collective.size()];
    all[turns * collective.rank()..][..turns].copy_from_slice(&times);
    collective.all_reduce_sum_f64(&mut all)?;
    Ok((0..turns).map(|turn| all.iter().skip(turn).step_by(turns).copied().fold(0.0, f64::max)).collect())
}
