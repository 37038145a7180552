//! How the threads of the tensor library wait for each other.
//!
//! Guarantee: a thread of libtorch's OpenMP that waits for another one looks for some ten microseconds and then sleeps. By
//! OpenMP's own defaults it keeps its core busy for milliseconds, after every operation: where cores are shared, with
//! other programs, our own pools or loader threads, the thread it waits for is the one that it keeps from running. Sums
//! are the same. What the environment says already is kept.
//!
//! OpenMP reads its variables when a program is loaded, so a process that lacks them starts itself anew, in its place.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

/// How to wait, for GNU's OpenMP (the number of looks, some 50 ns each) and for others.
pub(super) const PATIENT: [(&str, &str); 2] = [("GOMP_SPINCOUNT", "1000"), ("OMP_WAIT_POLICY", "PASSIVE")];

/// Whether the environment says how threads wait.
pub(super) fn is_settled() -> bool {
    PATIENT.iter().any(|(name, _)| std::env::var_os(name).is_some())
}

/// To be called before a command computes on this many threads (0 for all cores), and before it has begun anything.
pub(crate) fn settle(threads: usize) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let alone = threads == 1 || (threads == 0 && cores == 1);
    if alone || is_settled() {
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).envs(PATIENT);
    Err(command.exec()).context("cannot start this program anew")
}
