//! The seam between file formats and the import.
//!
//! Guarantee: a [`Source`] gives its tables whole and its matrices by row blocks, so the memory of an import
//! does not grow with the number of values. Blocks are canonical: columns ascend, none occurs twice, no zero is stored.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::error::IngestError;
use crate::csr::Csr;
use crate::frame::Table;
use crate::store::Recorded;

/// Which matrix of an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MatrixPath {
    /// The main matrix.
    X,
    /// A layer, by name.
    Layer(String),
    /// The matrix under `raw`, which has a gene table of its own.
    Raw,
}

impl fmt::Display for MatrixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X => f.write_str("X"),
            Self::Layer(name) => write!(f, "layers/{name}"),
            Self::Raw => f.write_str("raw/X"),
        }
    }
}

impl FromStr for MatrixPath {
    type Err = String;

    /// Reads `X`, `raw`, `raw/X`, `layers/NAME`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "X" => Ok(Self::X),
            "raw" | "raw/X" => Ok(Self::Raw),
            _ => match text.strip_prefix("layers/") {
                Some(name) if !name.is_empty() => Ok(Self::Layer(name.into())),
                _ => Err(format!("'{text}' is no matrix; write X, raw/X or layers/NAME")),
            },
        }
    }
}

/// An input of the import.
pub trait Source: Send + Sync {
    /// Path of the input, for messages.
    fn name(&self) -> String;

    /// Table of cells.
    ///
    /// # Errors
    /// When the names of the cells cannot be read; a column that cannot is left out.
    fn obs(&self) -> Result<Table, IngestError>;

    /// Table of the genes of a matrix.
    ///
    /// # Errors
    /// When the names of the genes cannot be read; a column that cannot is left out.
    fn var(&self, matrix: &MatrixPath) -> Result<Table, IngestError>;

    /// Matrices there are.
    ///
    /// # Errors
    /// When the input cannot be listed.
    fn matrices(&self) -> Result<Vec<MatrixPath>, IngestError>;

    /// Number of cells.
    fn n_rows(&self) -> usize;

    /// What the input says of itself, where it is a store of ours.
    fn as_store(&self) -> Option<&Recorded> {
        None
    }

    /// Reads rows of a matrix into a block, whose memory is used again.
    ///
    /// # Errors
    /// When the matrix is absent, damaged, or has fewer rows.
    fn read_into(&self, matrix: &MatrixPath, rows: Range<usize>, block: &mut Csr) -> Result<(), IngestError>;

    /// Rows of a matrix.
    ///
    /// # Errors
    /// As [`Source::read_into`].
    fn read_rows(&self, matrix: &MatrixPath, rows: Range<usize>) -> Result<Csr, IngestError> {
        let mut block = Csr::default();
        self.read_into(matrix, rows, &mut block)?;
        Ok(block)
    }

    /// Names of the dense per-cell matrices (`obsm`).
    ///
    /// # Errors
    /// When the input cannot be listed.
    fn dense_names(&self) -> Result<Vec<String>, IngestError>;

    /// A dense per-cell matrix, row after row, with its number of columns.
    ///
    /// # Errors
    /// When it is absent or cannot be read.
    fn read_dense(&self, name: &str) -> Result<(usize, Vec<f32>), IngestError>;

    /// Names of the columns of a dense per-cell matrix, where it is a table.
    ///
    /// # Errors
    /// When it is absent or cannot be read.
    fn dense_columns(&self, name: &str) -> Result<Option<Vec<String>>, IngestError>;
}

/// Brings a block into canonical form, where it is not.
pub(crate) fn make_canonical(block: &mut Csr) {
    let ascends = |row: usize| {
        let columns = &block.indices[block.indptr[row]..block.indptr[row + 1]];
        // Without a branch per value: this is looked at for every value of an input.
        columns.windows(2).fold(true, |so_far, pair| so_far.min(pair[0] < pair[1]))
    };
    let any_zero = block.values.iter().fold(false, |so_far, &value| so_far.max(value == 0.0));
    if !any_zero && (0..block.n_rows()).all(ascends) {
        return;
    }
    let (mut canonical, mut entries) = (Csr::empty(block.n_cols), Vec::new());
    for row in 0..block.n_rows() {
        let (columns, values) = block.row(row);
        entries.extend(columns.iter().copied().zip(values.iter().copied()));
        push_canonical(&mut canonical, &mut entries);
    }
    *block = canonical;
}

/// Appends one row in canonical form; `entries` is used up.
pub(crate) fn push_canonical(block: &mut Csr, entries: &mut Vec<(u32, f32)>) {
    if !entries.is_sorted_by_key(|entry| entry.0) {
        entries.sort_by_key(|entry| entry.0);
    }
    let start = block.indices.len();
    for &(column, value) in entries.iter() {
        // Repeated coordinates mean their sum, as in scipy.
        if block.indices.len() > start && block.indices.last() == Some(&column) {
            if let Some(last) = block.values.last_mut() {
                *last += value;
            }
        } else if value != 0.0 {
            block.indices.push(column);
            block.values.push(value);
        }
    }
    block.indptr.push(block.indices.len());
    entries.clear();
}

/// Turns rows of a dense matrix into a canonical block.
pub(crate) fn from_dense(values: &[f32], n_cols: usize) -> Csr {
    let mut block = Csr::empty(n_cols);
    for row in values.chunks_exact(n_cols.max(1)) {
        for (column, &value) in row.iter().enumerate() {
            if value != 0.0 {
                block.indices.push(column as u32);
                block.values.push(value);
            }
        }
        block.indptr.push(block.indices.len());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsorted_and_repeated_entries_become_one_canonical_row() {
        let mut block = Csr::empty(4);
        push_canonical(&mut block, &mut vec![(3, 1.0), (0, 2.0), (3, 4.0), (1, 0.0)]);
        push_canonical(&mut block, &mut Vec::new());
        assert_eq!(block.row(0), (&[0, 3][..], &[2.0, 5.0][..]));
        assert_eq!(block.n_rows(), 2);
        assert!(block.validate().is_ok());
    }

    #[test]
    fn matrix_paths_read_back_as_written() {
        for path in [MatrixPath::X, MatrixPath::Raw, MatrixPath::Layer("counts".into())] {
            assert_eq!(path.to_string().parse::<MatrixPath>(), Ok(path));
        }
        assert!("layers/".parse::<MatrixPath>().is_err_and(|e| e.contains("layers/NAME")));
    }
}
