//! What a rank tells `launch` beside its messages: that it listens to signals, and how far it is.
//!
//! Guarantee: notes are lines of standard error that only `launch` reads, and are sent only where it said that it does.
//! They come from any host, as `mpirun` carries them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exit;

/// Set for ranks whose standard error `launch` reads: to [`Wanted`].
pub(crate) const VARIABLE: &str = "SYNCYTE_LAUNCH";
/// Begins a note; no text has this character.
const MARK: char = '\u{1e}';

/// What `launch` wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whether ranks listen.
    Signals,
    /// That, and how far the first rank is.
    Progress,
}

impl Wanted {
    /// As it stands in [`VARIABLE`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signals => "signals",
            Self::Progress => "progress",
        }
    }

    /// What is wanted of this process; nothing where `launch` did not start it.
    pub(crate) fn of_this_process() -> Option<Self> {
        let name = std::env::var(VARIABLE).ok()?;
        [Self::Signals, Self::Progress].into_iter().find(|wanted| wanted.name() == name)
    }
}

/// A note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Note {
    /// The rank takes signals for a wish to end in good order.
    Listening,
    /// The run that the rank belongs to.
    Run {
        /// Its folder.
        folder: PathBuf,
    },
    /// A task of so many steps begins.
    Begin {
        /// Its name.
        what: String,
        /// Steps done before.
        done: u64,
        /// All steps.
        total: u64,
    },
    /// A step is done.
    Step {
        /// Steps done.
        done: u64,
        /// Its loss, where it is a number.
        loss: Option<f64>,
        /// Cells a second, where known.
        cells_per_s: Option<f64>,
    },
    /// The task is over.
    End,
}

impl Note {
    /// Tells it to `launch`.
    pub(crate) fn send(&self) {
        // A note is a courtesy; these have no value that JSON lacks.
        if let Ok(text) = serde_json::to_string(self) {
            exit::say(&format!("{MARK}{text}\n"));
        }
    }

    /// The note that a line is.
    pub(crate) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(MARK)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_told_from_text() {
        let note = Note::Step { done: 7, loss: Some(0.5), cells_per_s: None };
        let line = format!("{MARK}{}", serde_json::to_string(&note).unwrap());
        assert_eq!(Note::read(&line), Some(note));
        assert_eq!(Note::read("error: rank 0"), None);
        assert_eq!(Note::read("{\"end\":null}"), None);
    }
}
