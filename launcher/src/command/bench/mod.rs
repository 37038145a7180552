//! `syncyte bench`: measurements of single parts, to be compared side by side in one sitting.

mod allreduce;
mod checkpoint;
mod kernels;
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
    /// Time of an all-reduce by size
    Allreduce(allreduce::Arguments),
    /// Time of the optimizer's passes over memory, or of all kernels on a GPU
    Kernels(kernels::Arguments),
    /// Time that a checkpoint takes from training, and until it is whole
    Checkpoint(checkpoint::Arguments),
}

impl BenchCommand {
    /// Runs the measurement.
    pub(crate) fn run(self) -> Result<Answer> {
        match self {
            Self::Loader(arguments) => loader::run(&arguments),
            Self::Step(arguments) => step::run(&arguments),
            Self::Allreduce(arguments) => allreduce::run(&arguments),
            Self::Kernels(arguments) => kernels::run(&arguments),
            Self::Checkpoint(arguments) => checkpoint::run(&arguments),
        }
    }
}
