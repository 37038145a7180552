//! `syncyte report`: what runs found, as a page.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::process::interrupt;

/// Arguments of `syncyte report`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  syncyte report runs/norman\n\nWrites report.html, MODEL_CARD.md and figures/ into each run folder."
)]
pub(crate) struct Arguments {
    /// Run folders that `syncyte evaluate` has been through
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

/// Writes the reports.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    interrupt::ends("report", "each of its files", true)?;
    let mut lines = Vec::new();
    let mut reports: Vec<Value> = Vec::new();
    for run in &arguments.runs {
        let paths = syncyte_report::write(run)?;
        lines.push(format!("{}", paths.html.display()));
        reports.push(json!({ "run_dir": run, "html": paths.html, "card": paths.card, "figures": paths.figures }));
    }
    Ok(Answer::new(lines.join("\n"), json!({ "reports": reports })))
}
