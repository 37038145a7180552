//! Runs of the program: output, exit code, time limit.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary;

/// After this a run counts as hung.
pub(crate) const LIMIT: Duration = Duration::from_mins(4);
/// Time between two looks at a run.
pub(crate) const GLANCE: Duration = Duration::from_millis(5);

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A run in progress. Dropping it ends it with all of its children.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: TempDir,
    ended: bool,
}

/// Starts `syncyte` with these words.
///
/// # Panics
/// When it cannot be started.
pub fn start<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Running {
    start_in(&[], words)
}

/// As [`start`], with further variables in its environment.
///
/// # Panics
/// When it cannot be started.
pub fn start_in<S: AsRef<OsStr>>(environment: &[(&str, &str)], words: impl IntoIterator<Item = S>) -> Running {
    let mut command = Command::new(binary());
    command.args(words).env_remove("RUST_LOG").env_remove("OMP_NUM_THREADS").envs(environment.iter().copied());
    Running::of(command)
}

/// Runs `syncyte` with these words to its end.
pub fn run<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Outcome {
    start(words).wait(LIMIT)
}

impl Running {
    /// Starts a command in a process group of its own, so that all of it can be ended together.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(crate) fn of(mut command: Command) -> Self {
        let output = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| File::create(output.path().join(name)).expect("a file for output");
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, output, ended: false }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What a terminal does on Ctrl-C: an interrupt to all of its process group.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn interrupt(&self) {
        let group = format!("-{}", self.child.id());
        let status = Command::new("kill").args(["-INT", "--", &group]).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot interrupt {group}");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        !self.ended && self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits for its end, or until it counts as hung.
    ///
    /// # Panics
    /// When it hangs.
    pub fn to_end(self) -> Outcome {
        self.wait(LIMIT)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended after `limit`.
    pub fn wait(mut self, limit: Duration) -> Outcome {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a process to wait for") {
                break status;
            }
            assert!(began.elapsed() < limit, "still running after {limit:?}: {}", self.text("stderr"));
            std::thread::sleep(GLANCE);
        };
        self.ended = true;
        Outcome { code: status.code(), stdout: self.text("stdout"), stderr: self.text("stderr") }
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.text("stderr")
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // `mpirun` gives each rank a group of its own, and one that is stopped would not see it end.
            let ranks = self.ranks().into_iter().map(|id| id.to_string());
            let group = format!("-{}", self.child.id());
            // A test that fails has said why already; what cannot be ended here is no second failure.
            Command::new("kill").args(["-9", "--", &group]).args(ranks).status().ok();
            self.child.wait().ok();
        }
    }
}

impl Outcome {
    /// Asserts success and gives the JSON object on the last line of standard output.
    ///
    /// # Panics
    /// When the run failed or answered no JSON.
    pub fn json(&self) -> Value {
        self.assert_code(0);
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("no JSON answer ({error}): {self:?}"))
    }

    /// Asserts the exit code.
    ///
    /// # Panics
    /// When it is another one.
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
    }

    /// Asserts a failure with this code whose message on standard error has all of `parts`.
    ///
    /// # Panics
    /// When the code or the message is another one.
    pub fn assert_refused(&self, code: i32, parts: &[&str]) {
        self.assert_code(code);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in the message:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("internal error"), "{}", self.stderr);
    }
}
