//! `syncyte bench step`: time of an optimizer step.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use syncyte_trainer::bench::step::{StepBench, measure};
use syncyte_trainer::config::Config;
use syncyte_trainer::environment;
use syncyte_trainer::shim::open_cuda;

use crate::answer::Answer;
use crate::process::openmp;
use crate::process::world::on_all_ranks;

/// Arguments of `syncyte bench step`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte bench step --config configs/bench_e1.toml\n  \
    syncyte launch -n 2 -- syncyte bench step --config configs/bench_e1.toml --set engine.precision=bf16")]
pub(crate) struct Arguments {
    /// Configuration file; its store and split are not used
    #[arg(long, value_name = "C.toml")]
    config: PathBuf,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Cells of each rank's batch (pairs of control and perturbed cell)
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Genes of a cell
    #[arg(long, default_value_t = 5000)]
    genes: usize,
    /// Target genes that the model knows
    #[arg(long, default_value_t = 231)]
    targets: usize,
    /// Steps to time
    #[arg(long, default_value_t = 10)]
    steps: u64,
    /// Steps before
    #[arg(long, default_value_t = 3)]
    warmup: u64,
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    openmp::settle(0)?;
    let bench = StepBench {
        batch: arguments.batch,
        genes: arguments.genes,
        targets: arguments.targets,
        steps: arguments.steps,
        warmup: arguments.warmup,
    };
    open_cuda();
    on_all_ranks(|collective| {
        let mut overrides = arguments.overrides.clone();
        // The cells are made up, so nothing is opened; the batch is that of all ranks.
        overrides.extend(["data.store=none".into(), "data.split=none".into(), "data.streams=1".into()]);
        overrides.push(format!("data.batch_size={}", arguments.batch * collective.size()));
        let config = Config::load(&arguments.config, &overrides)?;
        environment::set_threads(config.engine.n_threads(), collective)?;
        let report = measure(&config, &bench, collective)?;
        if collective.rank() > 0 {
            return Ok(Answer::silent());
        }
        let phases: Vec<String> =
            report.phases_ms.iter().map(|(phase, ms)| format!("  {phase:<22}{ms:9.1} ms")).collect();
        let text = format!(
            "{} ranks, {} threads each, on {}, {}, {} parameters\nstep: median {:.1} ms, p95 {:.1} ms, {:.1} cells/s\n{}",
            report.ranks,
            report.threads,
            report.device,
            report.precision,
            report.parameters,
            report.step_ms_median,
            report.step_ms_p95,
            report.cells_per_s,
            phases.join("\n")
        );
        Ok(Answer::new(text, serde_json::to_value(report)?))
    })
}
