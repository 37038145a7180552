//! `syncyte store verify`: every chunk of every matrix is decoded and checked.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use syncyte_sharding::store::CellStore;

use crate::answer::Answer;
use crate::progress::Progress;

/// Arguments of `syncyte store verify`.
#[derive(Args)]
#[command(after_help = "Example:\n  syncyte store verify norman.zarr\n\nExit code 3 and the chunk at fault where one is damaged.")]
pub(crate) struct Arguments {
    /// Store
    store: PathBuf,
}

/// Checks a store.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let store = CellStore::open(&arguments.store)?;
    let layers = store.layers()?;
    let dense = store.obsm_names()?;
    let cells = store.n_cells();
    let progress = Progress::cells("verifying", (cells * (1 + layers.len() + dense.len())) as u64);
    let mut done = 0;
    let mut advance = |rows: usize| {
        done += rows as u64;
        progress.at(done);
    };

    store.obs()?;
    store.var()?;
    let blocks = || (0..cells).step_by(store.chunk_rows()).map(|start| start..(start + store.chunk_rows()).min(cells));
    let mut stored = 0;
    for rows in blocks() {
        stored += store.read_rows(rows.clone())?.indices.len() as u64;
        advance(rows.len());
    }
    for name in &layers {
        let layer = store.layer(name)?;
        for rows in blocks() {
            layer.read_rows(rows.clone())?;
            advance(rows.len());
        }
    }
    for name in &dense {
        for rows in blocks() {
            store.read_obsm(name, rows.clone())?;
            advance(rows.len());
        }
    }
    progress.finish();
    let text = format!(
        "{}: whole: {cells} cells, {stored} stored values, {} layers, {} dense matrices, sha256 {}",
        arguments.store.display(),
        layers.len(),
        dense.len(),
        store.data_hash()
    );
    let json = json!({
        "store": arguments.store, "whole": true, "cells": cells, "nnz": stored, "layers": layers, "obsm": dense,
        "data_hash": store.data_hash(),
    });
    Ok(Answer::new(text, json))
}
