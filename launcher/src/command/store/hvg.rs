//! `syncyte store hvg`: the variable genes of the training cells.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use syncyte_sharding::genes::{self, Flavour, GenesError, HvgOptions};
use syncyte_sharding::split::Split;
use syncyte_sharding::store::CellStore;

use crate::answer::Answer;

/// Arguments of `syncyte store hvg`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  syncyte store hvg norman.zarr --split norman-doubles.json --out norman-genes.json\n  \
    syncyte store hvg norman.zarr --split norman-doubles.json --n 2000 --flavour seurat_v3 --out norman-genes.json"
)]
pub(crate) struct Arguments {
    /// Store
    store: PathBuf,
    /// Split whose training cells count
    #[arg(long, value_name = "SPLIT.json")]
    split: PathBuf,
    /// Number of genes; targets of perturbations come on top
    #[arg(long, default_value_t = HvgOptions::default().n)]
    n: usize,
    /// How variability is measured: seurat, seurat_v3 (needs counts) or log-variance
    #[arg(long, default_value_t = HvgOptions::default().flavour, value_parser = parse_flavour)]
    flavour: Flavour,
    /// List of genes to write; one that is there is replaced
    #[arg(long, value_name = "GENES.json")]
    out: PathBuf,
}

fn parse_flavour(text: &str) -> Result<Flavour, String> {
    text.parse().map_err(|error: GenesError| error.to_string())
}

/// Chooses.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let store = CellStore::open(&arguments.store)?;
    let split = Split::load(&arguments.split, &store)?;
    let chosen = genes::hvg(&store, &split, HvgOptions { flavour: arguments.flavour, n: arguments.n })?;
    chosen.save(&arguments.out)?;

    let (total, forced, absent) = (chosen.columns(&split)?.len(), chosen.n_forced(), chosen.absent_targets());
    let (n, flavour, cells) = (arguments.n, arguments.flavour, chosen.fitted_on().cells);
    let mut lines = vec![format!("{}: {total} of {} genes", arguments.out.display(), store.n_genes())];
    lines.push(format!("{n} by {flavour} over {cells} training cells, {forced} more as targets of perturbations"));
    if !absent.is_empty() {
        lines.push(format!("note: {} targets are no gene of the store: {}", absent.len(), absent.join(", ")));
    }
    let json = json!({
        "genes": arguments.out, "flavour": flavour.name(), "n": n, "selected": total, "forced_targets": forced,
        "absent_targets": absent, "cells": cells, "data_hash": store.data_hash(), "split_hash": split.hash(),
    });
    Ok(Answer::new(lines.join("\n"), json))
}
