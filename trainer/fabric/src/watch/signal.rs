//! Signals that ask a run to end: `SIGTERM`, `SIGUSR1`, `SIGUSR2` (what a batch system sends ahead of its time limit)
//! and `SIGINT`.
//!
//! Guarantee: a handler stores one number and does nothing else; the run looks for it between steps. All ranks must
//! agree on the answer before they act on it. A second `SIGINT` ends the process at once with exit code 130.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

/// What a shell reports of a process that SIGINT ended: 128 + 2.
const INTERRUPTED: i32 = 130;
const SIGNALS: [(i32, &str); 4] =
    [(SIGTERM, "SIGTERM"), (SIGUSR1, "SIGUSR1"), (SIGUSR2, "SIGUSR2"), (SIGINT, "SIGINT")];

/// Place of the last signal in [`SIGNALS`], from 1.
static LAST: AtomicUsize = AtomicUsize::new(0);
static INTERRUPT: AtomicBool = AtomicBool::new(false);
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// Whether SIGUSR2 stands for an interrupt.
static INTERRUPT_IS_PASSED_ON: AtomicBool = AtomicBool::new(false);

/// Sets the handlers, for the rest of the process. Calling it again changes nothing that can be seen.
///
/// # Errors
/// When the system refuses a handler.
pub fn install() -> std::io::Result<()> {
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    // In this order, or the first SIGINT would find the flag that it sets itself.
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED, &INTERRUPT)?;
    flag::register(SIGINT, &INTERRUPT)?;
    for (place, (signal, _)) in SIGNALS.into_iter().enumerate() {
        flag::register_usize(signal, &LAST, place + 1)?;
    }
    Ok(())
}

/// From now on SIGUSR2 is called SIGINT: whoever started this process passes an interrupt on so, because `mpirun` takes
/// one for a wish to end all ranks at once.
pub fn name_passed_on_interrupts() {
    INTERRUPT_IS_PASSED_ON.store(true, Ordering::SeqCst);
}

/// Name of the last signal that asked for an end; nothing when none did since [`install`].
pub fn requested() -> Option<&'static str> {
    let place = LAST.load(Ordering::SeqCst).checked_sub(1)?;
    let (signal, name) = SIGNALS.get(place)?;
    let passed_on = *signal == SIGUSR2 && INTERRUPT_IS_PASSED_ON.load(Ordering::SeqCst);
    Some(if passed_on { "SIGINT" } else { name })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use signal_hook::low_level::raise;

    use super::*;

    /// Exit code of a test that ran to its end in a process of its own; that of a process with no such test is 0.
    const DONE: i32 = 42;

    /// Runs the named test again in a process of its own, where signals harm nobody, and gives its exit code.
    fn apart(test: &str) -> Option<i32> {
        let this = std::env::current_exe().unwrap();
        let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
        Command::new(this).args(["--exact", &name]).env("WATCH_SIGNAL_TEST", test).status().unwrap().code()
    }

    fn is_apart(test: &str) -> bool {
        std::env::var("WATCH_SIGNAL_TEST").is_ok_and(|name| name == test)
    }

    #[test]
    fn each_signal_is_told_by_name_and_ends_nothing() {
        let name = "each_signal_is_told_by_name_and_ends_nothing";
        if !is_apart(name) {
            assert_eq!(apart(name), Some(DONE));
            return;
        }
        install().unwrap();
        install().unwrap();
        assert_eq!(requested(), None);
        for (signal, name) in SIGNALS {
            raise(signal).unwrap();
            assert_eq!(requested(), Some(name));
        }
        raise(SIGTERM).unwrap();
        assert_eq!(requested(), Some("SIGTERM"));
        name_passed_on_interrupts();
        raise(SIGUSR2).unwrap();
        assert_eq!(requested(), Some("SIGINT"));
        std::process::exit(DONE);
    }

    #[test]
    fn a_second_interrupt_ends_the_process() {
        let name = "a_second_interrupt_ends_the_process";
        if !is_apart(name) {
            assert_eq!(apart(name), Some(INTERRUPTED));
            return;
        }
        install().unwrap();
        install().unwrap();
        raise(SIGINT).unwrap();
        assert_eq!(requested(), Some("SIGINT"));
        raise(SIGINT).unwrap();
        std::process::exit(DONE);
    }
}
