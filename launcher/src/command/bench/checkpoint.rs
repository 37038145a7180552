//! `syncyte bench checkpoint`: how long a checkpoint holds training up, and how long it takes to be whole.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use syncyte_trainer::bench::checkpoint::{CheckpointBench, measure};
use syncyte_trainer::config::Config;
use syncyte_trainer::environment;

use crate::answer::Answer;
use crate::process::openmp;
use crate::process::world::on_all_ranks;

/// Arguments of `syncyte bench checkpoint`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  syncyte bench checkpoint --config configs/bench_e1.toml --folder /scratch/bench\n  \
    syncyte launch -n 2 -- syncyte bench checkpoint --config configs/bench_e1.toml --folder /scratch/bench"
)]
pub(crate) struct Arguments {
    /// Configuration file; its store and split are not used
    #[arg(long, value_name = "C.toml")]
    config: PathBuf,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// New folder for the checkpoints, which is removed afterwards; on the disk to measure, seen by all ranks
    #[arg(long)]
    folder: PathBuf,
    /// Genes of a cell
    #[arg(long, default_value_t = 5000)]
    genes: usize,
    /// Target genes that the model knows
    #[arg(long, default_value_t = 231)]
    targets: usize,
    /// Checkpoints to write
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(2..))]
    count: u64,
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    openmp::settle(0)?;
    let bench = CheckpointBench { genes: arguments.genes, targets: arguments.targets, count: arguments.count };
    on_all_ranks(|collective| {
        let mut overrides = arguments.overrides.clone();
        overrides.extend(["data.store=none".into(), "data.split=none".into()]);
        let config = Config::load(&arguments.config, &overrides)?;
        environment::set_threads(config.engine.n_threads(), collective)?;
        let report = measure(&config, &bench, &arguments.folder, collective)?;
        if collective.rank() > 0 {
            return Ok(Answer::silent());
        }
        let text = format!(
            "{} ranks, {} parameters, {:.0} MB\ntraining stands still for {:.1} ms (first {:.1} ms), and for {:.1} ms to \
             compare ranks\nwhole after {:.0} ms, {:.0} MB/s",
            report.ranks,
            report.parameters,
            report.bytes as f64 / 1e6,
            report.stall_ms_median,
            report.stall_ms_first,
            report.compare_ms_median,
            report.whole_ms_median,
            report.bytes as f64 / 1e3 / report.whole_ms_median,
        );
        Ok(Answer::new(text, serde_json::to_value(report)?))
    })
}
