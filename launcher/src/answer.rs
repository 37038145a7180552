//! What a command says when it is done: a text for people and one JSON object for programs, of which one is printed.

use std::io::Write;
use std::process::ExitCode;

use serde_json::Value;

/// The answer of a command that succeeded.
pub(crate) struct Answer {
    text: String,
    json: Value,
}

impl Answer {
    /// An answer in both forms; `json` is an object.
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json }
    }

    /// Prints the form asked for on standard output. A reader that went away (`| head`) is no error.
    pub(crate) fn print(&self, as_json: bool) -> ExitCode {
        let line = if as_json { self.json.to_string() } else { self.text.trim_end().to_owned() };
        match writeln!(std::io::stdout().lock(), "{line}") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => crate::exit::report(&error.into()),
            _ => ExitCode::SUCCESS,
        }
    }
}
