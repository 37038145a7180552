//! How a run is computed (ranks, nodes, overlap, sharding, micro-batches, number format) does not decide what.

use std::fs;

use serde_json::Value;
use syncyte_tests::{Lab, losses, metrics, signal, turn};

use crate::parallelism::assert_close;

const DETERMINISTIC: &str = "engine.deterministic=true";

/// Trains and gives the hash of the parameters.
fn hash(lab: &Lab, ranks: usize, name: &str, settings: &[&str]) -> String {
    hash_of(&lab.train(ranks, "pretrain", name, settings).json())
}

fn hash_of(answer: &Value) -> String {
    let hash = answer["parameter_hash"].as_str().unwrap_or_default();
    assert!(!hash.is_empty(), "no parameter_hash in {answer}");
    hash.to_owned()
}

/// Deletes all checkpoints of a run after `step`.
fn drop_checkpoints_after(lab: &Lab, name: &str, step: u64) {
    let newest = format!("step-{step:08}");
    for folder in lab.checkpoints(name).iter().filter(|path| path.file_name() > Some(newest.as_ref())) {
        fs::remove_dir_all(folder).unwrap();
    }
    assert!(lab.path(name).join("checkpoints").join(newest).is_dir(), "no checkpoint of step {step} in {name}");
}

#[test]
fn deterministic_parameters_are_the_same_on_any_number_of_ranks_and_nodes() {
    let _turn = turn("deterministic_parameters_are_the_same_on_any_number_of_ranks_and_nodes");
    let lab = Lab::new();
    let settings = [DETERMINISTIC, "engine.steps=30"];
    let one = hash(&lab, 1, "on-1", &settings);
    for ranks in [2, 4, 8] {
        assert_eq!(hash(&lab, ranks, &format!("on-{ranks}"), &settings), one, "{ranks} ranks");
    }
    for (ranks_per_node, nodes) in [("2", "two nodes of two"), ("1", "four nodes of one")] {
        let (environment, name) = ([("SYNCYTE_RANKS_PER_NODE", ranks_per_node)], format!("by-{ranks_per_node}"));
        let running = lab.start_in(&environment, 4, "pretrain", &name, &settings);
        assert_eq!(hash_of(&running.to_end().json()), one, "{nodes}");
    }
}

#[test]
fn gradients_that_travel_rounded_between_nodes_leave_the_losses_near() {
    let _turn = turn("gradients_that_travel_rounded_between_nodes_leave_the_losses_near");
    let lab = Lab::new();
    let run = |wire: &str| {
        let setting = format!("engine.wire={wire}");
        let settings = [setting.as_str(), "engine.steps=20", "engine.check_every=5"];
        let nodes_of_one = [("SYNCYTE_RANKS_PER_NODE", "1")];
        let outcome = lab.start_in(&nodes_of_one, 2, "pretrain", wire, &settings).to_end();
        (hash_of(&outcome.json()), losses(&lab.path(wire), 20))
    };
    let ((plain, exact), (rounded, near)) = (run("f32"), run("bf16"));
    assert_ne!(plain, rounded, "nothing was rounded");
    for (step, (exact, near)) in exact.iter().zip(&near).enumerate() {
        assert!((exact - near).abs() <= 1e-2 * exact.abs(), "step {}: {exact} and, rounded, {near}", step + 1);
    }
}

