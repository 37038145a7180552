//! Cells × genes matrices of AnnData: CSR, CSC and dense, read by rows.
//!
//! Guarantee: whatever the encoding, [`Matrix::read_rows`] yields a valid [`Csr`] block (zeros of a dense
//! matrix are left out). CSR and dense matrices are read block by block; a CSC matrix is turned into CSR in
//! memory on first use, so it must fit there.

use std::ops::Range;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::error::AnnDataError;
use super::zarr::{ArrayReader, NodeKind, NumberArray, Scratch, ZarrError, ZarrReader, room};
use crate::block::{Block, BlockTypes, NumberType};
use crate::csr::Csr;

/// A matrix opened for reading.
pub(crate) struct Matrix {
    store: String,
    node: String,
    rows: usize,
    cols: usize,
    storage: Storage,
}

enum Storage {
    /// By rows, in a layout that is read without detours.
    Rows {
        indptr: Vec<u64>,
        columns: Box<NumberArray>,
        values: Box<NumberArray>,
    },
    Sparse {
        indptr: Vec<u64>,
        indices: Box<ArrayReader>,
        data: Box<ArrayReader>,
        columns: Option<OnceLock<Csr>>,
    },
    Dense(Box<ArrayReader>),
}

impl Matrix {
    /// Opens the matrix at `node`. With `whole`, a file that is not there is an error; else it holds zeros.
    pub(crate) fn open(reader: &ZarrReader, node: &str, whole: bool) -> Result<Self, AnnDataError> {
        let fail = |problem: &str| AnnDataError::encoding(reader.name(), node, problem);
        match reader.kind(node)? {
            None => Err(fail("there is no matrix here")),
            Some(NodeKind::Array) => {
                let array = reader.array(node)?;
                let &[rows, cols] = array.shape() else {
                    return Err(fail(&format!("a matrix has two dimensions, not shape {:?}", array.shape())));
                };
                Ok(Self {
                    store: reader.name().into(),
                    node: node.into(),
                    rows: rows as usize,
                    cols: cols as usize,
                    storage: Storage::Dense(Box::new(array)),
                })
            }
            Some(NodeKind::Group) => Self::open_sparse(reader, node, whole),
        }
    }

