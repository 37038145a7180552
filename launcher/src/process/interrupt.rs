//! Ending commands that have nothing to save before their end.
//!
//! Guarantee: a signal ends them at once with a sentence. What they write is written beside its place and renamed, so what
//! was there before stays whole.

use std::time::Duration;

use anyhow::{Context, Result};
use syncyte_fabric::watch::signal;

use crate::exit::{self, Exit};

/// Time between two looks for a signal.
const GLANCE: Duration = Duration::from_millis(50);

/// From now on a signal that asks for an end ends this process, which is doing `what` and would leave `result`; it says so
/// where it `speaks` for all ranks.
pub(crate) fn ends(what: &'static str, result: &'static str, speaks: bool) -> Result<()> {
    signal::install().context("cannot listen to signals")?;
    let watch = move || {
        loop {
            if let Some(name) = signal::requested() {
                if speaks {
                    exit::say(&format!("error: {name} ended `{what}`; {result} is as it was before: start it again\n"));
                }
                std::process::exit(Exit::Failed.into());
            }
            std::thread::sleep(GLANCE);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).context("cannot listen to signals")?;
    Ok(())
}
