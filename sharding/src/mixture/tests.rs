use std::collections::HashSet;

use proptest::prelude::*;

use super::{Mixture, MixtureConfig, Pack, Part, ROUND};

fn part(rows: usize) -> Part {
    Part { rows, block_rows: 8, window_blocks: 2 }
}

fn mixture(rows: &[usize], packs: usize, exponent: f64) -> Mixture {
    let parts: Vec<Part> = rows.iter().map(|&rows| part(rows)).collect();
    Mixture::new(&parts, &MixtureConfig { packs, exponent, ..MixtureConfig::new(11, 4, 8 * packs) }).unwrap()
}

/// Packs of every data set in each of the first `steps` batches.
fn counts(mixture: &Mixture, steps: u64) -> Vec<Vec<u64>> {
    let of_step = |step| {
        let mut counts = vec![0; mixture.weights().len()];
        mixture.batch(0, step).iter().for_each(|pack| counts[pack.dataset] += 1);
        counts
    };
    (0..steps).map(of_step).collect()
}

#[test]
fn weights_are_powers_of_the_sizes() {
    assert_eq!(mixture(&[100, 400, 1600], 1, 0.5).weights(), [1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]);
    assert_eq!(mixture(&[100, 300], 1, 1.0).weights(), [0.25, 0.75]);
    assert_eq!(mixture(&[100, 300], 1, 0.0).weights(), [0.5, 0.5]);
}

#[test]
fn data_sets_come_as_often_as_their_weights_say() {
    let rows = [50, 90, 700, 3000, 20_000];
    for packs in [1, 4] {
        let mixture = mixture(&rows, packs, 0.5);
        let rounds = 40;
        let counts = counts(&mixture, rounds * ROUND);
        let drawn = (rounds * ROUND) as f64 * packs as f64;
        let mut chi2 = 0.0;
        for (dataset, weight) in mixture.weights().iter().enumerate() {
            let found = counts.iter().map(|counts| counts[dataset]).sum::<u64>() as f64;
            chi2 += (found - weight * drawn).powi(2) / (weight * drawn);
            for round in counts.chunks(ROUND as usize) {
                let found = round.iter().map(|counts| counts[dataset]).sum::<u64>() as f64;
                assert!((found - weight * ROUND as f64 * packs as f64).abs() < 1.0 + 1e-9);
            }
        }
        assert!(chi2 < 9.49, "chi-squared {chi2} on 4 degrees of freedom");
    }
}

#[test]
fn a_small_data_set_is_not_forgotten() {
    // Less than one pack in a round is expected, and over many rounds about as many come.
    let mixture = mixture(&[8, 8_000_000], 1, 0.5);
    let expected = mixture.weights()[0] * (60 * ROUND) as f64;
    assert!(mixture.weights()[0] * (ROUND as f64) < 1.0);
    let found: u64 = counts(&mixture, 60 * ROUND).iter().map(|counts| counts[0]).sum();
    assert!((found as f64 - expected).abs() < 4.0 * expected.sqrt(), "{found} against {expected}");
}

#[test]
fn a_packed_batch_holds_every_data_set_in_proportion() {
    let mixture = mixture(&[400, 400, 1600], 8, 0.5);
    for counts in counts(&mixture, 3 * ROUND) {
        assert_eq!(counts.iter().sum::<u64>(), 8);
        assert!(counts[..2].iter().all(|&count| count == 2), "{counts:?}");
    }
}

#[test]
fn batches_of_one_data_set_come_in_no_order() {
    let mixture = mixture(&[1000, 1000], 1, 0.5);
    let order: Vec<usize> = (0..ROUND).map(|step| mixture.batch(0, step)[0].dataset).collect();
    let changes = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((90..166).contains(&changes), "{changes} changes in {ROUND} steps");
}

