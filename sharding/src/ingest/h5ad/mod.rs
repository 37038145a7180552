//! h5ad files: current and older AnnData layouts, read out of core.
//!
//! Guarantee: CSR and dense matrices are read by rows where they lie; resident are the tables and 8 bytes a row.
//! A CSC matrix is turned once, through a temporary file of 12 bytes a value and with about 200 MB of memory.

mod column;
mod compound;
mod failure;
mod filters;
mod matrix;
mod native;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod vector;

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, File};

use self::matrix::{Matrix, MatrixError};
use self::table::{attribute, first_text};
use self::values::Held;
use super::error::IngestError;
use super::source::{MatrixPath, Source};
use super::tables;
use crate::csr::Csr;
use crate::frame::Table;

const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// An open h5ad file.
pub struct H5ad {
    path: PathBuf,
    file: File,
    n_rows: usize,
    open: Mutex<HashMap<String, Arc<Matrix>>>,
}

impl H5ad {
    /// Opens a file and checks that it is an AnnData one.
    ///
    /// # Errors
    /// When the file is missing, truncated, not HDF5, or not AnnData.
    pub fn open(path: &Path) -> Result<Self, IngestError> {
        native::register();
        let signed = is_signed(path).map_err(|e| failure::refused(path, e))?;
        let file = File::open(path).map_err(|e| failure::unopened(path, signed, &e))?;
        for table in ["obs", "var"] {
            if !file.link_exists(table) {
                return Err(IngestError::Unrecognised {
                    path: path.into(),
                    what: format!("an HDF5 file, but not an h5ad: it has no '{table}'"),
                    fix: "write it with anndata's write_h5ad (10x .h5 files: scanpy.read_10x_h5 first)".into(),
                });
            }
        }
        let mut source = Self { path: path.into(), file, n_rows: 0, open: Mutex::default() };
        source.n_rows = source.table("obs")?.frame.index.len();
        Ok(source)
    }

    fn table(&self, name: &str) -> Result<Table, IngestError> {
        table::read(&self.file, name).map_err(|what| self.damaged(name, what))
    }

    /// Where a matrix lies; anndata before 0.7 spelled `raw/X` otherwise.
    fn place(&self, matrix: &MatrixPath) -> String {
        if *matrix == MatrixPath::Raw && self.file.link_exists("raw.X") { "raw.X".into() } else { matrix.to_string() }
    }

    fn matrix(&self, at: &str) -> Result<Arc<Matrix>, IngestError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(matrix) = open.get(at) {
            return Ok(Arc::clone(matrix));
        }
        if self.is_absent(at) {
            return Err(IngestError::NotFound {
                option: "--matrix",
                wanted: at.into(),
                owner: self.name(),
                found: self.matrices()?.iter().map(ToString::to_string).collect(),
            });
        }
        let matrix = Arc::new(Matrix::open(&self.file, at).map_err(|e| self.matrix_error(at, e))?);
        if matrix.shape().0 != self.n_rows {
            return Err(self.damaged(at, format!("has {} rows for {} cells", matrix.shape().0, self.n_rows)));
        }
        open.insert(at.into(), Arc::clone(&matrix));
        Ok(matrix)
    }

    fn rows_at(&self, at: &str, rows: Range<usize>, block: &mut Csr) -> Result<(), IngestError> {
        let matrix = self.matrix(at)?;
        if rows.start > rows.end || rows.end > self.n_rows {
            return Err(self.damaged(at, format!("rows {rows:?} were asked for, there are {}", self.n_rows)));
        }
        matrix.read_rows(rows, block).map_err(|e| self.matrix_error(at, e))
    }

    fn matrix_error(&self, at: &str, error: MatrixError) -> IngestError {
        match error {
            MatrixError::Said(what) => self.damaged(at, what),
            MatrixError::Spill(error) => error,
        }
    }

    fn damaged(&self, item: &str, what: impl Into<String>) -> IngestError {
        IngestError::item(&self.path, item, what)
    }

    fn members(&self, group: &str) -> Result<Vec<String>, IngestError> {
        if !self.file.link_exists(group) {
            return Ok(Vec::new());
        }
        self.file.group(group).and_then(|group| group.member_names()).map_err(|e| self.damaged(group, failure::said(e)))
    }

    /// Whether nothing lies at a path, or what AnnData puts in the place of nothing: a dataset without values.
    fn is_absent(&self, at: &str) -> bool {
        let parent = at.rsplit_once('/').map(|(parent, _)| parent);
        if parent.is_some_and(|parent| !self.file.link_exists(parent)) || !self.file.link_exists(at) {
            return true;
        }
        self.file.dataset(at).is_ok_and(|data| {
            let encoding = attribute(&data, "encoding-type").and_then(|a| first_text(&a));
            let null = encoding.as_deref() == Some("null") || data.space().is_ok_and(|space| space.is_null());
            null || data.shape().first() == Some(&0)
        })
    }

    /// A compound `obsm`, as anndata wrote before 0.7.
    fn compound_obsm(&self) -> Option<(Dataset, hdf5::types::CompoundType)> {
        let data = self.file.dataset("obsm").ok()?;
        let TypeDescriptor::Compound(rows) = data.described().ok()? else { return None };
        Some((data, rows))
    }

    fn is_table(&self, at: &str) -> bool {
        self.file
            .group(at)
            .is_ok_and(|g| attribute(&g, "encoding-type").and_then(|a| first_text(&a)).as_deref() == Some("dataframe"))
    }
}

