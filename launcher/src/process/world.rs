//! The ranks of this run: MPI where it was launched, a world of one otherwise.
//!
//! Guarantee: an error on one rank ends all of them with the exit code it stands for; the others do not wait.

use std::time::Duration;

use anyhow::Result;
use syncyte_trainer::collective::{Collective, Mpi, Solo};

use crate::exit;

/// How long ranks but the first hold an error back: usually all ranks see the same one, and the first says it.
const GRACE: Duration = Duration::from_millis(500);

/// Runs `task` on this rank. Comes back with an error only in a world of one; else an error ends all ranks.
pub(crate) fn on_all_ranks<T>(task: impl FnOnce(&dyn Collective) -> Result<T>) -> Result<T> {
    if !Mpi::launched() {
        return task(&Solo);
    }
    let world = Mpi::start()?;
    let outcome = task(&world);
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => {
            let code = exit::code_of(&error);
            if world.rank() > 0 {
                std::thread::sleep(GRACE);
                // All ranks ended for the same reason, in good order, and the first has said so.
                if code == exit::Exit::Requeue as u8 {
                    world.abort(i32::from(code));
                }
            }
            // A fault that ranks agreed on names its rank already.
            let named = error.to_string().starts_with("rank ");
            let error =
                if world.size() > 1 && !named { error.context(format!("rank {}", world.rank())) } else { error };
            exit::describe_to_stderr(&error);
            world.abort(i32::from(code))
        }
    }
}
