//! Contracts of the collectives, on threads: every arrangement of ranks on nodes, every operation.

use proptest::prelude::*;

use super::*;

/// Runs `body` on every rank of a world.
fn on_ranks<T: Send>(size: usize, locals: usize, body: impl Fn(&Communicator) -> T + Sync) -> Vec<T> {
    Threads::run(size, locals, body).unwrap()
}

/// Arrangements of at most eight ranks: (ranks, ranks a node).
const WORLDS: [(usize, usize); 9] = [(1, 1), (2, 2), (2, 1), (3, 3), (4, 2), (4, 1), (8, 4), (8, 2), (6, 2)];

fn value(rank: usize, i: usize) -> f32 {
    ((rank * 7919 + i * 104_729) % 10_007) as f32 / 977.0 - 5.0
}

fn fill(region: &Region, rank: usize) {
    // SAFETY: no operation is pending.
    let own = unsafe { region.write::<f32>(region.own(), 0..region.len()) };
    for (i, x) in own.iter_mut().enumerate() {
        *x = value(rank, i);
    }
}

fn own(region: &Region) -> Vec<f32> {
    // SAFETY: no operation is pending.
    unsafe { region.read::<f32>(region.own(), 0..region.len()) }.to_vec()
}

fn tree(values: &[f32]) -> f32 {
    if let [one] = values {
        return *one;
    }
    let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
    tree(left) + tree(right)
}

fn summed(size: usize, len: usize) -> Vec<f32> {
    (0..len).map(|i| tree(&(0..size).map(|rank| value(rank, i)).collect::<Vec<_>>())).collect()
}

#[test]
fn a_sum_has_the_bits_of_the_tree_on_every_rank_and_arrangement() {
    for (size, locals) in WORLDS.into_iter().filter(|(_, locals)| locals.is_power_of_two() || *locals == 3) {
        let (len, range) = (5003, 17..4801);
        let results = on_ranks(size, locals, |world| {
            let region = world.allocate(len).unwrap();
            fill(&region, world.rank());
            world.start(Operation::AllReduce(Wire::F32), &region, range.clone(), Label::plain("test")).wait().unwrap();
            own(&region)
        });
        let expected = summed(size, len);
        for (rank, result) in results.iter().enumerate() {
            for i in 0..len {
                let wanted = if range.contains(&i) { expected[i] } else { value(rank, i) };
                assert_eq!(result[i].to_bits(), wanted.to_bits(), "{size} ranks, {locals} a node: element {i}");
            }
        }
    }
}

#[test]
fn reduce_scatter_then_all_gather_is_an_all_reduce() {
    for (size, locals) in WORLDS {
        let (len, range) = (3000, 5..2991);
        let results = on_ranks(size, locals, |world| {
            let region = world.allocate(len).unwrap();
            fill(&region, world.rank());
            world
                .start(Operation::ReduceScatter(Wire::F32), &region, range.clone(), Label::plain("test"))
                .wait()
                .unwrap();
            let owned = world.owned(&range);
            let part = own(&region)[owned.clone()].to_vec();
            world.start(Operation::AllGather, &region, range.clone(), Label::plain("test")).wait().unwrap();
            (owned, part, own(&region)[range.clone()].to_vec())
        });
        let expected = &summed(size, len)[range.clone()];
        let mut covered: Vec<_> = results.iter().map(|(owned, ..)| owned.clone()).filter(|r| !r.is_empty()).collect();
        covered.sort_by_key(|owned| owned.start);
        assert_eq!(covered.first().map(|r| r.start), Some(range.start));
        assert!(covered.windows(2).all(|pair| pair[0].end == pair[1].start), "owners cover the range once");
        for (owned, part, all) in &results {
            assert_eq!(part, &expected[owned.start - range.start..owned.end - range.start]);
            assert_eq!(all, expected, "{size} ranks, {locals} a node");
        }
    }
}

