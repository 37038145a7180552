//! `syncyte store inspect`: what a store holds and how well it will mix.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use syncyte_sharding::mixing;
use syncyte_sharding::order::OrderConfig;
use syncyte_sharding::store::CellStore;

use crate::answer::Answer;

/// Below this share of a random batch's entropy, training notices (1 % is the rule of thumb for loaders).
const WELL_MIXED: f64 = 0.99;

/// Arguments of `syncyte store inspect`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte store inspect norman.zarr\n  syncyte store inspect norman.zarr --json")]
pub(crate) struct Arguments {
    /// Store
    store: PathBuf,
    /// Cells of a global batch, for the prediction of mixing
    #[arg(long, default_value_t = 256)]
    batch_size: usize,
    /// Virtual streams of the order
    #[arg(long, default_value_t = 64)]
    streams: usize,
    /// Blocks that a stream shuffles together
    #[arg(long, default_value_t = 4)]
    window_blocks: usize,
}

/// Looks at a store.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let store = CellStore::open(&arguments.store)?;
    let labels = store.labels();
    let controls = (0..labels.n_cells()).filter(|&cell| labels.is_control(cell)).count();
    let perturbations = labels.perturbations.iter().filter(|perturbation| !perturbation.is_control()).count();
    let files = Files::below(&arguments.store)?;
    let run_length = mixing::median_run_length(&labels.perturbation);
    let order = OrderConfig {
        seed: 0,
        streams: arguments.streams,
        block_rows: store.chunk_rows(),
        window_blocks: arguments.window_blocks,
        batch: arguments.batch_size,
    };
    let ratio = match mixing::entropy_ratio(&labels.perturbation, &order) {
        Ok(ratio) => Some(ratio),
        // A store of less than one batch is whole all the same.
        Err(syncyte_sharding::order::OrderError::TooFewRows { .. }) => None,
        Err(error) => return Err(crate::exit::usage(error.to_string())),
    };
    let layers = store.layers()?;
    let json = json!({
        "store": arguments.store, "cells": store.n_cells(), "genes": store.n_genes(), "nnz": store.nnz(),
        "perturbations": perturbations, "controls": controls, "contexts": labels.contexts, "batches": labels.batches,
        "layers": layers, "obsm": store.obsm_names()?, "values": store.info().value_kind,
        "chunk_rows": store.chunk_rows(), "shard_bytes": files.largest, "bytes": files.total,
        "label_run_length_median": run_length, "predicted_entropy_ratio": ratio, "data_hash": store.data_hash(),
        "synthetic": store.info().synthetic.is_some(),
    });
    let mut lines = vec![
        format!("{}: {} cells × {} genes, {} stored values", arguments.store.display(), store.n_cells(), store.n_genes(), store.nnz()),
        format!("labels    {perturbations} perturbations, {controls} control cells, contexts: {}", labels.contexts.join(", ")),
        format!("layers    {}", if layers.is_empty() { "none".to_owned() } else { layers.join(", ") }),
        format!("layout    blocks of {} cells, largest shard {}, in all {}", store.chunk_rows(), mib(files.largest), mib(files.total)),
        format!("mixing    equal labels stand together in runs of {run_length} (median)"),
    ];
    lines.push(advice(ratio, arguments));
    Ok(Answer::new(lines.join("\n"), json))
}

fn advice(ratio: Option<f64>, arguments: &Arguments) -> String {
    let batch = arguments.batch_size;
    match ratio {
        None => format!("          fewer cells than one batch of {batch}: train with a smaller data.batch_size"),
        Some(ratio) if ratio < WELL_MIXED => format!(
            "          a batch of {batch} has {:.1} % of a random batch's label entropy: raise data.window_blocks above {} \
             or data.streams above {}",
            100.0 * ratio,
            arguments.window_blocks,
            arguments.streams
        ),
        Some(ratio) => format!("          a batch of {batch} has {:.1} % of a random batch's label entropy", 100.0 * ratio),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Sizes of the files of a store.
#[derive(Default)]
struct Files {
    total: u64,
    largest: u64,
}

impl Files {
    fn below(folder: &Path) -> Result<Self> {
        let mut files = Self::default();
        let mut pending = vec![folder.to_owned()];
        while let Some(folder) = pending.pop() {
            let named = || folder.display().to_string();
            for entry in std::fs::read_dir(&folder).with_context(named)? {
                let entry = entry.with_context(named)?;
                let data = entry.metadata().with_context(named)?;
                if data.is_dir() {
                    pending.push(entry.path());
                } else {
                    files.total += data.len();
                    files.largest = files.largest.max(data.len());
                }
            }
        }
        Ok(files)
    }
}