    fn open_sparse(reader: &ZarrReader, node: &str, whole: bool) -> Result<Self, AnnDataError> {
        let fail = |problem: String| AnnDataError::encoding(reader.name(), node, problem);
        let attributes = reader.group(node)?;
        // anndata before 0.7 wrote the second spelling of both.
        let kind = text(&attributes, &["encoding-type", "h5sparse_format"]);
        let by_columns = match kind {
            Some("csr_matrix" | "csr") => false,
            Some("csc_matrix" | "csc") => true,
            other => {
                return Err(fail(format!(
                    "encoding {other:?} is no matrix; csr_matrix, csc_matrix or a dense array is"
                )));
            }
        };
        let shape = ["shape", "h5sparse_shape"].iter().find_map(|key| attributes.get(*key)?.as_array());
        let shape: Vec<usize> =
            shape.into_iter().flatten().filter_map(Value::as_u64).map(|extent| extent as usize).collect();
        let &[rows, cols] = shape.as_slice() else {
            return Err(fail("the attribute shape does not hold two numbers".into()));
        };
        let indices = reader.array(&format!("{node}/indices"))?;
        let data = reader.array(&format!("{node}/data"))?;
        let indptr = reader.array(&format!("{node}/indptr"))?;
        let indptr: Vec<u64> = indptr.read_i64(&indptr.all())?.into_iter().map(|start| start as u64).collect();
        let lines = if by_columns { cols } else { rows };
        check_indptr(&indptr, lines, indices.shape(), data.shape()).map_err(|problem| {
            let others = if by_columns { rows } else { cols };
            let fits = || indices.read_u32(&indices.all()).is_ok_and(|at| at.iter().all(|&at| (at as usize) < lines));
            let hint =
                if lines != others && check_indptr(&indptr, others, indices.shape(), data.shape()).is_ok() && fits() {
                    mislabelled_hint(!by_columns)
                } else {
                    String::new()
                };
            AnnDataError::encoding(reader.name(), &format!("{node}/indptr"), problem + &hint)
        })?;
        let [direct_columns, direct_values] =
            [format!("{node}/indices"), format!("{node}/data")].map(|path| reader.numbers(&path, whole));
        if let (false, Some(columns), Some(values)) = (by_columns, direct_columns?, direct_values?) {
            let storage = Storage::Rows { indptr, columns: Box::new(columns), values: Box::new(values) };
            return Ok(Self { store: reader.name().into(), node: node.into(), rows, cols, storage });
        }
        let columns = by_columns.then(OnceLock::new);
        let storage = Storage::Sparse { indptr, indices: Box::new(indices), data: Box::new(data), columns };
        Ok(Self { store: reader.name().into(), node: node.into(), rows, cols, storage })
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn n_cols(&self) -> usize {
        self.cols
    }

    /// Row starts, where the matrix is stored by rows.
    pub(crate) fn indptr(&self) -> Option<&[u64]> {
        match &self.storage {
            Storage::Rows { indptr, .. } | Storage::Sparse { indptr, columns: None, .. } => Some(indptr),
            _ => None,
        }
    }

    /// Reads a block of rows in the types in which they are stored, into memory used before.
    pub(crate) fn read_block(
        &self,
        rows: Range<usize>,
        scratch: &mut Scratch,
        block: &mut Block,
    ) -> Result<(), AnnDataError> {
        let Storage::Rows { indptr, columns, values } = &self.storage else {
            block.assign(&self.read_rows(rows)?);
            return Ok(());
        };
        self.check_rows(&rows)?;
        let starts = &indptr[rows.start..=rows.end];
        let span = starts[0]..starts[starts.len() - 1];
        room((span.end - span.start).checked_mul(8)).map_err(|cause| self.fail(format!("rows {rows:?}: {cause}")))?;
        block.lay_out(self.cols, self.block_types(), starts.windows(2).map(|pair| (pair[1] - pair[0]) as usize));
        columns.read(span.clone(), scratch, &mut block.columns, 0)?;
        values.read(span, scratch, &mut block.values, 0)?;
        block.validate().map_err(|problem| self.fail(format!("rows {rows:?}: {problem}")))
    }

    /// Says that a block of rows will be read soon.
    pub(crate) fn will_read(&self, rows: Range<usize>) {
        if let (Storage::Rows { indptr, columns, values }, true) = (&self.storage, rows.end <= self.rows) {
            let span = indptr[rows.start]..indptr[rows.end];
            columns.will_read(span.clone());
            values.will_read(span);
        }
    }

    /// The types of the blocks that are read.
    pub(crate) fn block_types(&self) -> BlockTypes {
        match &self.storage {
            Storage::Rows { columns, values, .. } => {
                BlockTypes { columns: columns.natural_type(true), values: values.natural_type(false) }
            }
            _ => BlockTypes { columns: NumberType::U32, values: NumberType::F32 },
        }
    }

    fn check_rows(&self, rows: &Range<usize>) -> Result<(), AnnDataError> {
        if rows.start > rows.end || rows.end > self.rows {
            return Err(self.fail(format!("rows {rows:?} were asked for, there are {}", self.rows)));
        }
        Ok(())
    }

    /// A block of rows.
    pub(crate) fn read_rows(&self, rows: Range<usize>) -> Result<Csr, AnnDataError> {
        self.check_rows(&rows)?;
        let block = match &self.storage {
            Storage::Rows { .. } => {
                let mut block = Block::default();
                self.read_block(rows, &mut Scratch::default(), &mut block)?;
                return Ok(block.to_csr());
            }
            Storage::Dense(array) => self.read_dense(array, &rows)?,
            Storage::Sparse { indptr, indices, data, columns: None } => {
                self.read_sparse(indptr, indices, data, &rows)?
            }
            Storage::Sparse { indptr, indices, data, columns: Some(by_rows) } => {
                let whole = if let Some(whole) = by_rows.get() {
                    whole
                } else {
                    let whole = self.transpose(indptr, indices, data)?;
                    by_rows.get_or_init(|| whole)
                };
                slice(whole, &rows)
            }
        };
        block.validate().map_err(|problem| self.fail(format!("rows {rows:?}: {problem}")))?;
        Ok(block)
    }

    fn read_sparse(
        &self,
        indptr: &[u64],
        indices: &ArrayReader,
        data: &ArrayReader,
        rows: &Range<usize>,
    ) -> Result<Csr, ZarrError> {
        let starts = &indptr[rows.start..=rows.end];
        let span = starts[0]..starts[starts.len() - 1];
        Ok(Csr {
            n_cols: self.cols,
            indptr: starts.iter().map(|start| (start - span.start) as usize).collect(),
            indices: indices.read_u32(std::slice::from_ref(&span))?,
            values: data.read_f32(std::slice::from_ref(&span))?,
        })
    }

    fn read_dense(&self, array: &ArrayReader, rows: &Range<usize>) -> Result<Csr, ZarrError> {
        let dense = array.read_f32(&[rows.start as u64..rows.end as u64, 0..self.cols as u64])?;
        let mut block = Csr::empty(self.cols);
        for row in 0..rows.len() {
            let values = &dense[row * self.cols..(row + 1) * self.cols];
            for (column, &value) in values.iter().enumerate() {
                if value != 0.0 {
                    block.indices.push(column as u32);
                    block.values.push(value);
                }
            }
            block.indptr.push(block.indices.len());
        }
        Ok(block)
    }

    /// The rows of a matrix stored by columns; columns rise within a row.
    fn transpose(&self, indptr: &[u64], indices: &ArrayReader, data: &ArrayReader) -> Result<Csr, AnnDataError> {
        room((self.rows as u64).checked_mul(16)).map_err(|cause| self.fail(cause))?;
        let row_of = indices.read_u32(&indices.all())?;
        let value_of = data.read_f32(&data.all())?;
        let mut starts = vec![0_usize; self.rows + 1];
        for &row in &row_of {
            let Some(count) = starts.get_mut(row as usize + 1) else {
                return Err(self.fail(format!("row {row} is not below {}", self.rows)));
            };
            *count += 1;
        }
        for row in 0..self.rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut block =
            Csr { n_cols: self.cols, indptr: starts, indices: vec![0; row_of.len()], values: vec![0.0; row_of.len()] };
        for column in 0..self.cols {
            for at in indptr[column] as usize..indptr[column + 1] as usize {
                let slot = &mut next[row_of[at] as usize];
                block.indices[*slot] = column as u32;
                block.values[*slot] = value_of[at];
                *slot += 1;
            }
        }
        Ok(block)
    }

    fn fail(&self, problem: String) -> AnnDataError {
        AnnDataError::encoding(&self.store, &self.node, problem)
    }
}

fn text<'a>(attributes: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| attributes.get(*key)?.as_str())
}

