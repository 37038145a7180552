//! Whenever a run is asked to end it does, in good order: saved where something can be saved, and nothing is half-written.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use syncyte_tests::{Lab, Running, losses, metrics, signal, turn, wait_until_gone};

const LIMIT: Duration = Duration::from_mins(2);

/// The last line of what a run said.
fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

/// Waits until a file has so many lines.
fn wait_for_lines(running: &mut Running, file: &Path, lines: usize) {
    let began = Instant::now();
    while fs::read_to_string(file).unwrap_or_default().lines().count() < lines {
        assert!(running.is_running(), "ended early: {}", running.stderr());
        assert!(began.elapsed() < LIMIT, "{} does not grow", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Files below a folder that are not whole: written beside their place and not renamed.
fn unfinished(folder: &Path) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = pending.pop() {
        for path in fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.to_string_lossy().contains(".partial") {
                found.push(path.display().to_string());
            }
            if path.is_dir() {
                pending.push(path);
            }
        }
    }
    found
}

#[test]
fn an_interrupt_at_the_terminal_saves_the_run_of_all_ranks_and_says_how_to_go_on() {
    let _turn = turn("an_interrupt_at_the_terminal_saves_the_run_of_all_ranks_and_says_how_to_go_on");
    let lab = Lab::new();
    let settings = ["engine.steps=500", "checkpoint.every=10000"];
    for ranks in [2, 1] {
        let (name, whole) = (format!("run-{ranks}"), format!("whole-{ranks}"));
        let wanted = lab.train(ranks, "pretrain", &whole, &settings).json();
        let mut running = lab.start(ranks, "pretrain", &name, &settings);
        lab.wait_for_step(&mut running, &name, 60);
        let processes = running.ranks();
        running.interrupt();
        let outcome = running.wait(LIMIT);
        let step = metrics(&lab.path(&name)).len();
        assert!((60..500).contains(&step), "interrupted after the end");
        outcome.assert_refused(85, &[&format!("SIGINT at step {step}: ")]);
        let last = last_line(&outcome.stderr);
        assert!(last.starts_with("error: ") && last.contains("--resume"), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("mpirun") && !outcome.stderr.contains("SIGTERM"), "{}", outcome.stderr);
        wait_until_gone(&processes);
        assert_eq!(unfinished(&lab.path(&name)), Vec::<String>::new());
        let resumed = lab.train(ranks, "pretrain --resume", &name, &settings).json();
        assert_eq!(resumed["parameter_hash"], wanted["parameter_hash"]);
        assert_eq!(losses(&lab.path(&name), 500), losses(&lab.path(&whole), 500));
    }
}

#[test]
fn a_second_interrupt_ends_everything_at_once() {
    let _turn = turn("a_second_interrupt_ends_everything_at_once");
    let lab = Lab::new();
    for ranks in [2, 1] {
        let name = format!("run-{ranks}");
        let mut running = lab.start(ranks, "pretrain", &name, &["engine.steps=100000"]);
        lab.wait_for_step(&mut running, &name, 20);
        let processes = running.ranks();
        if ranks == 1 {
            // It would be done with the first before the second comes.
            signal(&processes, "STOP");
            running.interrupt();
            running.interrupt();
            signal(&processes, "CONT");
        } else {
            signal(&processes, "STOP");
            running.interrupt();
            std::thread::sleep(Duration::from_millis(200));
            running.interrupt();
        }
        let clock = Instant::now();
        let outcome = running.wait(LIMIT);
        // Of one process the two signals are one where it was stopped meanwhile.
        assert!(outcome.code == Some(130) || (ranks == 1 && outcome.code == Some(85)), "{outcome:?}");
        wait_until_gone(&processes);
        assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
    }
}

#[test]
fn a_signal_before_the_first_step_leaves_nothing_in_the_way() {
    let _turn = turn("a_signal_before_the_first_step_leaves_nothing_in_the_way");
    let lab = Lab::new();
    let settings = ["engine.steps=20"];
    let wanted = lab.train(2, "pretrain", "whole", &settings).json();
    for (attempt, after) in [0, 50, 150, 300, 500, 800].into_iter().enumerate() {
        let name = format!("run-{attempt}");
        let running = lab.start(2, "pretrain", &name, &settings);
        std::thread::sleep(Duration::from_millis(after));
        running.interrupt();
        let outcome = running.wait(LIMIT);
        // Before it listens itself; before the ranks do; after that; too late.
        let code = outcome.code;
        assert!([None, Some(130), Some(85), Some(0)].contains(&code), "after {after} ms: {outcome:?}");
        assert!(code != Some(130) || outcome.stderr.contains("before they could save anything"), "{outcome:?}");
        let resumed = lab.train(2, "pretrain --resume", &name, &settings).json();
        assert_eq!(resumed["parameter_hash"], wanted["parameter_hash"], "after {after} ms");
    }
}

#[test]
fn a_signal_while_checkpoints_are_written_leaves_whole_ones() {
    let _turn = turn("a_signal_while_checkpoints_are_written_leaves_whole_ones");
    let lab = Lab::new();
    let settings = ["engine.steps=120", "checkpoint.every=1", "checkpoint.keep=3"];
    let wanted = lab.train(2, "pretrain", "whole", &settings).json();
    for attempt in 0..3_u64 {
        let name = format!("run-{attempt}");
        let mut running = lab.start(2, "pretrain", &name, &settings);
        lab.wait_for_step(&mut running, &name, 5 + 7 * attempt);
        signal(&[running.id()], "TERM");
        running.wait(LIMIT).assert_refused(85, &["the run is saved in ", "--resume"]);
        assert_eq!(unfinished(&lab.path(&name)), Vec::<String>::new());
        let folders = lab.checkpoints(&name);
        assert!(folders.iter().all(|folder| folder.join("MANIFEST.json").is_file()), "{folders:?}");
        let resumed = lab.train(2, "pretrain --resume", &name, &settings).json();
        assert_eq!(resumed["parameter_hash"], wanted["parameter_hash"]);
    }
}

#[test]
fn a_later_stage_that_is_interrupted_leaves_its_checkpoint_and_nothing_half_written() {
    let _turn = turn("a_later_stage_that_is_interrupted_leaves_its_checkpoint_and_nothing_half_written");
    let lab = Lab::new();
    lab.train(1, "pretrain", "run", &["engine.steps=10"]).assert_code(0);
    for (ranks, command, steps) in [(1, "finetune", "finetune.steps"), (2, "diffuse", "diffusion.steps")] {
        let (from, long) = (format!("{command} --from {}", lab.path("run").display()), format!("{steps}=100000"));
        let mut running = lab.start(ranks, &from, "run", &[&long, "finetune.conditions=4"]);
        wait_for_lines(&mut running, &lab.path("run").join(command).join("metrics.jsonl"), 3);
        running.interrupt();
        let outcome = running.wait(LIMIT);
        outcome.assert_refused(85, &["SIGINT at step ", "the run is saved in", "--resume"]);
        assert!(last_line(&outcome.stderr).starts_with("error: "), "{}", outcome.stderr);
        let again = lab.train(ranks, &from, "run", &[&long, "finetune.conditions=4"]);
        again.assert_refused(2, &[command, "already holds a run", "--resume"]);
    }
    assert_eq!(unfinished(&lab.path("run")), Vec::<String>::new());
}

#[test]
fn an_evaluation_that_is_asked_to_end_leaves_the_results_as_they_were() {
    let _turn = turn("an_evaluation_that_is_asked_to_end_leaves_the_results_as_they_were");
    let lab = Lab::new();
    lab.train(1, "pretrain", "run", &["engine.steps=10"]).assert_code(0);
    let from = format!("finetune --from {}", lab.path("run").display());
    lab.train(1, &from, "run", &["finetune.conditions=4"]).assert_code(0);
    lab.train(1, "evaluate", "run", &["evaluate.bootstrap=200"]).assert_code(0);
    let before = fs::read(lab.path("run/results.json")).unwrap();
    let running = lab.start(1, "evaluate", "run", &["evaluate.bootstrap=100000000"]);
    std::thread::sleep(Duration::from_secs(2));
    signal(&[running.id()], "TERM");
    let outcome = running.wait(LIMIT);
    outcome.assert_refused(4, &["SIGTERM ended `evaluate`", "results.json is as it was before"]);
    assert_eq!(fs::read(lab.path("run/results.json")).unwrap(), before);
    assert_eq!(unfinished(&lab.path("run")), Vec::<String>::new());
}
