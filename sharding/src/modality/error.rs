//! What can be wrong with a table of another modality.

use thiserror::Error;

use crate::split::SplitError;
use crate::store::StoreError;
use crate::sweep::SweepError;

/// Why a table cannot be normalised or joined.
#[derive(Debug, Error)]
pub enum ModalityError {
    /// A table is not rectangular.
    #[error("{values} values do not make rows of {columns} columns")]
    Shape {
        /// Number of values.
        values: usize,
        /// Number of columns.
        columns: usize,
    },
    /// A value whose logarithm would mean nothing.
    #[error("row {row}, column {column}: {value} is no count; CLR takes counts that are 0 or more")]
    NoCount {
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The value.
        value: f32,
    },
    /// The store has no such table.
    #[error("{store}: no table `{name}` in obsm; there are: {found}; choose one, or import it with --protein-key")]
    NoTable {
        /// The store.
        store: String,
        /// Name asked for.
        name: String,
        /// Names there are.
        found: String,
    },
    /// One barcode for two cells.
    #[error("{table}: barcode `{barcode}` stands for rows {first} and {second}; barcodes have to be unique")]
    Duplicate {
        /// Which table.
        table: String,
        /// The barcode.
        barcode: String,
        /// First row.
        first: usize,
        /// Second row.
        second: usize,
    },
    /// No cell is in both tables.
    #[error(
        "{left} and {right} have no barcode in common: `{left_example}` against `{right_example}`; bring them to one \
         spelling (sample prefix, `-1` suffix)"
    )]
    NothingJoined {
        /// Name of one table.
        left: String,
        /// Name of the other.
        right: String,
        /// A barcode of the one.
        left_example: String,
        /// A barcode of the other.
        right_example: String,
    },
    /// The store holds no counts.
    #[error("{store}: TF-IDF needs counts of peaks, but the store holds log-normalised values; import the counts")]
    NeedsCounts {
        /// The store.
        store: String,
    },
    /// A block has other columns than the table that was fitted.
    #[error("TF-IDF: a block of {found} columns, but the weights were fitted on {fitted}")]
    Columns {
        /// Columns of the block.
        found: usize,
        /// Columns they were fitted on.
        fitted: usize,
    },
    /// Another store or another split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The cells cannot be read.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
