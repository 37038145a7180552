//! `syncyte pretrain`, `finetune` and `diffuse`: the training commands, on one rank or under `launch`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use syncyte_fabric::collective::Collective;
use syncyte_trainer::config::Config;
use syncyte_trainer::environment;
use syncyte_trainer::shim::open_cuda;
use syncyte_trainer::task::diffuse::diffuse;
use syncyte_trainer::task::evaluate::{Results, evaluate};
use syncyte_trainer::task::finetune::finetune;
use syncyte_trainer::task::pretrain::pretrain;
use syncyte_trainer::task::{self, TrainReport};

use crate::answer::Answer;
use crate::logging;
use crate::process::world::{on_all_ranks, on_listening_ranks};
use crate::process::{interrupt, openmp};
use crate::progress::Progress;

/// Configuration that all training commands take.
#[derive(Args)]
pub(crate) struct ConfigArguments {
    /// Configuration file
    #[arg(long, value_name = "C.toml")]
    config: PathBuf,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArguments {
    /// Sees to it that threads wait asleep. A configuration that cannot be read is told by [`ConfigArguments::load`].
    fn settle(&self) -> Result<()> {
        match Config::load(&self.config, &self.overrides) {
            Ok(config) => openmp::settle(config.engine.n_threads()),
            Err(_) => Ok(()),
        }
    }

    fn load(&self, collective: &dyn Collective) -> Result<Config> {
        let config = Config::load(&self.config, &self.overrides)?;
        logging::to_file(&config.run.dir, collective.rank());
        environment::set_threads(config.engine.n_threads(), collective)?;
        Ok(config)
    }
}

/// Arguments of `syncyte pretrain`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte pretrain --config configs/demo.toml\n  \
    syncyte launch -n 2 -- syncyte pretrain --config configs/demo.toml --set engine.steps=100\n  \
    syncyte pretrain --config configs/demo.toml --resume")]
pub(crate) struct PretrainArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Go on from the newest whole checkpoint of the run
    #[arg(long)]
    resume: bool,
}

/// Arguments of `syncyte finetune` and `syncyte diffuse`.
#[derive(Args)]
pub(crate) struct LaterArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Pretraining checkpoint: a step folder, or a run to take the newest from
    #[arg(long, value_name = "CHECKPOINT")]
    from: PathBuf,
    /// Go on from the newest whole checkpoint of the stage
    #[arg(long)]
    resume: bool,
}

/// Arguments of `syncyte evaluate`.
#[derive(Args)]
#[command(after_help = "Example:\n  syncyte evaluate --config configs/demo.toml\n\n\
    Methods are the baselines and whatever `finetune` and `diffuse` left in the run folder; results go to RUN/results.json.")]
pub(crate) struct EvaluateArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

/// Pretrains.
pub(crate) fn run_pretrain(arguments: &PretrainArguments) -> Result<Answer> {
    arguments.config.settle()?;
    open_cuda();
    on_listening_ranks(|collective| {
        let config = arguments.config.load(collective)?;
        let mut progress = Progress::task();
        let report = pretrain(&config, arguments.resume, env!("SYNCYTE_GIT"), collective, &mut progress)?;
        answer(told("pretrained", &report), &report, collective)
    })
}

/// Fine-tunes both heads.
pub(crate) fn run_finetune(arguments: &LaterArguments) -> Result<Answer> {
    later(arguments, "fine-tuned", finetune)
}

/// Trains latent diffusion.
pub(crate) fn run_diffuse(arguments: &LaterArguments) -> Result<Answer> {
    later(arguments, "trained diffusion for", diffuse)
}

type LaterTask =
    fn(&Config, &Path, bool, &str, &dyn Collective, &mut dyn task::Progress) -> Result<TrainReport, task::TaskError>;

fn later(arguments: &LaterArguments, did: &str, task: LaterTask) -> Result<Answer> {
    arguments.config.settle()?;
    open_cuda();
    on_listening_ranks(|collective| {
        let config = arguments.config.load(collective)?;
        let (mut progress, git) = (Progress::task(), env!("SYNCYTE_GIT"));
        let report = task(&config, &arguments.from, arguments.resume, git, collective, &mut progress)?;
        answer(told(did, &report), &report, collective)
    })
}

/// How a training run ended, for people.
fn told(did: &str, report: &TrainReport) -> String {
    format!(
        "{did} {} steps, loss {:.4}, {:.0} cells/s, {:.1} s\ncheckpoint: {}\nparameters: {}",
        report.step, report.loss, report.cells_per_s, report.seconds, report.checkpoint, report.parameter_hash
    )
}

/// Evaluates; ranks share the conditions.
pub(crate) fn run_evaluate(arguments: &EvaluateArguments) -> Result<Answer> {
    arguments.config.settle()?;
    on_all_ranks(|collective| {
        interrupt::ends("evaluate", "results.json", collective.rank() == 0)?;
        let config = arguments.config.load(collective)?;
        let mut progress = Progress::task();
        let (path, results) = evaluate(&config, env!("SYNCYTE_GIT"), collective, &mut progress)?;
        Ok(if collective.rank() == 0 { evaluated(&config, &path, &results) } else { Answer::silent() })
    })
}

/// What an evaluation answers.
fn evaluated(config: &Config, path: &Path, results: &Results) -> Answer {
    let text = format!(
        "{} methods, {} conditions\nresults: {}\nnext: syncyte report {}",
        results.methods.len(),
        results
            .conditions
            .iter()
            .map(|row| (&row.perturbation, &row.context))
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        path.display(),
        config.run.dir.display()
    );
    Answer::new(text, serde_json::json!({ "results": results.results, "provenance": results.provenance, "file": path }))
}

/// The answer of the first rank; the others stay silent.
fn answer(text: String, report: &impl Serialize, collective: &dyn Collective) -> Result<Answer> {
    if collective.rank() > 0 {
        return Ok(Answer::silent());
    }
    Ok(Answer::new(text, serde_json::to_value(report)?))
}