#[test]
fn a_deterministic_run_resumes_to_the_same_parameters_on_another_number_of_ranks() {
    let _turn = turn("a_deterministic_run_resumes_to_the_same_parameters_on_another_number_of_ranks");
    let lab = Lab::new();
    let settings = [DETERMINISTIC, "engine.steps=60", "checkpoint.every=10", "checkpoint.keep=9"];
    let whole = hash(&lab, 2, "whole", &settings);

    let mut running = lab.start(2, "pretrain", "broken", &settings);
    lab.wait_for_step(&mut running, "broken", 15);
    signal(&running.ranks()[1..], "KILL");
    assert_ne!(running.to_end().code, Some(0), "a run that lost a rank must not succeed");
    for ranks in [4, 1] {
        if ranks == 1 {
            drop_checkpoints_after(&lab, "broken", 20);
        }
        let outcome = lab.train(ranks, "pretrain --resume", "broken", &settings);
        assert_eq!(hash_of(&outcome.json()), whole, "resumed on {ranks}");
        assert!(outcome.stderr.contains("resuming after step"), "{}", outcome.stderr);
        assert_eq!(losses(&lab.path("broken"), 60), losses(&lab.path("whole"), 60), "resumed on {ranks}");
    }
}

#[test]
fn when_gradients_are_summed_changes_no_bit() {
    let _turn = turn("when_gradients_are_summed_changes_no_bit");
    let lab = Lab::new();
    let [hooks, segments, none] = ["hooks", "segments", "none"]
        .map(|overlap| hash(&lab, 2, overlap, &["engine.steps=20", &format!("engine.overlap={overlap}")]));
    assert_eq!(segments, hooks);
    assert_eq!(none, hooks);
}

#[test]
fn sharded_moments_give_the_same_run_and_resume_on_another_number_of_ranks() {
    let _turn = turn("sharded_moments_give_the_same_run_and_resume_on_another_number_of_ranks");
    let lab = Lab::new();
    let common = ["engine.steps=60", "checkpoint.every=20", "checkpoint.keep=3"];
    let sharded = [&common[..], &["engine.sharding=optimizer"]].concat();
    lab.train(2, "pretrain", "whole", &common).assert_code(0);
    lab.train(2, "pretrain", "sharded", &sharded).assert_code(0);
    let whole = losses(&lab.path("whole"), 60);
    for (step, (a, b)) in whole.iter().zip(losses(&lab.path("sharded"), 60)).enumerate() {
        assert!((a - b).abs() <= 1e-6 * a.abs(), "step {}: loss {a} of whole moments, {b} of sharded ones", step + 1);
    }
    for (ranks, step) in [(1, 40), (4, 20)] {
        drop_checkpoints_after(&lab, "sharded", step);
        let outcome = lab.train(ranks, "pretrain --resume", "sharded", &sharded);
        outcome.assert_code(0);
        assert!(outcome.stderr.contains(&format!("resuming after step {step}")), "{}", outcome.stderr);
        assert_close(&whole, &losses(&lab.path("sharded"), 60), &format!("2 ranks resumed on {ranks}"));
    }
}

#[test]
fn threads_change_no_more_than_rounding() {
    let _turn = turn("threads_change_no_more_than_rounding");
    let lab = Lab::new();
    let [one, two] = ["engine.threads=1", "engine.threads=2"].map(|threads| {
        lab.train(1, "pretrain", threads, &["engine.steps=10", threads]).assert_code(0);
        losses(&lab.path(threads), 10)
    });
    assert_close(&one, &two, "one thread and two");
}

#[test]
fn micro_batches_give_the_losses_of_the_batch_they_are_cut_from() {
    let _turn = turn("micro_batches_give_the_losses_of_the_batch_they_are_cut_from");
    let lab = Lab::new();
    let curve = |ranks: usize, micro_batches: usize| {
        let (name, key) = (format!("on-{ranks}-by-{micro_batches}"), format!("engine.micro_batches={micro_batches}"));
        lab.train(ranks, "pretrain", &name, &["engine.steps=20", &key]).assert_code(0);
        losses(&lab.path(&name), 20)
    };
    let whole = curve(1, 1);
    for (ranks, micro_batches) in [(1, 2), (1, 4), (2, 2), (2, 4)] {
        assert_close(&whole, &curve(ranks, micro_batches), &format!("{micro_batches} micro-batches on {ranks} ranks"));
    }
}

