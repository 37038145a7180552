//! An interrupted run goes on as if nothing had happened.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use syncyte_tests::{Lab, losses, signal, turn};

use crate::parallelism::assert_close;

const STEPS: u64 = 250;
const SETTINGS: [&str; 3] = ["engine.steps=250", "checkpoint.every=25", "checkpoint.keep=2"];

/// Runs on two ranks until `step` is logged, then kills one of them without warning.
fn interrupt(lab: &Lab, name: &str, step: u64, victim: usize) {
    let mut running = lab.start(2, "pretrain", name, &SETTINGS);
    lab.wait_for_step(&mut running, name, step);
    let ranks = running.ranks();
    assert_eq!(ranks.len(), 2, "rank processes {ranks:?}");
    signal(&[ranks[victim]], "KILL");
    let outcome = running.wait(Duration::from_mins(1));
    assert_ne!(outcome.code, Some(0), "a run that lost a rank must not succeed");
}

fn names(paths: &[std::path::PathBuf]) -> Vec<String> {
    paths.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

#[test]
fn a_run_that_lost_a_rank_ends_by_itself_and_resumes_to_the_same_parameters() {
    let _turn = turn("a_run_that_lost_a_rank_ends_by_itself_and_resumes_to_the_same_parameters");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::from(now.subsec_micros()));
    let (step, victim) = (10 + seed % (STEPS / 2), (seed / 1000 % 2) as usize);
    println!("seed {seed}: process {victim} is killed once step {step} is logged");
    let lab = Lab::new();
    let whole = lab.train(2, "pretrain", "whole", &SETTINGS).json();

    interrupt(&lab, "broken", step, victim);
    let resumed = lab.train(2, "pretrain --resume", "broken", &SETTINGS).json();
    assert_eq!(resumed["parameter_hash"], whole["parameter_hash"]);
    assert_eq!(losses(&lab.path("broken"), STEPS), losses(&lab.path("whole"), STEPS));
    assert_eq!(names(&lab.checkpoints("broken")), ["step-00000225", "step-00000250"]);
}

#[test]
fn a_run_resumes_on_another_number_of_ranks() {
    let _turn = turn("a_run_resumes_on_another_number_of_ranks");
    let lab = Lab::new();
    let settings = ["engine.steps=60", "checkpoint.every=20", "checkpoint.keep=3"];
    lab.train(2, "pretrain", "run", &settings).assert_code(0);
    let before = losses(&lab.path("run"), 60);
    for (ranks, dropped) in [(1, "step-00000060"), (4, "step-00000040")] {
        for newer in
            lab.checkpoints("run").iter().filter(|path| path.ends_with("step-00000060") || path.ends_with(dropped))
        {
            fs::remove_dir_all(newer).unwrap();
        }
        let outcome = lab.train(ranks, "pretrain --resume", "run", &settings);
        outcome.assert_code(0);
        assert!(outcome.stderr.contains("resuming after step"), "{}", outcome.stderr);
        assert_close(&before, &losses(&lab.path("run"), 60), &format!("2 ranks resumed on {ranks}"));
    }
}

#[test]
fn a_run_is_continued_only_when_asked_and_only_with_its_configuration() {
    let _turn = turn("a_run_is_continued_only_when_asked_and_only_with_its_configuration");
    let lab = Lab::new();
    lab.train(1, "pretrain", "run", &["engine.steps=4"]).assert_code(0);
    let before = snapshot(&lab.path("run"));
    for ranks in [1, 2] {
        lab.train(ranks, "pretrain", "run", &["engine.steps=4"])
            .assert_refused(2, &["already holds a run", "--resume"]);
        let changed = lab.train(ranks, "pretrain --resume", "run", &["engine.steps=4", "optimizer.lr=0.5"]);
        changed.assert_refused(2, &["[optimizer]", "lr = 0.001", "lr = 0.5"]);
        assert_eq!(snapshot(&lab.path("run")), before, "a refused run changes nothing");
    }
}

/// Names and contents of the files of a run, but its logs.
fn snapshot(run: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(run).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    let mut files: Vec<_> = entries.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    files.sort();
    files
}
