//! `syncyte launch`: N ranks of a command.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::answer::Answer;
use crate::process::hosts::Hosts;
use crate::process::launch::Launch;

/// Arguments of `syncyte launch`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte launch -n 2 -- syncyte pretrain --config configs/demo.toml\n  \
    syncyte launch -n 16 --hosts hosts.txt -- syncyte pretrain --config run.toml\n\n\
    A host file has one machine a line: `name slots=8`. When a rank dies, all end; the exit code is the command's.\n\
    Ctrl-C asks training ranks to write a checkpoint and end with exit code 85; a second one ends them at once.\n\
    What mpirun itself says of a failed run is in RUN/log/mpirun.log.")]
pub(crate) struct Arguments {
    /// Number of ranks
    #[arg(short = 'n', long = "ranks", value_parser = clap::value_parser!(u32).range(1..))]
    ranks: u32,
    /// Machines to run on; this one if not given
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Command and its arguments; `syncyte` is this very binary
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the ranks; their exit code becomes that of this process.
pub(crate) fn run(arguments: Arguments) -> Result<Answer> {
    let hosts = arguments.hosts.as_deref().map(Hosts::read).transpose()?;
    let code = Launch { ranks: arguments.ranks as usize, hosts, command: arguments.command }.run()?;
    // Any code that a command may have, not only ours.
    std::process::exit(code)
}
