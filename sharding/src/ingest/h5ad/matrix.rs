//! Matrices in HDF5, read by row blocks: CSR and dense ones in place, CSC ones through a spill.

use std::cell::Cell;
use std::ops::Range;

use hdf5::{Dataset, Group};

use super::failure::said;
use super::table::{attribute, first_text};
use super::values::{Held, dataset};
use super::vector::Vector;
use crate::anndata::matrix::mislabelled_hint;
use crate::csr::Csr;
use crate::ingest::error::IngestError;
use crate::ingest::source::{from_dense, make_canonical};
use crate::ingest::spill::{Spill, SpillWriter};

/// Values of a CSC matrix read at a time while it is turned.
const TURN_BLOCK: usize = 1 << 20;

thread_local! {
    /// Bytes of a block as they are in the file.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A matrix ready to be read by rows.
pub(super) enum Matrix {
    /// Row starts are in memory (8 bytes a row), values in the file.
    Rows { starts: Vec<usize>, indices: Vector, data: Vector, n_cols: usize },
    /// A CSC matrix turned into rows in a temporary file.
    Turned { spill: Spill, n_rows: usize, n_cols: usize },
    /// A dense matrix.
    Dense { data: Dataset, n_rows: usize, n_cols: usize },
}

/// What went wrong with a matrix.
pub(super) enum MatrixError {
    /// The file, in words.
    Said(String),
    /// The spill.
    Spill(IngestError),
}

impl From<String> for MatrixError {
    fn from(what: String) -> Self {
        Self::Said(what)
    }
}

impl From<IngestError> for MatrixError {
    fn from(error: IngestError) -> Self {
        Self::Spill(error)
    }
}

/// Rows and columns of the matrix at `parent/name`, and whether its rows lie together.
struct Layout {
    n_rows: usize,
    n_cols: usize,
    by_rows: bool,
}

impl Layout {
    /// Makes sure that the starts are those of its rows or columns. `largest` is asked where they are not.
    fn check(&self, starts: &[usize], largest: impl FnOnce() -> Option<u32>) -> Result<(), String> {
        let (lines, others) = if self.by_rows { (self.n_rows, self.n_cols) } else { (self.n_cols, self.n_rows) };
        if starts.len() == lines + 1 && starts.first() == Some(&0) {
            return match starts.windows(2).position(|pair| pair[0] > pair[1]) {
                Some(at) => Err(format!("indptr falls after entry {at}")),
                None => Ok(()),
            };
        }
        let mislabelled = starts.len() == others + 1
            && starts.is_sorted()
            && largest().is_none_or(|largest| (largest as usize) < lines);
        let hint = if mislabelled { mislabelled_hint(self.by_rows) } else { String::new() };
        let line = if self.by_rows { "rows" } else { "columns" };
        Err(format!("indptr has {} entries for {lines} {line}{hint}", starts.len()))
    }
}

impl Matrix {
    /// Opens the matrix at `parent/name`.
    pub(super) fn open(parent: &Group, name: &str) -> Result<Self, MatrixError> {
        if parent.dataset(name).is_ok() {
            let data = dataset(parent, name)?;
            let [n_rows, n_cols] = data.shape()[..] else {
                return Err(format!("has {} dimensions, a matrix has two", data.ndim()).into());
            };
            return Ok(Self::Dense { data, n_rows, n_cols });
        }
        let group = parent.group(name).map_err(said)?;
        let layout = sparse_layout(&group)?;
        let part = |part: &str| dataset(&group, part);
        let (indices, data) = (Vector::new(part("indices")?), Vector::new(part("data")?));
        let starts: Vec<usize> = part("indptr")?.raw::<u64>()?.iter().map(|&start| start as usize).collect();
        layout.check(&starts, || largest(&indices))?;
        let nnz = starts.last().copied().unwrap_or(0);
        if indices.len() != nnz || data.len() != nnz {
            let (i, d) = (indices.len(), data.len());
            return Err(format!("indptr ends at {nnz}, but there are {i} indices and {d} values").into());
        }
        if layout.by_rows {
            return Ok(Self::Rows { starts, indices, data, n_cols: layout.n_cols });
        }
        let spill = turn(&layout, &starts, &indices, &data)?;
        Ok(Self::Turned { spill, n_rows: layout.n_rows, n_cols: layout.n_cols })
    }

    /// Rows and columns.
    pub(super) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Rows { starts, n_cols, .. } => (starts.len() - 1, *n_cols),
            Self::Turned { n_rows, n_cols, .. } | Self::Dense { n_rows, n_cols, .. } => (*n_rows, *n_cols),
        }
    }

    /// Reads rows, which lie inside the matrix, into a block.
    pub(super) fn read_rows(&self, rows: Range<usize>, block: &mut Csr) -> Result<(), MatrixError> {
        match self {
            Self::Rows { starts, indices, data, n_cols } => {
                let span = starts[rows.start]..starts[rows.end];
                let mut bytes = SCRATCH.take();
                block.n_cols = *n_cols;
                block.indptr.clear();
                block.indptr.extend(starts[rows.start..=rows.end].iter().map(|start| start - span.start));
                indices.read(span.clone(), &mut bytes, &mut block.indices)?;
                data.read(span, &mut bytes, &mut block.values)?;
                SCRATCH.set(bytes);
                if let Some(&column) = block.indices.iter().find(|&&column| column as usize >= *n_cols) {
                    return Err(format!("index {} is not below {n_cols}", i64::from(column)).into());
                }
                make_canonical(block);
            }
            Self::Turned { spill, .. } => *block = spill.read_rows(rows)?,
            Self::Dense { data, n_cols, .. } => {
                let values = data.read_slice_2d::<f32, _>((rows, ..)).map_err(said)?;
                *block = from_dense(&values.into_raw_vec_and_offset().0, *n_cols);
            }
        }
        Ok(())
    }
}

