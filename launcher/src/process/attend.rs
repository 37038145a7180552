//! `launch` while its ranks run: their messages, their progress, and signals to them.
//!
//! Guarantee: a signal that asks for an end reaches ranks that listen as a wish to write a checkpoint, whoever sent it to
//! `launch` and however; ranks that do not listen are ended by `mpirun`. A second interrupt ends everything at once. What
//! a rank says of its end comes last; what `mpirun` adds goes to `RUN/log/mpirun.log`.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use syncyte_fabric::watch::signal;
use syncyte_trainer::task::Progress as _;

use super::words::Words;
use crate::exit::{self, Exit};
use crate::progress::Progress;
use crate::relay::Note;

/// Time between two looks for a signal.
const GLANCE: Duration = Duration::from_millis(50);
/// Ranks that start up say that they listen within this time; a signal waits for that.
const START_UP: Duration = Duration::from_secs(1);
/// Standard error of a process that has ended is read to its end; one that something else holds open is left.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ranks that are looked after.
pub(crate) struct Attended {
    child: Child,
    ranks: usize,
    listening: usize,
    run: Option<PathBuf>,
    words: Words,
    progress: Progress,
    /// When a signal was seen that asked for an end.
    seen: Option<Instant>,
    /// The first such signal, once it was passed on.
    asked: Option<&'static str>,
}

impl Attended {
    /// Looks after `child`, which has become `mpirun` with so many ranks, a piped standard error and a process group of
    /// its own.
    pub(crate) fn new(child: Child, ranks: usize) -> Self {
        let (words, progress) = (Words::default(), Progress::task());
        Self { child, ranks, listening: 0, run: None, words, progress, seen: None, asked: None }
    }

    /// Waits for the end; gives the exit code.
    pub(crate) fn attend(mut self) -> Result<i32> {
        let errors = self.child.stderr.take().context("mpirun has no standard error")?;
        let lines = lines_of(errors);
        let mut ended: Option<Instant> = None;
        loop {
            match lines.recv_timeout(GLANCE) {
                Ok(line) => self.line(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.pass_on();
            let gone = self.child.try_wait().context("cannot wait for mpirun")?.is_some();
            if gone && ended.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                break;
            }
        }
        let status = self.child.wait().context("cannot wait for mpirun")?;
        self.progress.end();
        Ok(self.conclude(status))
    }

    fn line(&mut self, line: String) {
        match Note::read(&line) {
            Some(Note::Listening) => self.listening += 1,
            Some(Note::Run { folder }) => self.run = Some(folder),
            Some(Note::Begin { what, done, total }) => self.progress.begin(&what, done, total),
            Some(Note::Step { done, loss, cells_per_s }) => {
                self.progress.step(done, loss.unwrap_or(f64::NAN), cells_per_s.unwrap_or(f64::NAN));
            }
            Some(Note::End) => self.progress.end(),
            None => {
                let shown: String = self.words.take(line).into_iter().map(|line| line + "\n").collect();
                if !shown.is_empty() {
                    self.progress.aside(|| exit::say(&shown));
                }
            }
        }
    }

    /// Passes on the first signal that asked for an end: to ranks that listen, or that do not say so in time.
    fn pass_on(&mut self) {
        let Some(name) = signal::requested().filter(|_| self.asked.is_none()) else { return };
        let listen = self.listening >= self.ranks;
        if !listen && self.seen.get_or_insert_with(Instant::now).elapsed() < START_UP {
            return;
        }
        self.asked = Some(name);
        // mpirun passes the USR signals on; by the others it ends the ranks.
        let (passed, words) = match (listen, name) {
            (true, "SIGINT") => (
                Signal::USR2,
                "the ranks are asked to end in good order, with a checkpoint where they can; interrupt again to end at once",
            ),
            (true, _) => (Signal::USR1, "the ranks are asked to end in good order, with a checkpoint where they can"),
            (false, "SIGUSR1") => (Signal::USR1, "passed on"),
            (false, "SIGUSR2") => (Signal::USR2, "passed on"),
            (false, "SIGINT") => (Signal::INT, "the ranks are ended"),
            (false, _) => (Signal::TERM, "the ranks are ended"),
        };
        self.progress.aside(|| exit::say(&format!("{name}: {words}\n")));
        // It may have ended in the meantime.
        let _ = kill_process(Pid::from_child(&self.child), passed);
    }

    /// Says what nobody has said yet, and gives the exit code.
    fn conclude(&self, status: ExitStatus) -> i32 {
        let mut code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let kept = self.words.kept();
        let logged = self.run.as_deref().is_some_and(|run| log(run, &kept).is_ok());
        let mut said = String::new();
        if !self.words.explained() {
            let told = self.words.signalled().filter(|_| logged);
            if told.is_none() {
                said.push_str(&kept);
            }
            if code != 0 {
                let why = match (told, self.asked) {
                    (_, Some(name)) => {
                        code = if name == "SIGINT" { 130 } else { 143 };
                        format!("{name} ended the ranks before they could save anything")
                    }
                    (Some((rank, host, signal)), None) => {
                        let memory =
                            if signal.starts_with("9 ") { ", as the system does when memory runs out" } else { "" };
                        format!("rank {rank} on host {host} was ended by signal {signal}{memory}")
                    }
                    (None, None) => format!("the ranks ended with exit code {code}"),
                };
                said = said + "error: " + &why + "\n";
            }
        }
        exit::say(&said);
        // Ranks that came to listen while mpirun was ending them have saved the run all the same.
        if code != 0 && self.asked.is_some() && self.words.saved() { Exit::Requeue.into() } else { code }
    }
}

/// Lines of a pipe as they come. Not all programs write UTF-8.
fn lines_of(errors: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let (mut reader, mut line) = (BufReader::new(errors), Vec::new());
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            if send.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// Adds what `mpirun` said to the logs of a run.
fn log(run: &Path, text: &str) -> std::io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let folder = run.join("log");
    fs::create_dir_all(&folder)?;
    OpenOptions::new().create(true).append(true).open(folder.join("mpirun.log"))?.write_all(text.as_bytes())
}