/// Says of a sparse matrix whose arrays fit the other orientation what it seems to be, and the way out.
pub(crate) fn mislabelled_hint(by_rows: bool) -> String {
    let (said, is, order) =
        if by_rows { ("csr_matrix", "csc_matrix", "columns") } else { ("csc_matrix", "csr_matrix", "rows") };
    format!(
        "; its arrays fit a matrix by {order}, so it looks like a {is} labelled {said}: set its attribute encoding-type \
         to {is} (h5py or zarr: file['X'].attrs['encoding-type'] = '{is}'), or write it anew with anndata"
    )
}

fn check_indptr(indptr: &[u64], lines: usize, indices: &[u64], data: &[u64]) -> Result<(), String> {
    if indptr.len().checked_sub(1) != Some(lines) || indptr.first() != Some(&0) {
        return Err(format!("{} starts for {lines} lines; one more than lines, from 0 on, are right", indptr.len()));
    }
    if let Some(line) = indptr.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(format!("the starts fall after line {line}"));
    }
    let end = &indptr[lines..];
    if end != indices || end != data {
        return Err(format!("the starts end at {end:?}, but there are {indices:?} indices and {data:?} values"));
    }
    Ok(())
}

/// Rows of a block in memory.
fn slice(whole: &Csr, rows: &Range<usize>) -> Csr {
    let starts = &whole.indptr[rows.start..=rows.end];
    let span = starts[0]..starts[starts.len() - 1];
    Csr {
        n_cols: whole.n_cols,
        indptr: starts.iter().map(|start| start - span.start).collect(),
        indices: whole.indices[span.clone()].to_vec(),
        values: whole.values[span].to_vec(),
    }
}
