//! `syncyte store synth`: a store with planted effects.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use syncyte_sharding::synth::{self, Preset, SynthConfig, SynthError, World};

use crate::answer::Answer;
use crate::progress::Progress;

/// Arguments of `syncyte store synth`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte store synth demo.zarr --preset demo\n  \
    syncyte store synth small.zarr --preset demo --cells 5000 --perturbations 30 --seed 7\n  \
    syncyte store synth lines.zarr --preset medium --world W5 --set contexts=3\n  \
    syncyte store synth doses.zarr --preset medium --set course.doses=[0.1,1,10] --set protein.count=30\n  \
    syncyte store synth untold.zarr --preset medium --set coexpression=0 --set graph.recall=0 \
    --set screen.coverage=0\n\n\
    docs/planted-data.md lists the worlds, the presets and the settings.")]
pub(crate) struct Arguments {
    /// Store to make
    #[arg(value_name = "OUT.zarr")]
    out: PathBuf,
    /// Sizes and strengths to start from: demo (20,000 cells × 2,000 genes), medium (60,000 × 2,000) or replogle
    /// (2,500,000 × 8,192)
    #[arg(long, default_value = "demo", value_parser = parse::<Preset>)]
    preset: Preset,
    /// W0: nothing to learn; W1: linear-Gaussian; W2: counts with interactions; W3: and guides and cell cycle; W4:
    /// and a gene network; W5: and effects that differ between lines. If not given, that of the preset: W2 for demo,
    /// W4 for medium, W5 for replogle
    #[arg(long, value_parser = parse::<World>)]
    world: Option<World>,
    /// Number of cells
    #[arg(long)]
    cells: Option<usize>,
    /// Number of genes
    #[arg(long)]
    genes: Option<usize>,
    /// Number of perturbations, singles and doubles together
    #[arg(long)]
    perturbations: Option<usize>,
    /// Seed of every draw
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Set any field of the generator's configuration, that of a section with a dot; VALUE is JSON. May be repeated;
    /// goes before the other options
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Generates.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let config = config(arguments)?;
    let progress = Progress::cells("generating", config.cells as u64);
    let store = synth::write_store(&arguments.out, &config, |cells| progress.at(cells as u64))?;
    progress.finish();
    let (cells, genes, perturbations) = (store.n_cells(), store.n_genes(), config.perturbations());
    let path = arguments.out.display();
    Ok(Answer::new(
        format!("{path}: {cells} cells × {genes} genes, {perturbations} planted perturbations ({})", config.world),
        json!({
            "store": arguments.out, "cells": cells, "genes": genes, "nnz": store.nnz(),
            "perturbations": perturbations, "world": config.world, "seed": config.seed, "data_hash": store.data_hash(),
        }),
    ))
}

fn config(arguments: &Arguments) -> Result<SynthConfig, SynthError> {
    let world = arguments.world.unwrap_or(arguments.preset.world());
    let mut config = SynthConfig::preset(arguments.preset, world, arguments.seed);
    config.cells = arguments.cells.unwrap_or(config.cells);
    config.genes = arguments.genes.unwrap_or(config.genes);
    if let Some(total) = arguments.perturbations {
        config = config.with_perturbations(total);
    }
    arguments.settings.iter().try_fold(config, |config, setting| config.with_setting(setting))
}
