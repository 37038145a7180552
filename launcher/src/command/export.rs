//! `syncyte export`: a pretrained model as a plain folder.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use syncyte_trainer::checkpoint;
use syncyte_trainer::task::TaskError;

use crate::answer::Answer;

/// Arguments of `syncyte export`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte export runs/demo exported/demo\n  \
    syncyte export runs/demo/checkpoints/best exported/best\n\n\
    Writes config.json, model.safetensors, the names of genes, targets, contexts and kinds, and a model card.")]
pub(crate) struct Arguments {
    /// Run of `syncyte pretrain` (its newest whole checkpoint), step folder, or the file checkpoints/best
    #[arg(value_name = "RUN_OR_CHECKPOINT")]
    from: PathBuf,
    /// Folder to write, which must be new or empty
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

/// Exports.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let found = checkpoint::latest_or_named(&arguments.from).map_err(TaskError::from)?;
    let exported = checkpoint::export(&found, &arguments.out).map_err(TaskError::from)?;
    let text = format!("{} parameters of step {} in {}", exported.parameters, exported.step, exported.folder.display());
    let json = json!({
        "folder": exported.folder,
        "step": exported.step,
        "parameters": exported.parameters,
        "parameter_hash": found.state.parameter_hash,
        "checkpoint": found.folder(),
    });
    Ok(Answer::new(text, json))
}
