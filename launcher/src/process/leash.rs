//! Processes that must not outlive the one that started them.
//!
//! Guarantee: when a process that tied children to itself ends, however it ends, each of them gets SIGTERM. Where a
//! child has become `mpirun`, that ends the ranks too.

use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Holds the id of the parent to follow.
pub(super) const PARENT: &str = "SYNCYTE_FOLLOW_PARENT";

/// Makes a command of this binary follow this process.
pub(crate) fn tie(command: &mut Command) {
    command.env(PARENT, getpid().to_string());
}

/// Keeps the tie from being handed on: the processes of `command` have other parents.
pub(crate) fn untie(command: &mut Command) {
    command.env_remove(PARENT);
}

/// Whether this process follows another one of ours.
pub(crate) fn is_tied() -> bool {
    std::env::var_os(PARENT).is_some()
}

/// To be called first thing: follows the parent if it asked for it.
pub(crate) fn follow() -> std::io::Result<()> {
    let Ok(parent) = std::env::var(PARENT) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // The parent may have ended before we were listening.
    if getppid().is_none_or(|found| found.to_string() != parent) {
        return Err(std::io::Error::other("the process that started this one has ended"));
    }
    Ok(())
}
