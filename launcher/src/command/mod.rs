//! The commands, one file each: arguments, what is called, how the answer reads.

mod bench;
mod demo;
mod doctor;
mod export;
mod launch;
mod report;
mod store;
mod train;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::answer::Answer;

/// Version with the revision the binary was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SYNCYTE_GIT"), ")");

/// Distributed training of joint-embedding predictive models on Perturb-seq, and prediction of perturbation effects.
#[derive(Parser)]
#[command(name = "syncyte", version = VERSION, arg_required_else_help = true)]
#[command(after_help = "Begin with:\n  syncyte demo --out runs/demo\n\n\
    Exit codes: 0 done, 2 bad usage or configuration, 3 bad data, 4 a run failed, 85 checkpointed and asks to be requeued.")]
pub(crate) struct Cli {
    /// Print one JSON object on standard output and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// All commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the whole chain on this machine: store, split, pretrain, finetune, diffuse, evaluate, report
    Demo(Box<demo::Arguments>),
    /// Make, look at, check and split cell stores
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Pretrain a joint-embedding predictive model
    Pretrain(train::PretrainArguments),
    /// Train perturbation heads on a pretrained encoder
    #[command(after_help = "Examples:\n  syncyte finetune --config configs/demo.toml --from runs/demo\n  \
        syncyte finetune --config configs/demo.toml --from runs/demo --resume")]
    Finetune(train::LaterArguments),
    /// Train latent diffusion on a pretrained encoder
    #[command(after_help = "Examples:\n  syncyte diffuse --config configs/demo.toml --from runs/demo\n  \
        syncyte diffuse --config configs/demo.toml --from runs/demo --resume")]
    Diffuse(train::LaterArguments),
    /// Compare baselines and trained models on held-out cells
    Evaluate(train::EvaluateArguments),
    /// Write the report of evaluated runs
    Report(report::Arguments),
    /// Write a pretrained model as a plain folder: config.json, model.safetensors, names, model card
    Export(export::Arguments),
    /// Start N ranks of a command on this machine or over hosts
    Launch(launch::Arguments),
    /// Measure single parts of Syncyte on this machine
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Show what this machine offers, what is missing and how to get it
    Doctor(doctor::Arguments),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<Answer> {
        match self {
            Self::Demo(arguments) => demo::run(*arguments),
            Self::Store(command) => command.run(),
            Self::Pretrain(arguments) => train::run_pretrain(&arguments),
            Self::Finetune(arguments) => train::run_finetune(&arguments),
            Self::Diffuse(arguments) => train::run_diffuse(&arguments),
            Self::Evaluate(arguments) => train::run_evaluate(&arguments),
            Self::Report(arguments) => report::run(&arguments),
            Self::Export(arguments) => export::run(&arguments),
            Self::Launch(arguments) => launch::run(arguments),
            Self::Bench(command) => command.run(),
            Self::Doctor(arguments) => Ok(doctor::run(&arguments)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_well_formed_and_shows_an_example() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        let mut pending: Vec<clap::Command> = cli.get_subcommands().cloned().collect();
        while let Some(command) = pending.pop() {
            // `help` repeats all commands, by name only.
            if command.get_name() == "help" {
                continue;
            }
            pending.extend(command.get_subcommands().cloned());
            if !command.has_subcommands() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("syncyte "), "{} has no example", command.get_name());
            }
        }
    }
}
