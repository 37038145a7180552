//! The row order over ranks, restarts and epochs. What holds for one order at a time is tested beside the code.

use std::collections::HashSet;

use proptest::prelude::*;
use syncyte_sharding::order::{Order, OrderConfig};

/// Rows and settings; streams need not be a power of two.
fn orders() -> impl Strategy<Value = (usize, OrderConfig)> {
    (1_usize..49, 1_usize..6, 1_usize..40, 1_usize..6, 0_usize..1500, any::<u64>()).prop_map(
        |(streams, share, block_rows, window_blocks, more, seed)| {
            let batch = streams * share;
            (batch + more, OrderConfig { seed, streams, block_rows, window_blocks, batch })
        },
    )
}

/// World sizes of up to 16 ranks that share the streams of an order.
fn worlds(order: &Order) -> Vec<usize> {
    (1..=16).filter(|world| order.config().streams.is_multiple_of(*world)).collect()
}

/// The rows of all ranks at a step, rank after rank, as each of them works them out for itself.
fn of_all_ranks(n: usize, config: &OrderConfig, epoch: u64, step: u64, world: usize) -> Vec<u64> {
    let of_rank = |rank| Order::new(n, config.clone()).unwrap().rank_batch(epoch, step, rank, world).unwrap();
    (0..world).flat_map(of_rank).collect()
}

fn sorted(mut rows: Vec<u64>) -> Vec<u64> {
    rows.sort_unstable();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_rank_count_covers_an_epoch_once_up_to_a_tail_shorter_than_a_batch(
        (n, config) in orders(), epoch in 0_u64..9,
    ) {
        let order = Order::new(n, config).unwrap();
        for world in worlds(&order) {
            let mut owner = vec![None; n];
            for rank in 0..world {
                for step in 0..order.steps_per_epoch() {
                    for row in order.rank_batch(epoch, step, rank, world).unwrap() {
                        let before = owner[row as usize].replace((rank, step));
                        prop_assert_eq!(before, None, "row {} comes to rank {} again", row, rank);
                    }
                }
            }
            let left = owner.iter().filter(|owner| owner.is_none()).count();
            prop_assert_eq!(left, n % order.config().batch);
        }
    }

    #[test]
    fn a_run_that_changes_its_rank_count_between_steps_sees_the_rows_of_one_that_does_not(
        (n, config) in orders(), epoch in 0_u64..9, choices in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
    ) {
        let order = Order::new(n, config.clone()).unwrap();
        let worlds = worlds(&order);
        for (step, choice) in (0..).zip(&choices) {
            let world = worlds[choice.index(worlds.len())];
            let shared = of_all_ranks(n, &config, epoch, step, world);
            prop_assert_eq!(sorted(shared), sorted(order.batch(epoch, step)), "step {} on {} ranks", step, world);
        }
    }

    #[test]
    fn ranks_of_a_larger_world_split_the_streams_of_a_smaller_one(
        (n, config) in orders(), epoch in 0_u64..9, step in 0_u64..60,
    ) {
        // The streams of rank r of N are those of the ranks r, r + N, … of any multiple of N.
        let order = Order::new(n, config).unwrap();
        let worlds = worlds(&order);
        for &small in &worlds {
            for &large in worlds.iter().filter(|large| large.is_multiple_of(small)) {
                for rank in 0..small {
                    let whole = order.rank_batch(epoch, step, rank, small).unwrap();
                    let parts = (rank..large).step_by(small).flat_map(|r| order.rank_batch(epoch, step, r, large).unwrap());
                    prop_assert_eq!(sorted(parts.collect()), sorted(whole), "rank {} of {} in {}", rank, small, large);
                }
            }
        }
    }

    #[test]
    fn a_run_resumed_at_any_step_goes_on_as_the_uninterrupted_one(
        (n, config) in orders(), start in 0_u64..500, steps in 1_u64..40,
    ) {
        let running = Order::new(n, config.clone()).unwrap();
        for step in start.saturating_sub(7)..start {
            running.batch(0, step);
        }
        let resumed = Order::new(n, config).unwrap();
        for step in start..start + steps {
            let (epoch, within) = resumed.locate(step);
            prop_assert_eq!(&resumed.batch(epoch, within), &running.batch(0, step), "step {}", step);
        }
    }

    #[test]
    fn several_epochs_give_every_row_as_often_as_there_are_epochs_but_for_tails((n, config) in orders(), epochs in 1_u64..6) {
        let order = Order::new(n, config).unwrap();
        let mut seen = vec![0_u64; n];
        for step in 0..epochs * order.steps_per_epoch() {
            for row in order.batch(0, step) {
                seen[row as usize] += 1;
            }
        }
        // A row misses an epoch only in its tail.
        prop_assert!(seen.iter().all(|&times| times <= epochs));
        let missed: u64 = seen.iter().map(|times| epochs - times).sum();
        prop_assert_eq!(missed, epochs * (n % order.config().batch) as u64);
    }

    #[test]
    fn two_steps_of_an_epoch_share_no_row((n, config) in orders(), epoch in 0_u64..9, a in 0_u64..90, b in 0_u64..90) {
        let order = Order::new(n, config).unwrap();
        let (a, b) = (a % order.steps_per_epoch(), b % order.steps_per_epoch());
        let first: HashSet<u64> = order.batch(epoch, a).into_iter().collect();
        let second = order.batch(epoch, b);
        prop_assert_eq!(first.len(), order.config().batch);
        let shared = second.iter().filter(|row| first.contains(row)).count();
        prop_assert_eq!(shared, if a == b { first.len() } else { 0 });
    }
}
