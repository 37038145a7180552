//! Logs and panics: both go to standard error, logs to a file of the rank too, so that standard output holds answers only.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use syncyte_fabric::guard::OWN_LOG;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::exit::{self, Exit};
use crate::relay::{Note, Wanted};

/// Our own crates tell what they do; libraries only warn. `RUST_LOG` overrides.
const DEFAULT_FILTER: &str = "warn,syncyte=info";
/// Ranks but the first repeat what the first says, so they only warn.
const OTHER_RANK_FILTER: &str = "warn";

/// The log file of this rank, once the run folder is known.
static RANK_LOG: OnceLock<File> = OnceLock::new();

/// Standard error, and the log file of the rank once there is one.
struct Tee;

/// Where one message goes.
struct Sink {
    /// Whether it is for the log file alone.
    quiet: bool,
}

impl<'a> MakeWriter<'a> for Tee {
    type Writer = Sink;

    fn make_writer(&'a self) -> Sink {
        Sink { quiet: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Sink {
        Sink { quiet: metadata.target() == OWN_LOG }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(mut file) = RANK_LOG.get() {
            file.write_all(bytes)?;
        }
        if !self.quiet {
            std::io::stderr().write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// From now on logs also go to `RUN/log/rank-R.log`. Without that file they still go to standard error.
pub(crate) fn to_file(run: &Path, rank: usize) {
    let folder = run.join("log");
    let open = || {
        fs::create_dir_all(&folder)?;
        OpenOptions::new().create(true).append(true).open(folder.join(format!("rank-{rank}.log")))
    };
    match open() {
        // A second configuration in one process keeps the first file.
        Ok(file) => {
            drop(RANK_LOG.set(file));
            if rank == 0 && Wanted::of_this_process().is_some() {
                Note::Run { folder: run.to_owned() }.send();
            }
        }
        Err(error) => tracing::warn!("no log file in {}: {error}", folder.display()),
    }
}

/// Sets up logs and the panic hook of the process.
pub(crate) fn install() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(if is_first_rank() { DEFAULT_FILTER } else { OTHER_RANK_FILTER }));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Tee)
        // The same bytes go to the log file of the rank, where colour codes would be noise.
        .with_ansi(false)
        .with_target(false)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        let trace = if trace.status() == BacktraceStatus::Captured { format!("{trace}\n") } else { String::new() };
        exit::say(&format!("error: internal error, please report it with what you ran\n  caused by: {panic}\n{trace}"));
        // A thread that dies silently leaves its process, and with it all other ranks, waiting for ever.
        std::process::exit(Exit::Failed.into());
    }));
}

/// Whether this process is the first rank of a run, or its only one.
pub(crate) fn is_first_rank() -> bool {
    ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .is_none_or(|rank| rank == "0")
}
