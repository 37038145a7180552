//! `syncyte doctor`: what this machine offers.

use clap::Args;
use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::machine;

/// Arguments of `syncyte doctor`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte doctor\n  syncyte doctor --json | python3 -m json.tool")]
pub(crate) struct Arguments {}

/// Looks for everything and lists it.
pub(crate) fn run(_: &Arguments) -> Answer {
    let findings = machine::survey();
    let mut json: Map<String, Value> = Map::new();
    json.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    json.insert("git".into(), env!("SYNCYTE_GIT").into());
    json.extend(findings.iter().map(|finding| (finding.name.to_owned(), finding.to_json())));
    let mut lines = vec![format!("syncyte {}", super::VERSION)];
    lines.extend(findings.iter().map(machine::Finding::to_text));
    Answer::new(lines.join("\n"), Value::Object(json))
}