#[test]
fn a_cut_of_the_batch_that_cannot_be_is_refused_with_what_would_be_right() {
    let _turn = turn("a_cut_of_the_batch_that_cannot_be_is_refused_with_what_would_be_right");
    let lab = Lab::new();
    let cases: [(usize, &[&str], &[&str]); 8] = [
        (1, &[DETERMINISTIC, "engine.micro_batches=2"], &["leave engine.micro_batches at 1", "logical_shards"]),
        (1, &[DETERMINISTIC, "engine.sharding=optimizer"], &["engine.deterministic", "set engine.sharding = \"none\""]),
        (1, &[DETERMINISTIC, "engine.threads=2"], &["engine.deterministic", "leave engine.threads at 0 or 1"]),
        (1, &[DETERMINISTIC, "engine.logical_shards=16"], &["engine.logical_shards = 16", "data.streams = 8"]),
        (1, &["engine.logical_shards=6"], &["engine.logical_shards", "power of two"]),
        (1, &["engine.micro_batches=3"], &["engine.micro_batches = 3", "data.streams = 8"]),
        (2, &["engine.micro_batches=8"], &["2 ranks", "engine.micro_batches = 8", "data.streams = 8"]),
        (4, &[DETERMINISTIC, "engine.logical_shards=2"], &["number of ranks", "engine.logical_shards = 2, not 4"]),
    ];
    for (ranks, settings, parts) in cases {
        lab.train(ranks, "pretrain", "run", settings).assert_refused(2, parts);
        lab.assert_nothing_in("run");
    }
}

/// The largest and the mean relative difference of two curves.
fn difference(one: &[f64], two: &[f64]) -> (f64, f64) {
    let differences: Vec<_> = one.iter().zip(two).map(|(a, b)| (a - b).abs() / a.abs()).collect();
    (differences.iter().copied().fold(0.0, f64::max), differences.iter().sum::<f64>() / differences.len() as f64)
}

/// Limits from 14 runs (7 seeds, two objectives). In bf16, which rounds to 0.4 %, the loss of a step differed from that
/// in f32 by 1.3 % at most, in the mean over a run by 0.24 %: three times that is allowed. In fp16 the loss scale begins
/// too high by design, so that some steps are skipped and the curve lags behind: the first loss differed by 0.01 %, five
/// steps were skipped, and the loss of step 30 was 0.48 of the first.
#[test]
fn losses_in_bf16_follow_those_in_f32_and_a_run_in_fp16_skips_few_steps() {
    let _turn = turn("losses_in_bf16_follow_those_in_f32_and_a_run_in_fp16_skips_few_steps");
    let lab = Lab::new();
    for ranks in [1, 2] {
        let [f32, bf16, fp16] = ["f32", "bf16", "fp16"].map(|precision| {
            let (name, key) = (format!("{precision}-on-{ranks}"), format!("engine.precision={precision}"));
            lab.train(ranks, "pretrain", &name, &["engine.steps=30", &key]).assert_code(0);
            losses(&lab.path(&name), 30)
        });
        let (largest, mean) = difference(&f32, &bf16);
        assert!(largest <= 0.04 && mean <= 0.0075, "bf16, {ranks} ranks: {largest} at most, {mean} in the mean");
        let (first, _) = difference(&f32[..1], &fp16[..1]);
        assert!(first < 0.01, "fp16, {ranks} ranks: the first loss differs by {first}");
        assert!(largest > 0.0 && first > 0.0, "{ranks} ranks: nothing is rounded");
        let lines = metrics(&lab.path(&format!("fp16-on-{ranks}")));
        let skipped = lines.iter().filter(|line| line["skipped"] == true).count();
        assert!(skipped <= 10, "fp16, {ranks} ranks: {skipped} steps skipped");
        assert!(fp16[29] < 0.7 * fp16[0], "fp16, {ranks} ranks: {fp16:?}");
    }
}
