//! Turns: tests that fill the machine run one at a time, and every test says what it took.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

static MACHINE: Mutex<()> = Mutex::new(());

/// The machine for one test. When it ends, its duration is printed.
#[derive(Debug)]
pub struct Turn {
    name: &'static str,
    began: Instant,
    _machine: MutexGuard<'static, ()>,
}

/// Waits for the machine. A test that failed before does not keep it.
pub fn turn(name: &'static str) -> Turn {
    let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    Turn { name, began: Instant::now(), _machine: machine }
}

/// Says that a test, or a part of it, was left out, and why.
pub fn skip(reason: &str) {
    say(&format!("skipped: {reason}"));
}

impl Drop for Turn {
    fn drop(&mut self) {
        say(&format!("{:6.1} s  {}", self.began.elapsed().as_secs_f64(), self.name));
    }
}

/// Past the test harness, which would swallow what a passing test prints.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}
