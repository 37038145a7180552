//! `syncyte bench`: measurements of single parts, to be compared side by side in one sitting.

mod checkpoint;
mod loader;
mod step;

use anyhow::Result;
use clap::Subcommand;

use crate::answer::Answer;

/// Commands of `syncyte bench`.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Cells a second that the loader delivers in shuffled batches
    Loader(loader::Arguments),
    /// Time of an optimizer step on made-up cells
    Step(step::Arguments),
    /// Time that a checkpoint takes from training, and until it is whole
    Checkpoint(checkpoint::Arguments),
}

impl BenchCommand {
    /// Runs the measurement.
    pub(crate) fn run(self) -> Result<Answer> {
        match self {
            Self::Loader(arguments) => loader::run(&arguments),
            Self::Step(arguments) => step::run(&arguments),
            Self::Checkpoint(arguments) => checkpoint::run(&arguments),
        }
    }
}
