//! `syncyte store verify`: every chunk is decoded and every digest taken anew.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use syncyte_sharding::store;

use crate::answer::Answer;
use crate::exit::Exit;

/// Arguments of `syncyte store verify`.
#[derive(Args)]
#[command(after_help = "Example:\n  syncyte store verify norman.zarr\n\n\
    Where something is damaged, lists it and ends with exit code 3.")]
pub(crate) struct Arguments {
    /// Store
    store: PathBuf,
}

/// Checks a store.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let found = store::verify(&arguments.store)?;
    let path = arguments.store.display();
    let mut json = serde_json::to_value(&found)?;
    json["store"] = json!(arguments.store);
    json["sound"] = json!(found.is_sound());
    let read = format!("{} chunks decoded, {} cells read", found.chunks, found.cells);
    if found.is_sound() {
        return Ok(Answer::new(format!("{path}: sound; {read}"), json));
    }
    let mut lines = vec![format!("{path}: damaged; {read}; import the data again")];
    lines.extend(found.faults.iter().map(|fault| format!("{}: {}", fault.node, fault.problem)));
    Ok(Answer::new(lines.join("\n"), json).ending(Exit::Data))
}
