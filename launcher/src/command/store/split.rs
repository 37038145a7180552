//! `syncyte store split`: a frozen split.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};
use syncyte_sharding::split::{Fold, Scheme, Shares, Split, SplitOptions};
use syncyte_sharding::store::CellStore;

use crate::answer::Answer;
use crate::exit::usage;

/// Arguments of `syncyte store split`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte store split norman.zarr --scheme doubles --out norman-doubles.json\n  \
    syncyte store split gbm.zarr --scheme context --hold-out U87MG --out gbm-u87.json\n  \
    syncyte store split norman.zarr --scheme perturbations --shares 80/10/10 --out norman-80.json\n  \
    syncyte store split gears.zarr --from-column split --out gears.json")]
pub(crate) struct Arguments {
    /// Store
    store: PathBuf,
    #[command(flatten)]
    split: SplitArguments,
    /// Split file to write; one that is there is replaced
    #[arg(long, value_name = "SPLIT.json")]
    out: PathBuf,
}

/// How cells are split.
#[derive(Args, Clone)]
pub(crate) struct SplitArguments {
    /// What is held out: cells, perturbations, doubles or context
    #[arg(long, value_parser = parse_scheme)]
    scheme: Option<Scheme>,
    /// Column of obs that says which fold every cell is in: train, val or test, in their usual spellings
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["scheme", "hold_out", "shares", "seed"])]
    from_column: Option<String>,
    /// Context that the scheme `context` holds out
    #[arg(long, value_name = "CONTEXT")]
    hold_out: Option<String>,
    /// Sizes of train, val and test, in percent; if not given 70/15/15, and of doubles 50/25/25
    #[arg(long, value_name = "TRAIN/VAL/TEST")]
    shares: Option<Shares>,
    /// Seed of the shuffles of the split
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

impl SplitArguments {
    /// Whether a scheme or a column was named.
    pub(crate) fn is_decided(&self) -> bool {
        self.scheme.is_some() || self.from_column.is_some()
    }

    /// The context to hold out, if one was named.
    pub(crate) fn hold_out(&self) -> Option<&str> {
        self.hold_out.as_deref()
    }

    /// The same with a scheme.
    pub(crate) fn with_scheme(&self, scheme: Scheme) -> Self {
        Self { scheme: Some(scheme), ..self.clone() }
    }

    /// Splits a store.
    ///
    /// # Errors
    /// When neither a scheme nor a column was named, or the split cannot be made.
    pub(crate) fn make(&self, store: &CellStore) -> Result<Split> {
        if let Some(column) = &self.from_column {
            return Ok(Split::from_column(store, column)?);
        }
        let Some(scheme) = self.scheme else {
            let schemes = Scheme::ALL.map(Scheme::name).join(", ");
            return Err(usage(format!(
                "say what is held out with --scheme ({schemes}), or which column of obs has the folds with --from-column"
            )));
        };
        let options = SplitOptions { scheme, seed: self.seed, hold_out: self.hold_out.clone(), shares: self.shares };
        Ok(Split::make(store.labels(), store.data_hash(), &options)?)
    }
}

fn parse_scheme(text: &str) -> Result<Scheme, String> {
    text.parse().map_err(|error: syncyte_sharding::split::SplitError| error.to_string())
}

/// Splits.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let store = CellStore::open(&arguments.store)?;
    let split = arguments.split.make(&store)?;
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
