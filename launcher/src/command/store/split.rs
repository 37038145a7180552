//! `syncyte store split`: a frozen split.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};
use syncyte_sharding::split::{Fold, Scheme, Split, SplitOptions};
use syncyte_sharding::store::CellStore;

use crate::answer::Answer;

/// Arguments of `syncyte store split`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte store split norman.zarr --scheme doubles --out norman-doubles.json\n  \
    syncyte store split gbm.zarr --scheme context --hold-out U87MG --out gbm-u87.json")]
pub(crate) struct Arguments {
    /// Store
    store: PathBuf,
    /// What is held out: cells, perturbations, doubles or context
    #[arg(long, value_parser = parse_scheme)]
    scheme: Scheme,
    /// Context that the scheme `context` holds out
    #[arg(long, value_name = "CONTEXT")]
    hold_out: Option<String>,
    /// Seed of the shuffles
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Split file to write; one that is there is replaced
    #[arg(long, value_name = "SPLIT.json")]
    out: PathBuf,
}

fn parse_scheme(text: &str) -> Result<Scheme, String> {
    text.parse().map_err(|error: syncyte_sharding::split::SplitError| error.to_string())
}

/// Splits.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let store = CellStore::open(&arguments.store)?;
    let options = SplitOptions { scheme: arguments.scheme, seed: arguments.seed, hold_out: arguments.hold_out.clone() };
    let split = Split::make(store.labels(), store.data_hash(), &options)?;
    split.save(&arguments.out)?;

    let mut lines = vec![format!("{}: {}", arguments.out.display(), split.rule())];
    let mut folds = Map::new();
    for fold in Fold::ALL {
        let counts = split.counts(fold);
        let (cells, controls, conditions) = (counts.cells, counts.control_cells, counts.conditions);
        lines.push(format!("{:<6}{cells} cells, {controls} of them controls, {conditions} perturbations", fold.name()));
        folds.insert(
            fold.name().to_owned(),
            json!({ "cells": cells, "control_cells": controls, "perturbations": conditions }),
        );
    }
    let json = json!({
        "split": arguments.out, "scheme": split.scheme().name(), "rule": split.rule(), "seed": split.seed(),
        "folds": Value::Object(folds), "data_hash": split.data_hash(), "split_hash": split.hash(),
    });
    Ok(Answer::new(lines.join("\n"), json))
}
