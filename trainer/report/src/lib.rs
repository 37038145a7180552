//! Reports: what a run folder says, as one HTML page, figures and a model card.
//!
//! Guarantees: a report is made from the files of the run alone, and the same files give the same bytes; it shows
//! every method on every split under every metric, or is not written; where a baseline wins comes first; a value
//! that is undefined is called so and never shown as a number; nothing is left half-written.

mod card;
mod content;
mod figures;
mod format;
mod inputs;
mod log;
mod output;
mod page;
mod provenance;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

use std::path::{Path, PathBuf};

pub use table::TableError;

use content::Content;
use inputs::Inputs;
use syncyte_evaluation::benchmark::results::ResultsError;

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The run has not been evaluated.
    #[error(
        "{} does not exist: `syncyte evaluate --config {}` writes it; then run `syncyte report {}` again",
        path.display(), run.join("config.toml").display(), run.display()
    )]
    MissingResults {
        /// The file.
        path: PathBuf,
        /// The run folder.
        run: PathBuf,
    },
    /// The result file cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The result file is not a complete table.
    #[error("{}: {source}", path.display())]
    Table {
        /// The result file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// A line of a training log is not a log step.
    #[error("{}, line {line}: not a log step ({reason}); remove the line, or train again", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The description of the machine is not JSON.
    #[error("{} is not JSON ({source}); remove it to report without it", path.display())]
    Environment {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

/// The files of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPaths {
    /// The page.
    pub html: PathBuf,
    /// The model card.
    pub card: PathBuf,
    /// The figures, in the order of the page.
    pub figures: Vec<PathBuf>,
}

/// Writes `report.html`, `MODEL_CARD.md` and `figures/*.svg` into a run folder.
///
/// # Errors
/// When the run has no results, a file of the run is damaged, the results are incomplete, or a file cannot be written.
/// Nothing is written unless the whole report could be made.
pub fn write(run_dir: &Path) -> Result<ReportPaths, ReportError> {
    let inputs = Inputs::load(run_dir)?;
    let table = |source| ReportError::Table { path: run_dir.join("results.json"), source };
    let content = Content::new(&inputs).map_err(table)?;
    let figures: Vec<(String, String)> =
        content.figures.all().map(|figure| (format!("{}.svg", figure.name), figure.standalone())).collect();
    let (page, card) = (page::render(&content), card::render(&content));

    let figures = output::replace_figures(&run_dir.join("figures"), &figures)?;
    let card = output::write(&run_dir.join("MODEL_CARD.md"), &card)?;
    let html = output::write(&run_dir.join("report.html"), &page)?;
    Ok(ReportPaths { html, card, figures })
}
