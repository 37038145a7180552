//! Logs and panics: both go to standard error, so that standard output holds answers only.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::exit::Exit;

/// Our own crates tell what they do; libraries only warn. `RUST_LOG` overrides.
const DEFAULT_FILTER: &str = "warn,syncyte=info";
/// Ranks but the first repeat what the first says, so they only warn.
const OTHER_RANK_FILTER: &str = "warn";

/// Sets up logs and the panic hook of the process.
pub(crate) fn install() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(if is_first_rank() { DEFAULT_FILTER } else { OTHER_RANK_FILTER }));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error: internal error, please report it with what you ran\n  caused by: {panic}");
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            eprintln!("{trace}");
        }
        // A thread that dies silently leaves its process, and with it all other ranks, waiting for ever.
        std::process::exit(Exit::Failed.into());
    }));
}

fn is_first_rank() -> bool {
    ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .is_none_or(|rank| rank == "0")
}
