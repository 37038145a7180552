//! What a command says when it is done: a text for people and one JSON object for programs, of which one is printed.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::exit::{self, Exit};

/// The answer of a command.
pub(crate) struct Answer {
    text: String,
    json: Value,
    exit: Option<Exit>,
}

impl Answer {
    /// A good answer in both forms; `json` is an object.
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, exit: None }
    }

    /// The same answer, which tells of something bad: its exit code says so too.
    pub(crate) fn ending(self, exit: Exit) -> Self {
        Self { exit: Some(exit), ..self }
    }

    /// Nothing to say: ranks but the first.
    pub(crate) fn silent() -> Self {
        Self { text: String::new(), json: Value::Null, exit: None }
    }

    /// Prints the form asked for on standard output. A reader that went away (`| head`) is no error.
    pub(crate) fn print(&self, as_json: bool) -> ExitCode {
        if self.json.is_null() {
            return ExitCode::SUCCESS;
        }
        let line = if as_json { self.json.to_string() } else { self.text.trim_end().to_owned() };
        match writeln!(std::io::stdout().lock(), "{line}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => exit::report(&error.into()),
            _ => self.exit.map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit as u8)),
        }
    }
}
