//! Campaigns: many cases in a process of their own, watched from this one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use syncyte_sharding::philox::{Philox, Purpose};

const TARGET: &str = "SYNCYTE_FUZZ_TARGET";
const PROGRESS: &str = "SYNCYTE_FUZZ_PROGRESS";
/// No case may take longer, on a busy machine either.
const CASE: Duration = Duration::from_secs(30);
/// What a campaign may have of memory: far more than its files are worth, far less than sizes in damaged files say.
const MEMORY: u64 = 6 << 30;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs `case` again and again. `test` is the full name of the test that calls this.
pub(crate) fn run(test: &str, mut case: impl FnMut(&mut Philox)) {
    let (seconds, seed) = (setting("SYNCYTE_FUZZ_SECONDS", 2), setting("SYNCYTE_FUZZ_SEED", 1));
    if std::env::var(TARGET).is_ok_and(|target| target == test) {
        return cases(test, Duration::from_secs(seconds), seed, &mut case);
    }
    let folder = tempfile::tempdir().unwrap();
    let progress = folder.path().join("case");
    let output = std::fs::File::create(folder.path().join("output")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .envs([(TARGET, test.as_ref()), (PROGRESS, progress.as_os_str()), ("TMPDIR", folder.path().as_os_str())])
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let mut last = (number(&progress), Instant::now());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        let now = number(&progress);
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > CASE {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = std::fs::read(folder.path().join("output")).unwrap();
    let text = String::from_utf8_lossy(&text);
    let case = number(&progress).map_or("before the first case".into(), |case| format!("in case {case}"));
    let end = match status {
        Some(status) if status.success() => {
            // Past the test harness, which would swallow what a passing test prints.
            let said = text.lines().filter(|line| line.starts_with("campaign ")).collect::<Vec<_>>().join("\n");
            return std::io::Write::write_all(&mut std::io::stderr(), format!("{said}\n").as_bytes()).unwrap();
        }
        Some(status) => format!("ended with {status}"),
        None => format!("took longer than {CASE:?}"),
    };
    let tail: Vec<&str> = text.lines().rev().take(40).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    panic!("{test}, seed {seed}: {end} {case}; its output ends:\n{}", tail.join("\n"));
}

/// The case that a campaign is at.
fn number(progress: &Path) -> Option<u64> {
    std::fs::read_to_string(progress).ok()?.parse().ok()
}

fn cases(test: &str, time: Duration, seed: u64, case: &mut impl FnMut(&mut Philox)) {
    let limit = Rlimit { current: Some(MEMORY), maximum: getrlimit(Resource::As).maximum };
    setrlimit(Resource::As, limit).unwrap();
    let progress = std::env::var_os(PROGRESS).unwrap();
    let alone = std::env::var("SYNCYTE_FUZZ_CASE").ok().map(|text| text.parse::<u64>().unwrap());
    let (began, mut at) = (Instant::now(), alone.unwrap_or(0));
    while began.elapsed() < time {
        std::fs::write(&progress, at.to_string()).unwrap();
        // Case n is the same whatever ran before, so that it can be run alone.
        let mut random = Philox::new(seed, Purpose::Trial, u64::from(crc32c::crc32c(test.as_bytes())), at);
        let now = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| case(&mut random))).is_err() {
            println!("campaign {test}: case {at} panicked");
            std::process::exit(1);
        }
        if now.elapsed() > Duration::from_secs(5) {
            println!("campaign {test}: case {at} took {:?}", now.elapsed());
        }
        at += 1;
        if alone.is_some() {
            break;
        }
    }
    println!("campaign {test}: {at} cases in {:?}, seed {seed}", began.elapsed());
}
