//! What can go wrong while loading.

use std::error::Error;
use std::io;

use thiserror::Error;

/// Why a loader cannot start.
#[derive(Debug, Error)]
pub enum LoaderConfigError {
    /// A setting that has to be positive is 0.
    #[error("loader: `{setting}` is 0; it has to be positive")]
    Zero {
        /// Name of the setting.
        setting: &'static str,
    },
    /// A gene of interest that the store has not, or that was named before.
    #[error("loader: gene {gene} is named twice or is not among the {genes} genes of the store")]
    Gene {
        /// Its column.
        gene: u32,
        /// Columns there are.
        genes: usize,
    },
    /// The system gives no thread.
    #[error("loader: no decoding thread: {0}; ask for fewer `threads`")]
    Thread(io::Error),
}

/// Why a batch cannot be loaded.
#[derive(Debug, Error)]
pub enum LoaderError {
    /// A chunk cannot be read or decoded, and no more may be set aside.
    #[error(
        "step {step}: {store}: chunk {chunk} (rows {first}..{end}): {source}; {bad} chunks are bad, {allowed} are allowed"
    )]
    Chunk {
        /// The step whose batch failed.
        step: u64,
        /// The store.
        store: String,
        /// Index of the chunk.
        chunk: usize,
        /// Its first row.
        first: usize,
        /// The row behind its last.
        end: usize,
        /// Chunks that are bad, this one included.
        bad: usize,
        /// Chunks that may be.
        allowed: usize,
        /// What the store says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A row the store does not have.
    #[error(
        "step {step}: {store}: row {row} asked for, but the store has {cells} cells; was the split or order made for another store?"
    )]
    Row {
        /// The step whose batch failed.
        step: u64,
        /// The store.
        store: String,
        /// The row asked for.
        row: u64,
        /// Number of rows there are.
        cells: usize,
    },
    /// Every row that could stand in for those of bad chunks is in a bad chunk.
    #[error("step {step}: {store}: no readable row is left to stand in for those of bad chunks; write the store anew")]
    NoSubstitute {
        /// The step whose batch failed.
        step: u64,
        /// The store.
        store: String,
    },
    /// A batch cannot be turned into the form asked for.
    #[error("step {step}: {store}: {problem}")]
    Form {
        /// The step whose batch failed.
        step: u64,
        /// The store.
        store: String,
        /// What is wrong.
        problem: String,
    },
    /// Rows and partners do not match.
    #[error("step {step}: {partners} control partners for {rows} rows; give one a row or none")]
    Partners {
        /// The step whose batch failed.
        step: u64,
        /// Number of rows.
        rows: usize,
        /// Number of partners.
        partners: usize,
    },
    /// A decoding thread panicked.
    #[error("{store}: the loader panicked at batch {batch} of this run: {message}")]
    Panicked {
        /// The store.
        store: String,
        /// Number of the request, from 0.
        batch: u64,
        /// What it said.
        message: String,
    },
    /// A batch did not come in time.
    #[error("{store}: batch {batch} of this run did not come within {seconds} s; is the file system there?")]
    Stalled {
        /// The store.
        store: String,
        /// Number of the request, from 0.
        batch: u64,
        /// The time-out.
        seconds: u64,
    },
}