/// Reads the shape and order of a sparse matrix from its attributes, of this or of older layouts.
fn sparse_layout(group: &Group) -> Result<Layout, String> {
    let kind = ["encoding-type", "h5sparse_format"]
        .into_iter()
        .find_map(|name| attribute(group, name).and_then(|a| first_text(&a)))
        .ok_or("is a group without 'encoding-type'; it is no AnnData matrix")?;
    let by_rows = match kind.as_str() {
        "csr_matrix" | "csr" => true,
        "csc_matrix" | "csc" => false,
        other => return Err(format!("is encoded as '{other}'; csr_matrix, csc_matrix and dense arrays are read")),
    };
    let shape =
        ["shape", "h5sparse_shape"].into_iter().find_map(|name| attribute(group, name)).ok_or("has no 'shape'")?;
    match shape.raw::<u64>()?[..] {
        [rows, cols] => Ok(Layout { n_rows: rows as usize, n_cols: cols as usize, by_rows }),
        _ => Err("'shape' does not have two numbers".into()),
    }
}

/// The largest of the indices, where they can be read.
fn largest(indices: &Vector) -> Option<u32> {
    let (mut bytes, mut part, mut largest) = (Vec::new(), Vec::<u32>::new(), None);
    for from in (0..indices.len()).step_by(TURN_BLOCK) {
        indices.read(from..indices.len().min(from + TURN_BLOCK), &mut bytes, &mut part).ok()?;
        largest = largest.max(part.iter().copied().max());
    }
    largest
}

fn turn(layout: &Layout, starts: &[usize], indices: &Vector, data: &Vector) -> Result<Spill, MatrixError> {
    let nnz = starts.last().copied().unwrap_or(0);
    let mut writer = SpillWriter::new(layout.n_rows, layout.n_cols, nnz)?;
    let (mut bytes, mut rows, mut values) = (Vec::new(), Vec::<u32>::new(), Vec::<f32>::new());
    let mut column = 0;
    for from in (0..nnz).step_by(TURN_BLOCK) {
        let span = from..nnz.min(from + TURN_BLOCK);
        indices.read(span.clone(), &mut bytes, &mut rows)?;
        data.read(span.clone(), &mut bytes, &mut values)?;
        for (at, (&row, &value)) in span.zip(rows.iter().zip(&values)) {
            while at >= starts[column + 1] {
                column += 1;
            }
            if row as usize >= layout.n_rows {
                return Err(format!("index {row} is not below {}", layout.n_rows).into());
            }
            writer.push(row as usize, column as u32, value)?;
        }
    }
    Ok(writer.finish()?)
}
