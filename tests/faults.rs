//! Whatever fails, a run ends in time, says what it was, and goes on from there as if nothing had happened.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use syncyte_tests::{Lab, Running, losses, metrics, signal, turn, wait_until_gone};

use crate::checkpoints::SmallDisk;

/// Most that may go by between the time-out and the end of the whole run.
const AFTERMATH: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_mins(2);

/// Numbers that differ from run to run; the first is printed, so that a failure can be looked into.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64 | 1);
        println!("seed {seed}");
        Self(seed)
    }

    /// A number below `bound` (Marsaglia's xorshift64).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Trains to the end and gives the hash of the parameters.
fn hash(lab: &Lab, ranks: usize, command: &str, name: &str, settings: &[&str]) -> String {
    let answer = lab.train(ranks, command, name, settings).json();
    answer["parameter_hash"].as_str().unwrap().to_owned()
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(lab: &Lab, name: &str) -> Vec<String> {
    lab.checkpoints(name).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// The newest step folder that has a manifest.
fn newest_step(lab: &Lab, name: &str) -> Option<u64> {
    let whole = lab.checkpoints(name).into_iter().filter(|path| path.join("MANIFEST.json").is_file());
    whole.filter_map(|path| path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()).max()
}

/// The flight recorder of the rank that was left waiting names the other one, and what it waited for.
fn assert_flight(flight: &Value, rank: usize, message: &str) {
    let reason = flight["reason"].as_str().unwrap();
    assert!(message.contains(reason), "`{reason}` is not in the message:\n{message}");
    // Further buckets may wait behind the one that was begun.
    let begun = |o: &&Value| o["ended"].is_null() && !o["started"].is_null();
    let open: Vec<_> = flight["operations"].as_array().unwrap().iter().filter(begun).collect();
    let [open] = open[..] else { panic!("open operations: {open:?}") };
    let text = |key: &str| open[key].as_str().unwrap();
    let head =
        format!("{} `{}` (operation {}) of step {}", text("operation"), text("label"), open["sequence"], open["step"]);
    assert!(reason.contains(&head), "`{head}` is not in `{reason}`");
    assert_eq!(flight["progress"]["standing"], "given-up");
    assert_eq!(flight["peers"].as_array().unwrap().len(), 1);
    assert_eq!(flight["peers"][0]["rank"], rank);
}

#[test]
fn a_rank_that_stops_is_named_in_time_by_the_others_and_the_run_resumes() {
    let _turn = turn("a_rank_that_stops_is_named_in_time_by_the_others_and_the_run_resumes");
    let mut random = Random::new();
    let lab = Lab::new();
    let settings = ["engine.steps=600", "checkpoint.every=100", "engine.timeout_s=4", "engine.startup_timeout_s=15"];
    let whole = hash(&lab, 2, "pretrain", "whole", &settings);

    let (step, stopped) = (110 + random.below(50), random.below(2) as usize);
    let mut running = lab.start(2, "pretrain", "broken", &settings);
    lab.wait_for_step(&mut running, "broken", step);
    let ranks = running.ranks();
    signal(&[ranks[stopped]], "STOP");
    let clock = Instant::now();
    let outcome = running.wait(LIMIT);
    let took = clock.elapsed();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (name, other) = (format!("rank {stopped} on host {}", host.trim()), format!("rank {}", 1 - stopped));
    outcome.assert_refused(4, &[&name, &format!("error: {other} on host "), "of step ", "has been open for"]);
    let flight = json(&lab.path("broken").join(format!("flight-rank-{}.json", 1 - stopped)));
    assert_eq!(flight["rank"], 1 - stopped);
    assert!(flight["reason"].as_str().unwrap().contains(&name), "{}", flight["reason"]);
    assert_flight(&flight, stopped, &outcome.stderr);
    // Ranks may wait longer for each other around a checkpoint.
    let timeout = if flight["progress"]["phase"] == "checkpoint" { 15 } else { 4 };
    assert!(took < Duration::from_secs(timeout) + AFTERMATH, "the run took {took:?} to end:\n{}", outcome.stderr);
    wait_until_gone(&ranks);

    assert_eq!(hash(&lab, 2, "pretrain --resume", "broken", &settings), whole);
    assert_eq!(losses(&lab.path("broken"), 600), losses(&lab.path("whole"), 600));
}

/// Ends a run without warning at a random moment of its next steps: one of its ranks, or all of it at once.
fn kill(lab: &Lab, mut running: Running, name: &str, random: &mut Random) {
    let done = metrics(&lab.path(name)).last().and_then(|line| line["step"].as_u64()).unwrap_or(0);
    lab.wait_for_step(&mut running, name, done + 4 + random.below(6));
    let ranks = running.ranks();
    assert_eq!(ranks.len(), 2, "rank processes {ranks:?}");
    std::thread::sleep(Duration::from_micros(random.below(20_000)));
    match random.below(3) {
        victim @ 0..2 => signal(&ranks[victim as usize..][..1], "KILL"),
        _ => signal(&[&ranks[..], &[running.id()]].concat(), "KILL"),
    }
    assert_ne!(running.wait(LIMIT).code, Some(0), "a run that lost a rank must not succeed");
    wait_until_gone(&ranks);
}

#[test]
fn a_run_that_is_killed_while_it_writes_checkpoints_resumes_from_a_whole_one_every_time() {
    let _turn = turn("a_run_that_is_killed_while_it_writes_checkpoints_resumes_from_a_whole_one_every_time");
    let mut random = Random::new();
    let lab = Lab::new();
    let settings = ["engine.steps=150", "checkpoint.every=1"];
    let whole = hash(&lab, 2, "pretrain", "whole", &settings);
    let mut newest = None;
    for attempt in 0..5 {
        let command = if attempt == 0 { "pretrain" } else { "pretrain --resume" };
        kill(&lab, lab.start(2, command, "broken", &settings), "broken", &mut random);
        let found = newest_step(&lab, "broken");
        assert!(found > newest, "step {found:?} after {newest:?}: {:?}", names(&lab, "broken"));
        newest = found;
    }
    assert_eq!(hash(&lab, 2, "pretrain --resume", "broken", &settings), whole);
    assert_eq!(losses(&lab.path("broken"), 150), losses(&lab.path("whole"), 150));
    assert_eq!(names(&lab, "broken"), ["step-00000149", "step-00000150"]);
}

/// KiB that the files of a folder take on a file system with pages of 4 KiB.
fn kib(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { kib(&path) } else { path.metadata().unwrap().len().div_ceil(4096) * 4 }).sum()
}

/// Bytes needed and free, as a refusal tells them.
fn told(message: &str) -> (u64, u64) {
    let number = |text: &str| text.rsplit(' ').next().unwrap().parse().unwrap();
    let (before, after) = message.split_once(" bytes (").unwrap_or_else(|| panic!("no bytes: {message}"));
    let (between, _) = after.split_once(" bytes (").unwrap_or_else(|| panic!("no bytes free: {message}"));
    (number(before), number(between))
}

#[test]
fn a_run_whose_checkpoints_do_not_fit_is_refused_before_it_writes_anything() {
    let _turn = turn("a_run_whose_checkpoints_do_not_fit_is_refused_before_it_writes_anything");
    let lab = Lab::new();
    let settings = ["engine.steps=60", "checkpoint.every=10", "checkpoint.keep=9"];
    lab.train(1, "pretrain", "whole", &settings).assert_code(0);
    let one = kib(&lab.checkpoints("whole")[0]);
    let rest = kib(&lab.path("whole")) - 6 * one;
    // Room for everything but the checkpoints, and for three and a half of the six.
    let Some(disk) = SmallDisk::mount(lab.path("disk"), rest + one * 7 / 2) else { return };
    for ranks in [1, 2] {
        let outcome = lab.train(ranks, "pretrain", "disk/run", &settings);
        outcome.assert_refused(4, &["no space left", "checkpoint.keep", &lab.path("disk/run").display().to_string()]);
        let (needed, free) = told(&outcome.stderr);
        let truth = 6 * one * 1024;
        assert!(needed > free && needed <= truth && needed > truth / 2, "{needed} of {truth}, {free} free");
        lab.assert_nothing_in("disk/run");
    }
    let fewer = ["engine.steps=60", "checkpoint.every=10", "checkpoint.keep=1"];
    lab.train(2, "pretrain", "disk/run", &fewer).assert_code(0);
    drop(disk);
    // Later stages too.
    let Some(_disk) = SmallDisk::mount(lab.path("small"), 12) else { return };
    let from = format!("finetune --from {}", lab.path("whole").display());
    lab.train(1, &from, "small/run", &["finetune.conditions=4"])
        .assert_refused(4, &["no space left", "small/run/finetune", "embeddings"]);
    lab.assert_nothing_in("small/run");
}

#[test]
fn a_run_whose_disk_fills_up_keeps_its_checkpoint_and_resumes_once_there_is_space() {
    let _turn = turn("a_run_whose_disk_fills_up_keeps_its_checkpoint_and_resumes_once_there_is_space");
    let lab = Lab::new();
    let settings = ["engine.steps=600", "checkpoint.every=100", "checkpoint.keep=9"];
    let whole = hash(&lab, 2, "pretrain", "whole", &settings);
    let one = kib(&lab.checkpoints("whole")[0]);
    let room = kib(&lab.path("whole")) + 2 * one;
    let Some(disk) = SmallDisk::mount(lab.path("disk"), room) else { return };
    let mut running = lab.start(2, "pretrain", "disk/run", &settings);
    lab.wait_for_step(&mut running, "disk/run", 250);
    // Somebody else takes the space: all but half a checkpoint. Logs still fit.
    signal(&running.ranks(), "STOP");
    let taken = room - kib(&lab.path("disk")) - one / 2;
    fs::write(lab.path("disk/ballast"), vec![1; (taken * 1024) as usize]).unwrap();
    signal(&running.ranks(), "CONT");
    let outcome = running.wait(LIMIT);
    outcome.assert_refused(4, &["no space left", &lab.path("disk/run").display().to_string()]);
    let (needed, free) = told(&outcome.stderr);
    assert!(needed > free && needed <= one * 1024, "{needed} needed, {free} free of {one} KiB");
    let step = newest_step(&lab, "disk/run").unwrap();
    assert!(step == 200 || step == 300, "{:?}", names(&lab, "disk/run"));
    let left = names(&lab, "disk/run");
    assert!(left.iter().all(|name| !name.contains("partial")), "{left:?}");
    fs::remove_file(lab.path("disk/ballast")).unwrap();
    disk.resize(room * 4);
    let outcome = lab.train(2, "pretrain --resume", "disk/run", &settings);
    assert_eq!(outcome.json()["parameter_hash"], whole.as_str());
    assert!(outcome.stderr.contains(&format!("resuming after step {step}")), "{}", outcome.stderr);
    assert_eq!(losses(&lab.path("disk/run"), 600), losses(&lab.path("whole"), 600));
    assert_eq!(names(&lab, "disk/run").len(), 6, "{:?}", names(&lab, "disk/run"));
}

#[test]
fn a_folder_that_takes_no_checkpoint_ends_the_run_by_name() {
    let _turn = turn("a_folder_that_takes_no_checkpoint_ends_the_run_by_name");
    let lab = Lab::new();
    let settings = ["engine.steps=500", "checkpoint.every=100"];
    for ranks in [1, 2] {
        let [whole, broken] = ["whole", "broken"].map(|name| format!("{name}-on-{ranks}"));
        let hash_of_whole = hash(&lab, ranks, "pretrain", &whole, &settings);
        let mut running = lab.start(ranks, "pretrain", &broken, &settings);
        lab.wait_for_step(&mut running, &broken, 110);
        // A file in its place stops the superuser too. The ranks stand still while it is put there.
        let processes = running.ranks();
        signal(&processes, "STOP");
        let [folder, aside] = ["checkpoints", "aside"].map(|part| lab.path(&broken).join(part));
        fs::rename(&folder, &aside).unwrap();
        fs::write(&folder, "").unwrap();
        signal(&processes, "CONT");
        let outcome = running.wait(LIMIT);
        outcome.assert_refused(4, &["checkpoint", &folder.display().to_string()]);
        assert_eq!(fs::metadata(&folder).unwrap().len(), 0);
        wait_until_gone(&processes);

        fs::remove_file(&folder).unwrap();
        fs::rename(&aside, &folder).unwrap();
        assert_eq!(hash(&lab, ranks, "pretrain --resume", &broken, &settings), hash_of_whole, "{ranks} ranks");
    }
}

#[test]
fn a_signal_ends_the_run_with_a_checkpoint_of_that_step_and_the_code_that_asks_for_more() {
    let _turn = turn("a_signal_ends_the_run_with_a_checkpoint_of_that_step_and_the_code_that_asks_for_more");
    let lab = Lab::new();
    let settings = ["engine.steps=500", "checkpoint.every=10000"];
    // `mpirun` passes SIGUSR1 on to all ranks.
    for (ranks, name) in [(2, "USR1"), (1, "TERM")] {
        let whole = hash(&lab, ranks, "pretrain", &format!("whole-{name}"), &settings);
        let mut running = lab.start(ranks, "pretrain", name, &settings);
        lab.wait_for_step(&mut running, name, 60);
        signal(&[running.id()], name);
        let outcome = running.wait(LIMIT);
        let step = metrics(&lab.path(name)).len() as u64;
        assert!((60..500).contains(&step), "signalled after the end");
        let folder = format!("step-{step:08}");
        outcome.assert_refused(85, &[&format!("SIG{name} at step {step}: "), &folder, "--resume"]);
        assert_eq!(names(&lab, name), [folder]);
        let resumed = lab.train(ranks, "pretrain --resume", name, &settings);
        assert_eq!(resumed.json()["parameter_hash"], whole.as_str(), "SIG{name}");
        assert!(resumed.stderr.contains(&format!("resuming after step {step}")), "{}", resumed.stderr);
        assert_eq!(losses(&lab.path(name), 500), losses(&lab.path(&format!("whole-{name}")), 500));
    }
}
