use std::collections::HashSet;

use proptest::prelude::*;

use super::{Order, OrderConfig, OrderError};

fn config(streams: usize, share: usize, block_rows: usize, window_blocks: usize) -> OrderConfig {
    OrderConfig { seed: 42, streams, block_rows, window_blocks, batch: streams * share }
}

fn epoch_rows(order: &Order, epoch: u64) -> Vec<u64> {
    (0..order.steps_per_epoch()).flat_map(|step| order.batch(epoch, step)).collect()
}

fn orders() -> impl Strategy<Value = (usize, OrderConfig)> {
    (0_usize..5, 1_usize..5, 1_usize..20, 1_usize..5, 0_usize..900, any::<u64>()).prop_map(
        |(log_streams, share, block_rows, window_blocks, more, seed)| {
            let config = OrderConfig { seed, ..config(1 << log_streams, share, block_rows, window_blocks) };
            (config.batch + more, config)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_comes_at_most_once_and_all_but_a_tail_come((n, config) in orders(), epoch in 0_u64..5) {
        let batch = config.batch;
        let order = Order::new(n, config).unwrap();
        let rows = epoch_rows(&order, epoch);
        let distinct: HashSet<u64> = rows.iter().copied().collect();
        prop_assert_eq!(distinct.len(), rows.len());
        prop_assert!(rows.iter().all(|&row| row < n as u64));
        prop_assert!(n - rows.len() < batch);
    }

    #[test]
    fn the_ranks_together_serve_the_global_batch((n, config) in orders(), step in 0_u64..200) {
        let streams = config.streams;
        let order = Order::new(n, config).unwrap();
        let mut whole = order.batch(1, step);
        whole.sort_unstable();
        for world in (1..=16).filter(|world| streams % world == 0) {
            let mut union: Vec<u64> =
                (0..world).flat_map(|rank| order.rank_batch(1, step, rank, world).unwrap()).collect();
            union.sort_unstable();
            prop_assert_eq!(&union, &whole, "world {}", world);
        }
    }

    #[test]
    fn a_restart_anywhere_gives_the_same_batches((n, config) in orders(), start in 0_u64..50) {
        let first = Order::new(n, config.clone()).unwrap();
        let uninterrupted: Vec<Vec<u64>> = (0..start + 5).map(|step| first.batch(0, step)).collect();
        let resumed = Order::new(n, config).unwrap();
        for step in start..start + 5 {
            prop_assert_eq!(&resumed.batch(0, step), &uninterrupted[step as usize]);
        }
    }

    #[test]
    fn a_stream_reads_only_the_blocks_of_its_window((n, config) in orders()) {
        let order = Order::new(n, config.clone()).unwrap();
        let share = config.batch / config.streams;
        let window = config.window_blocks * config.block_rows;
        let stream: Vec<u64> = (0..order.steps_per_epoch())
            .flat_map(|step| order.stream_batch(0, step, 0).unwrap())
            .collect();
        prop_assert_eq!(stream.len() as u64, order.steps_per_epoch() * share as u64);
        for rows in stream.chunks(window) {
            let blocks: HashSet<u64> = rows.iter().map(|row| row / config.block_rows as u64).collect();
            // One more where the window is cut inside a block, one more for the short last block.
            prop_assert!(blocks.len() <= config.window_blocks + 2);
        }
    }
}

#[test]
fn epochs_and_seeds_differ_and_the_tail_changes() {
    let order = Order::new(10_007, config(8, 16, 32, 4)).unwrap();
    let (first, second) = (epoch_rows(&order, 0), epoch_rows(&order, 1));
    assert_ne!(first, second);
    let tail = |rows: &[u64]| (0..10_007).filter(|row| !rows.contains(row)).collect::<Vec<u64>>();
    assert_eq!(tail(&first).len(), 10_007 % 128);
    assert_ne!(tail(&first), tail(&second));
    let other = Order::new(10_007, OrderConfig { seed: 43, ..config(8, 16, 32, 4) }).unwrap();
    assert_ne!(epoch_rows(&other, 0), first);
}

#[test]
fn a_batch_does_not_depend_on_what_was_asked_before() {
    let order = Order::new(5000, config(4, 8, 64, 2)).unwrap();
    let expected = order.batch(3, 17);
    for (epoch, step) in [(0, 0), (3, 90), (7, 2), (3, 16)] {
        order.batch(epoch, step);
    }
    assert_eq!(order.batch(3, 17), expected);
}

#[test]
fn steps_past_the_end_run_on_into_the_next_epoch() {
    let order = Order::new(1000, config(4, 25, 10, 2)).unwrap();
    assert_eq!(order.steps_per_epoch(), 10);
    assert_eq!(order.batch(0, 23), order.batch(2, 3));
    assert_eq!(order.locate(23), (2, 3));
}

#[test]
fn a_batch_mixes_rows_from_all_over_the_store() {
    let order = Order::new(100_000, config(64, 4, 100, 4)).unwrap();
    let blocks: HashSet<u64> = order.batch(0, 0).iter().map(|row| row / 100).collect();
    assert!(blocks.len() > 150, "a batch of 256 rows touches {} blocks", blocks.len());
}

#[test]
fn a_billion_rows_cost_no_table() {
    let order = Order::new(1_000_000_000, config(64, 8, 256, 16)).unwrap();
    let rows: HashSet<u64> = (0..20).flat_map(|step| order.batch(2, 1_000_000 + step)).collect();
    assert_eq!(rows.len(), 20 * 512);
}

#[test]
fn bad_settings_are_named_with_what_would_do() {
    let message = |n, config| Order::new(n, config).unwrap_err().to_string();
    assert!(message(100, OrderConfig { block_rows: 0, ..config(4, 2, 8, 1) }).contains("`block_rows` is 0"));
    assert!(message(100, OrderConfig { batch: 10, ..config(4, 2, 8, 1) }).contains("take 8 or 12"));
    assert!(message(100, OrderConfig { batch: 3, ..config(4, 2, 8, 1) }).contains("take 4"));
    assert!(message(7, config(4, 2, 8, 1)).contains("7 rows do not fill one batch of 8"));
    let order = Order::new(100, config(12, 1, 8, 1)).unwrap();
    let error = order.rank_batch(0, 0, 0, 5).unwrap_err();
    assert!(error.to_string().contains("1, 2, 3, 4, 6, 12"), "{error}");
    assert_eq!(order.rank_batch(0, 0, 4, 4), Err(OrderError::Rank { rank: 4, world: 4 }));
    assert!(order.stream_batch(0, 0, 12).is_err());
}