#[test]
fn rounded_sums_are_equal_on_all_ranks_and_near_the_others_and_only_nodes_round() {
    for (size, locals) in WORLDS {
        let (len, range) = (3000, 5..2991);
        let results = on_ranks(size, locals, |world| {
            let region = world.allocate(len).unwrap();
            fill(&region, world.rank());
            world.start(Operation::AllReduce(Wire::Bf16), &region, range.clone(), Label::plain("test")).wait().unwrap();
            let all = own(&region)[range.clone()].to_vec();
            fill(&region, world.rank());
            let scatter = Operation::ReduceScatter(Wire::Bf16);
            world.start(scatter, &region, range.clone(), Label::plain("test")).wait().unwrap();
            let owned = world.owned(&range);
            (all, owned.clone(), own(&region)[owned].to_vec())
        });
        let exact = &summed(size, len)[range.clone()];
        for (all, owned, part) in &results {
            assert_eq!(all, &results[0].0, "{size} ranks, {locals} a node");
            // A number of bfloat16 has 8 digits; every node's sum is below 5 a rank, and the total is rounded once more.
            let near = |one: f32, two: f32| (one - two).abs() <= 5.0 * size as f32 * 2.0 / 256.0;
            assert!(all.iter().zip(exact).all(|(&one, &two)| near(one, two)));
            let wanted = &exact[owned.start - range.start..owned.end - range.start];
            assert!(part.iter().zip(wanted).all(|(&one, &two)| near(one, two)));
            if size == locals {
                assert_eq!((all.as_slice(), part.as_slice()), (exact, wanted), "one node");
            } else {
                assert!(all != exact && all.iter().all(|value| value.to_bits().trailing_zeros() >= 16));
            }
        }
    }
}

#[test]
fn a_broadcast_hands_on_the_values_of_any_root() {
    for (size, locals) in WORLDS {
        for root in 0..size {
            let results = on_ranks(size, locals, |world| {
                let region = world.allocate(100).unwrap();
                fill(&region, world.rank());
                world.start(Operation::Broadcast { root }, &region, 10..90, Label::plain("test")).wait().unwrap();
                own(&region)
            });
            for result in results {
                assert_eq!(result[10..90], (10..90).map(|i| value(root, i)).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn texts_come_in_order_of_rank_whatever_their_length() {
    let results = on_ranks(4, 2, |world| {
        let text = "ä".repeat(world.rank() * 3);
        world.all_gather_text(&text).unwrap()
    });
    for texts in results {
        assert_eq!(texts, ["", "äää", "ääääää", "äääääääää"]);
    }
    // Longer than what goes in one round, and not by a whole number of rounds.
    let long = |rank: usize| "abc".repeat([0, 1, 700_001][rank]);
    for texts in on_ranks(3, 3, |world| world.all_gather_text(&long(world.rank())).unwrap()) {
        assert!((0..3).all(|rank| texts[rank] == long(rank)));
    }
}

#[test]
fn operations_complete_in_the_order_they_were_started() {
    let results = on_ranks(2, 2, |world| {
        let region = world.allocate(1000).unwrap();
        fill(&region, world.rank());
        let pending: Vec<_> = (0..50)
            .map(|i| world.start(Operation::AllReduce(Wire::F32), &region, 0..1000, Label::numbered("bucket", i)))
            .collect();
        for one in pending {
            one.wait().unwrap();
        }
        own(&region)
    });
    let factor = 2.0_f32.powi(49);
    for result in results {
        for (i, x) in result.iter().enumerate() {
            assert_eq!(*x, (value(0, i) + value(1, i)) * factor, "fifty doublings of a sum");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn slices_of_any_length_are_summed_through_the_staging_memory(len in 0_usize..3_000_000) {
        let results = on_ranks(2, 2, |world| {
            let mut values: Vec<f64> = (0..len).map(|i| (i + world.rank()) as f64).collect();
            world.all_reduce_sum_f64(&mut values).unwrap();
            values
        });
        for values in results {
            prop_assert!(values.iter().enumerate().all(|(i, &x)| x == (2 * i + 1) as f64));
        }
    }
}
