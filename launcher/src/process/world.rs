//! The ranks of this run: MPI where it was launched, a world of one otherwise.
//!
//! Guarantee: an error on one rank ends all of them with the exit code it stands for; the others do not wait.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use syncyte_fabric::collective::{Collective, Mpi, Solo};
use syncyte_fabric::watch::signal;
use syncyte_trainer::task::TaskError;

use super::singletons;
use crate::exit;
use crate::relay::{Note, Wanted};

/// How long ranks but the first hold an error back: usually all ranks see the same one, the first says it, and `mpirun`
/// ends the others, by SIGTERM to begin with.
const GRACE: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(10);

/// As [`on_all_ranks`], for a task that looks for signals that ask it to end: from here on none of them ends the process.
pub(crate) fn on_listening_ranks<T>(task: impl FnOnce(&dyn Collective) -> Result<T>) -> Result<T> {
    signal::install().context("cannot listen to signals")?;
    if Wanted::of_this_process().is_some() {
        signal::name_passed_on_interrupts();
        Note::Listening.send();
    }
    on_all_ranks(task)
}

/// Runs `task` on this rank. Comes back with an error only in a world of one; else an error ends all ranks.
pub(crate) fn on_all_ranks<T>(task: impl FnOnce(&dyn Collective) -> Result<T>) -> Result<T> {
    let variable = |name: &str| std::env::var(name).ok();
    if !Mpi::launched() {
        singletons::refuse(1, variable)?;
        return task(&Solo);
    }
    let world = Mpi::start()?;
    singletons::refuse(world.size(), variable)?;
    let outcome = task(&world);
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => {
            let code = exit::code_of(&error);
            let agreed = is_agreed(&error);
            if world.rank() > 0 && (others_have_said_it() || agreed) {
                world.abort(i32::from(code));
            }
            // A fault that ranks agreed on names its rank already.
            let named = agreed || error.to_string().starts_with("rank ");
            let error =
                if world.size() > 1 && !named { error.context(format!("rank {}", world.rank())) } else { error };
            exit::describe_to_stderr(&error);
            world.abort(i32::from(code))
        }
    }
}

/// Whether all ranks end for this reason, in good order, and the first says so.
fn is_agreed(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(TaskError::Interrupted { .. } | TaskError::Stopped { .. }))
}

/// Waits for a moment; whether `mpirun` has begun to end this rank meanwhile, because another one has ended.
fn others_have_said_it() -> bool {
    let began = Instant::now();
    while began.elapsed() < GRACE {
        if signal::requested() == Some("SIGTERM") {
            return true;
        }
        std::thread::sleep(GLANCE);
    }
    false
}