impl Source for H5ad {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn obs(&self) -> Result<Table, IngestError> {
        self.table("obs")
    }

    fn var(&self, matrix: &MatrixPath) -> Result<Table, IngestError> {
        let place = self.place(matrix);
        let name = match place.as_str() {
            "raw/X" => "raw/var",
            "raw.X" => "raw.var",
            _ => "var",
        };
        let table = self.table(name)?;
        let (n_rows, n_cols) = (table.frame.index.len(), self.matrix(&place)?.shape().1);
        if n_rows != n_cols {
            return Err(self.damaged(name, format!("has {n_rows} rows for {n_cols} columns of {matrix}")));
        }
        Ok(table)
    }

    fn matrices(&self) -> Result<Vec<MatrixPath>, IngestError> {
        let mut found = Vec::new();
        found.push(MatrixPath::X);
        found.extend(self.members("layers")?.into_iter().map(MatrixPath::Layer));
        found.push(MatrixPath::Raw);
        found.retain(|matrix| !self.is_absent(&self.place(matrix)));
        Ok(found)
    }

    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn read_into(&self, matrix: &MatrixPath, rows: Range<usize>, block: &mut Csr) -> Result<(), IngestError> {
        self.rows_at(&self.place(matrix), rows, block)
    }

    fn dense_names(&self) -> Result<Vec<String>, IngestError> {
        match self.compound_obsm() {
            Some((_, rows)) => Ok(compound::matrices(&rows)),
            None => self.members("obsm"),
        }
    }

    fn read_dense(&self, name: &str) -> Result<(usize, Vec<f32>), IngestError> {
        let at = format!("obsm/{name}");
        if let Some((data, rows)) = self.compound_obsm() {
            filters::check(&data).map_err(|what| self.damaged("obsm", what))?;
            return compound::matrix(&data, &rows, name).map_err(|what| self.damaged(&at, what));
        }
        if self.is_table(&at) {
            return tables::dense(&self.table(&at)?).map_err(|what| self.damaged(&at, what));
        }
        let mut block = Csr::default();
        self.rows_at(&at, 0..self.n_rows, &mut block)?;
        let mut dense = vec![0.0; block.n_rows() * block.n_cols];
        for (row, out) in dense.chunks_exact_mut(block.n_cols.max(1)).enumerate() {
            let (columns, values) = block.row(row);
            for (&column, &value) in columns.iter().zip(values) {
                out[column as usize] = value;
            }
        }
        Ok((block.n_cols, dense))
    }

    fn dense_columns(&self, name: &str) -> Result<Option<Vec<String>>, IngestError> {
        let at = format!("obsm/{name}");
        if !self.is_table(&at) {
            return Ok(None);
        }
        Ok(Some(self.table(&at)?.frame.columns.into_iter().map(|column| column.name).collect()))
    }
}

fn is_signed(path: &Path) -> std::io::Result<bool> {
    let mut head = [0_u8; 8];
    let read = std::fs::File::open(path)?.take(8).read(&mut head)?;
    Ok(read == 8 && &head == SIGNATURE)
}
