//! The `syncyte` command: parses arguments, runs one command, prints its answer, turns errors into exit codes.

mod answer;
mod command;
mod exit;
mod logging;
mod machine;
mod process;
mod progress;
mod relay;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    logging::install();
    let cli = command::Cli::parse();
    let outcome = process::leash::follow().map_err(anyhow::Error::from).and_then(|()| cli.command.run());
    match outcome {
        Ok(answer) => answer.print(cli.json),
        Err(error) => exit::report(&error),
    }
}
