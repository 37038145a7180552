//! One stage of the demo: a process of this binary whose answer is read and whose log is watched.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use syncyte_trainer::task::Progress as _;

use crate::exit::Ended;
use crate::process::leash;
use crate::progress::Progress;

/// How often the log is looked at.
const GLANCE: Duration = Duration::from_millis(300);

/// A stage to run.
pub(crate) struct Stage {
    /// Its name.
    pub(crate) name: &'static str,
    /// Command line after `syncyte --json`.
    pub(crate) words: Vec<OsString>,
    /// Log to draw progress from, where the stage cannot draw itself.
    pub(crate) log: Option<StageLog>,
}

/// A log that a stage writes.
pub(crate) struct StageLog {
    /// One JSON object a step.
    pub(crate) path: PathBuf,
    /// Steps there will be.
    pub(crate) steps: u64,
}

/// A stage that succeeded.
pub(crate) struct Done {
    /// What it answered.
    pub(crate) answer: Value,
    /// What it took.
    pub(crate) seconds: f64,
}

impl Stage {
    /// Runs the stage. Its messages go to standard error; its exit code, if bad, becomes ours.
    pub(crate) fn run(self) -> Result<Done> {
        let started = Instant::now();
        eprintln!("── {}", self.name);
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let mut command = Command::new(program);
        command.arg("--json").args(&self.words).stdin(Stdio::null()).stdout(Stdio::piped());
        leash::tie(&mut command);
        let mut child = command.spawn().with_context(|| format!("cannot start the stage {}", self.name))?;
        let output = child.stdout.take().context("the stage has no output")?;
        // A thread of its own: the stage must never wait for us to read.
        let (send, answers) = channel();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            let read = BufReader::new(output).read_to_string(&mut text);
            // The receiver is gone only when the stage has failed already.
            send.send(()).ok();
            read.map(|_| text)
        });
        self.watch(&answers);
        let text = reader.join().unwrap_or_else(|_| Ok(String::new())).context("cannot read the stage's answer")?;
        self.check(&mut child)?;
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("   {seconds:.1} s");
        Ok(Done { answer: self.answer(&text)?, seconds })
    }

    fn check(&self, child: &mut Child) -> Result<()> {
        let status = child.wait().context("cannot wait for the stage")?;
        if status.success() {
            return Ok(());
        }
        Err(Ended { what: format!("the stage {}", self.name), code: status.code() }.into())
    }

    /// The JSON object on the last line: a library may have printed before it.
    fn answer(&self, text: &str) -> Result<Value> {
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("the stage {} gave no answer but '{last}'", self.name))
    }

    /// Draws progress until the stage has closed its output.
    fn watch(&self, closed: &Receiver<()>) {
        let mut follower = self.log.as_ref().map(|log| Follower::new(log.path.clone()));
        let mut progress = Progress::task();
        let mut begun = false;
        while closed.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
            let (Some(follower), Some(log)) = (&mut follower, &self.log) else { continue };
            for line in follower.lines() {
                let number = |key: &str| line.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
                let step = line.get("step").and_then(Value::as_u64).unwrap_or(0);
                if !begun {
                    progress.begin(self.name, 0, log.steps);
                    begun = true;
                }
                progress.step(step, number("loss"), number("cells_per_s"));
            }
        }
        progress.end();
    }
}

/// Reads the lines that are added to a file which may not exist yet.
struct Follower {
    path: PathBuf,
    at: u64,
}

impl Follower {
    fn new(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// The whole lines added since the last call. Progress is a courtesy, so what cannot be read is left out.
    fn lines(&mut self) -> Vec<Value> {
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        if file.seek(SeekFrom::Start(self.at)).is_err() {
            return Vec::new();
        }
        let mut reader = BufReader::new(file);
        let (mut lines, mut line) = (Vec::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            self.at += line.len() as u64;
            lines.extend(serde_json::from_str(&line));
            line.clear();
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn stage() -> Stage {
        Stage { name: "pretrain", words: Vec::new(), log: None }
    }

    #[test]
    fn the_answer_is_the_last_line() {
        assert_eq!(stage().answer("library noise\n{\"a\":1}\n\n").unwrap(), json!({ "a": 1 }));
        assert!(stage().answer("").is_err());
    }

    #[test]
    fn a_log_is_followed_by_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut follower = Follower::new(path.clone());
        assert!(follower.lines().is_empty());
        let mut file = File::create(&path).unwrap();
        write!(file, "{{\"step\":1}}\n{{\"st").unwrap();
        assert_eq!(follower.lines(), [json!({ "step": 1 })]);
        assert!(follower.lines().is_empty());
        writeln!(file, "ep\":2}}").unwrap();
        assert_eq!(follower.lines(), [json!({ "step": 2 })]);
    }
}
