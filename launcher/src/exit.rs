//! Exit codes and the one form in which errors are shown.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Error;
use syncyte_fabric::collective::{Blame, Fault};
use syncyte_report::ReportError;
use syncyte_sharding::genes::GenesError;
use syncyte_sharding::ingest::IngestError;
use syncyte_sharding::split::SplitError;
use syncyte_sharding::store::StoreError;
use syncyte_sharding::synth::SynthError;
use syncyte_trainer::config::ConfigError;
use syncyte_trainer::task::TaskError;

/// Why a command ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Bad usage or configuration.
    Usage = 2,
    /// Bad data.
    Data = 3,
    /// A run failed.
    Failed = 4,
    /// A run wrote a checkpoint because it was asked to end, and asks to be requeued.
    Requeue = 85,
}

/// Codes that other programs rely on.
const OURS: [u8; 4] = [Exit::Usage as u8, Exit::Data as u8, Exit::Failed as u8, Exit::Requeue as u8];

impl From<Exit> for i32 {
    fn from(exit: Exit) -> Self {
        exit as Self
    }
}

/// A mistake in how a command was called.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error that ends with [`Exit::Usage`].
pub(crate) fn usage(message: impl Into<String>) -> Error {
    Error::new(Usage(message.into()))
}

/// Data that a command can do nothing with.
#[derive(Debug)]
struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

/// An error that ends with [`Exit::Data`].
pub(crate) fn data(message: impl Into<String>) -> Error {
    Error::new(Unfit(message.into()))
}

/// A process of ours that ended badly; its own messages have said why, and its code becomes ours.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What ran, e.g. `the stage pretrain`.
    pub(crate) what: String,
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{} ended with exit code {code}; its messages are above", self.what),
            None => write!(f, "{} was ended by a signal", self.what),
        }
    }
}

impl std::error::Error for Ended {}

/// Prints an error with its causes on standard error and gives the exit code that it stands for.
pub(crate) fn report(error: &Error) -> ExitCode {
    describe_to_stderr(error);
    ExitCode::from(code_of(error))
}

/// Prints an error with its causes on standard error.
pub(crate) fn describe_to_stderr(error: &Error) {
    say(&format!("{}\n", describe(error)));
}

/// Prints whole lines on standard error, in one write, which other processes cannot come between.
pub(crate) fn say(lines: &str) {
    // There is nobody left to tell that standard error is gone.
    let _ = std::io::stderr().lock().write_all(lines.as_bytes());
}

/// `error: …`, then the causes that the lines above do not already quote.
fn describe(error: &Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str("\n  caused by: ");
            text.push_str(&cause);
        }
    }
    text
}

/// The exit code that an error stands for.
pub(crate) fn code_of(error: &Error) -> u8 {
    for cause in error.chain() {
        if let Some(ended) = cause.downcast_ref::<Ended>() {
            // Anything but a code of ours (a signal, a missing library) is a failed run.
            return ended
                .code
                .and_then(|code| OURS.into_iter().find(|&ours| code == i32::from(ours)))
                .unwrap_or(Exit::Failed as u8);
        }
        if let Some(exit) = classify(cause) {
            return exit as u8;
        }
    }
    Exit::Failed as u8
}

/// What an error of the libraries stands for; `None` where only its causes can tell.
fn classify(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(error) = cause.downcast_ref::<TaskError>() {
        return Some(match error.fault() {
            Fault::Usage => Exit::Usage,
            Fault::Data => Exit::Data,
            Fault::Run => Exit::Failed,
            Fault::Requeue => Exit::Requeue,
        });
    }
    if let Some(error) = cause.downcast_ref::<SplitError>() {
        let usage = matches!(
            error,
            SplitError::NoHoldOut { .. }
                | SplitError::HoldOutUnused { .. }
                | SplitError::NoColumn
                | SplitError::UnknownColumn { .. }
        );
        return Some(if usage { Exit::Usage } else { Exit::Data });
    }
    if let Some(error) = cause.downcast_ref::<GenesError>() {
        let usage = matches!(error, GenesError::Number { .. } | GenesError::NeedsCounts { .. });
        return Some(if usage { Exit::Usage } else { Exit::Data });
    }
    if let Some(error) = cause.downcast_ref::<SynthError>() {
        let usage = matches!(error, SynthError::Config { .. });
        return Some(if usage { Exit::Usage } else { Exit::Data });
    }
    if cause.is::<Usage>() || cause.is::<ConfigError>() {
        return Some(Exit::Usage);
    }
    let data =
        cause.is::<Unfit>() || cause.is::<StoreError>() || cause.is::<IngestError>() || cause.is::<ReportError>();
    data.then_some(Exit::Data)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_usage_error_keeps_its_code_under_context() {
        let error = Err::<(), _>(usage("--ranks must be at least 1")).context("demo").unwrap_err();
        assert_eq!(code_of(&error), 2);
    }

    #[test]
    fn a_child_passes_its_code_on() {
        let ended = |code| Error::new(Ended { what: "the stage pretrain".into(), code });
        assert_eq!(code_of(&ended(Some(85))), 85);
        assert_eq!(code_of(&ended(None)), 4);
        assert_eq!(code_of(&ended(Some(137))), 4);
    }

    #[test]
    fn causes_are_listed_once() {
        let error = anyhow!("disk full").context("x.zarr: disk full").context("cannot import");
        assert_eq!(describe(&error), "error: cannot import\n  caused by: x.zarr: disk full");
    }
}
