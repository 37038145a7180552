//! How well batches mix the labels of a store: how long equal labels stand together on disk, and how close the
//! labels of a batch come to those of a random draw.

use std::collections::HashMap;

use crate::order::{Order, OrderConfig, OrderError};

/// Batches looked at.
const BATCHES: u64 = 32;

/// Median length of the runs of equal labels in the order of storage; 0 where there is none.
pub fn median_run_length(labels: &[u32]) -> usize {
    let mut lengths: Vec<usize> = labels.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
    if lengths.is_empty() {
        return 0;
    }
    let middle = lengths.len() / 2;
    *lengths.select_nth_unstable(middle).1
}

/// Mean entropy of the labels in a batch, as a share of what batches drawn at random from all cells have: 1 is perfect
/// mixing. Found by looking at the first batches of the order itself.
///
/// # Errors
/// When the order cannot be made for this many cells.
pub fn entropy_ratio(labels: &[u32], config: &OrderConfig) -> Result<f64, OrderError> {
    // Blocks of one row, permuted, are a permutation of the rows.
    let random = OrderConfig { block_rows: 1, window_blocks: 1, ..config.clone() };
    let (found, best) = (mean_entropy(labels, config.clone())?, mean_entropy(labels, random)?);
    // With one label there is nothing to mix.
    Ok(if best > 0.0 { found / best } else { 1.0 })
}

fn mean_entropy(labels: &[u32], config: OrderConfig) -> Result<f64, OrderError> {
    let order = Order::new(labels.len(), config)?;
    let steps = order.steps_per_epoch().min(BATCHES);
    let entropies = (0..steps).map(|step| {
        // Spread over the epoch: neighbouring batches share windows.
        let step = step * order.steps_per_epoch() / steps;
        entropy(order.batch(0, step).into_iter().map(|row| labels[row as usize]))
    });
    Ok(entropies.sum::<f64>() / steps as f64)
}

/// Shannon entropy, in nats.
fn entropy(labels: impl Iterator<Item = u32>) -> f64 {
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for label in labels {
        *counts.entry(label).or_default() += 1;
    }
    let total: u32 = counts.values().sum();
    // In rising order, so that the sum does not depend on the map's.
    let mut counts: Vec<u32> = counts.into_values().collect();
    counts.sort_unstable();
    counts.iter().map(|&count| f64::from(count) / f64::from(total)).map(|share| -share * share.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: OrderConfig = OrderConfig { seed: 1, streams: 8, block_rows: 64, window_blocks: 4, batch: 64 };

    #[test]
    fn run_lengths_are_those_of_equal_neighbours() {
        assert_eq!(median_run_length(&[]), 0);
        assert_eq!(median_run_length(&[5, 5, 5]), 3);
        assert_eq!(median_run_length(&[1, 1, 2, 1, 1, 1, 1]), 2);
    }

    #[test]
    fn entropy_of_equal_shares_is_the_log_of_their_number() {
        assert!((entropy([0, 1, 2, 3].into_iter()) - 4_f64.ln()).abs() < 1e-12);
        assert!(entropy([7, 7, 7].into_iter()).abs() < 1e-12);
    }

    #[test]
    fn shuffled_labels_mix_perfectly_and_long_runs_do_not() {
        let mixed: Vec<u32> = (0..16_384).map(|cell| cell % 16).collect();
        let ratio = entropy_ratio(&mixed, &CONFIG).unwrap();
        assert!((ratio - 1.0).abs() < 0.02, "{ratio}");
        // Runs as long as a window: a stream sees one label at a time, so a batch holds 8 labels at most, of 64.
        let sorted: Vec<u32> = (0..16_384).map(|cell| cell / 256).collect();
        let ratio = entropy_ratio(&sorted, &OrderConfig { window_blocks: 1, ..CONFIG }).unwrap();
        assert!(ratio < 0.7, "{ratio}");
    }

    #[test]
    fn one_label_counts_as_mixed() {
        assert!((entropy_ratio(&[3; 1000], &CONFIG).unwrap() - 1.0).abs() < 1e-12);
    }
}
