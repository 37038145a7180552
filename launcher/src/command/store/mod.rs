//! `syncyte store`: making, looking at, checking and splitting cell stores, and choosing genes.

mod hvg;
pub(super) mod import;
mod inputs;
mod inspect;
pub(super) mod split;
mod synth;
mod verify;

use anyhow::Result;
use clap::Subcommand;

use crate::answer::Answer;

/// Commands of `syncyte store`.
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Make a cell store from h5ad, AnnData zarr (folder or zip) or 10x mtx
    Import(Box<import::Arguments>),
    /// Make a cell store whose perturbation effects are planted and known
    Synth(synth::Arguments),
    /// Show shape, labels, layout and how well batches will mix
    Inspect(inspect::Arguments),
    /// Decode and check every chunk
    Verify(verify::Arguments),
    /// Freeze which cells train, validate and test
    Split(split::Arguments),
    /// Choose the genes that vary most over the training cells, and all targets
    Hvg(hvg::Arguments),
}

impl StoreCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<Answer> {
        match self {
            Self::Import(arguments) => import::run(*arguments),
            Self::Synth(arguments) => synth::run(&arguments),
            Self::Inspect(arguments) => inspect::run(&arguments),
            Self::Verify(arguments) => verify::run(&arguments),
            Self::Split(arguments) => split::run(&arguments),
            Self::Hvg(arguments) => hvg::run(&arguments),
        }
    }
}