#[test]
fn each_data_set_goes_through_all_its_rows_pass_after_pass() {
    let sizes = [37, 190];
    let mixture = mixture(&sizes, 2, 1.0);
    let mut rows: [Vec<u64>; 2] = Default::default();
    for step in 0..600 {
        mixture.batch(0, step).into_iter().for_each(|pack| rows[pack.dataset].extend(pack.rows));
    }
    for (rows, size) in rows.iter().zip(sizes) {
        let pass = size / 8 * 8;
        assert!(rows.len() > 10 * pass);
        for (number, pass) in rows.chunks_exact(pass).enumerate() {
            let distinct: HashSet<u64> = pass.iter().copied().collect();
            assert_eq!(distinct.len(), pass.len(), "pass {number}");
        }
        let all: HashSet<u64> = rows.iter().copied().collect();
        assert_eq!(all.len(), size);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_ranks_together_serve_the_global_batch_at_every_world_size(
        rows in prop::collection::vec(40_usize..900, 1..5),
        packs in 1_usize..5,
        exponent in 0.0_f64..1.2,
        (epoch, step) in (0_u64..3, 0_u64..700),
    ) {
        let mixture = mixture(&rows, packs, exponent);
        let whole = mixture.batch(epoch, step);
        prop_assert_eq!(whole.len(), packs);
        prop_assert!(whole.iter().all(|pack| pack.rows.iter().all(|&row| row < rows[pack.dataset] as u64)));
        for world in [1, 2, 4] {
            let mut joined: Vec<Pack> = whole.iter().map(|p| Pack { dataset: p.dataset, rows: Vec::new() }).collect();
            for rank in 0..world {
                let parts = mixture.rank_batch(epoch, step, rank, world).unwrap();
                prop_assert_eq!(parts.len(), packs);
                for (joined, part) in joined.iter_mut().zip(parts) {
                    prop_assert_eq!((joined.dataset, part.rows.len()), (part.dataset, 8 / world));
                    joined.rows.extend(part.rows);
                }
            }
            for (joined, pack) in joined.iter_mut().zip(&whole) {
                let mut pack = pack.rows.clone();
                pack.sort_unstable();
                joined.rows.sort_unstable();
                prop_assert_eq!(&joined.rows, &pack);
            }
        }
    }

    #[test]
    fn a_batch_depends_on_nothing_asked_before(
        rows in prop::collection::vec(40_usize..900, 1..4),
        steps in prop::collection::vec(0_u64..2000, 1..12),
    ) {
        let used = mixture(&rows, 2, 0.5);
        for &step in &steps {
            prop_assert_eq!(used.batch(0, step), mixture(&rows, 2, 0.5).batch(0, step));
        }
    }
}

#[test]
fn steps_past_the_end_run_on_into_the_next_epoch_and_seeds_differ() {
    let first = mixture(&[500, 300], 2, 0.5);
    assert_eq!(first.steps_per_epoch(), 50);
    assert_eq!(first.batch(0, 123), first.batch(2, 23));
    let config = MixtureConfig { packs: 2, ..MixtureConfig::new(12, 4, 16) };
    let other = Mixture::new(&[part(500), part(300)], &config).unwrap();
    assert_ne!(first.batch(0, 0), other.batch(0, 0));
}

#[test]
fn equal_data_sets_are_shuffled_unlike_each_other() {
    let mixture = mixture(&[400, 400], 2, 0.5);
    let batch = mixture.batch(0, 0);
    assert_eq!((batch[0].dataset, batch[1].dataset), (0, 1));
    assert_ne!(batch[0].rows, batch[1].rows);
}

#[test]
fn bad_settings_are_named_with_what_would_do() {
    let make = |rows: &[usize], config: MixtureConfig| {
        let parts: Vec<Part> = rows.iter().map(|&rows| part(rows)).collect();
        Mixture::new(&parts, &config).unwrap_err().to_string()
    };
    let usual = MixtureConfig::new(1, 4, 32);
    assert!(make(&[], usual.clone()).contains("no data set"));
    assert!(make(&[100], MixtureConfig { packs: 3, ..usual.clone() }).contains("32 rows cannot be cut into 3 packs"));
    assert!(make(&[100], MixtureConfig { exponent: -1.0, ..usual.clone() }).contains("exponent"));
    assert!(make(&[100, 20], usual.clone()).contains("data set 1 (its batch is a pack): order: 20 rows"));
    assert!(make(&[100], MixtureConfig { packs: 16, ..usual.clone() }).contains("no multiple of the 4 streams"));
    let fine = Mixture::new(&[part(100)], &usual).unwrap();
    assert!(fine.rank_batch(0, 0, 0, 3).unwrap_err().to_string().contains("1, 2, 4"));
}
