//! AnnData zarr as others write it: versions 2 and 3, a folder or a zip file.
//!
//! Guarantee: [`AnnDataZarr`] reads tables and matrices as Python's anndata does, back to the encodings of
//! anndata 0.7; what it cannot read it names, with the node and what would be right. It never writes.

mod error;
pub(crate) mod frame;
pub(crate) mod matrix;
pub(crate) mod zarr;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use self::error::AnnDataError;
use self::frame::read_table;
use self::matrix::Matrix;
pub use self::zarr::ZarrError;
use self::zarr::{NodeKind, ZarrReader};
use crate::csr::Csr;
use crate::frame::Table;

/// An AnnData zarr of any origin, opened for reading.
pub struct AnnDataZarr {
    path: PathBuf,
    reader: ZarrReader,
    matrices: HashMap<String, Matrix>,
    names: Vec<String>,
    n_rows: usize,
}

impl AnnDataZarr {
    /// Opens a folder or a zip file.
    ///
    /// # Errors
    /// When there is no AnnData at `path`, or one of its matrices is not encoded as AnnData encodes it.
    pub fn open(path: &Path) -> Result<Self, AnnDataError> {
        let reader = ZarrReader::open(path)?;
        if reader.kind("")? != Some(NodeKind::Group) || reader.kind("obs")?.is_none() {
            let problem =
                "this is no AnnData zarr: there is no table obs; give the folder or zip file that anndata wrote";
            return Err(AnnDataError::encoding(reader.name(), "/", problem));
        }
        let mut names: Vec<String> = Vec::new();
        let single = ["X", "raw/X"];
        names.extend(single.iter().map(|&name| name.to_owned()));
        names.extend(reader.children("layers")?.into_iter().map(|layer| format!("layers/{layer}")));
        let mut matrices = HashMap::new();
        let mut found = Vec::new();
        for name in names {
            if is_matrix(&reader, &name)? {
                matrices.insert(name.clone(), Matrix::open(&reader, &name, false)?);
                found.push(name);
            }
        }
        let n_rows = match matrices.get("X") {
            Some(matrix) => matrix.n_rows(),
            None => frame::read_names(&reader, "obs")?.len(),
        };
        for name in &found {
            let rows = matrices.get(name).map_or(n_rows, Matrix::n_rows);
            if rows != n_rows {
                let problem = format!("the matrix has {rows} rows, X has {n_rows}");
                return Err(AnnDataError::encoding(reader.name(), name, problem));
            }
        }
        Ok(Self { path: path.into(), reader, matrices, names: found, n_rows })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of cells.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Paths of the matrices: `X`, `raw/X`, `layers/…`.
    pub fn matrices(&self) -> &[String] {
        &self.names
    }

    /// Number of genes of a matrix.
    ///
    /// # Errors
    /// When there is no such matrix.
    pub fn n_cols(&self, matrix: &str) -> Result<usize, AnnDataError> {
        Ok(self.matrix(matrix)?.n_cols())
    }

    /// The table of cells.
    ///
    /// # Errors
    /// When the names of the cells cannot be read; a column that cannot is left out.
    pub fn obs(&self) -> Result<Table, AnnDataError> {
        self.table("obs", self.n_rows)
    }

    /// The table of the genes of a matrix: `raw/var` for `raw/X`, else `var`.
    ///
    /// # Errors
    /// When the names of the genes cannot be read, or are not as many as the matrix is wide; a column that cannot be
    /// read is left out.
    pub fn var(&self, matrix: &str) -> Result<Table, AnnDataError> {
        let cols = self.n_cols(matrix)?;
        self.table(if matrix.starts_with("raw/") { "raw/var" } else { "var" }, cols)
    }

    /// A block of rows of a matrix. A CSC matrix is held in memory from the first call on.
    ///
    /// # Errors
    /// When there is no such matrix, the rows are out of range, or a chunk does not decode.
    pub fn read_rows(&self, matrix: &str, rows: Range<usize>) -> Result<Csr, AnnDataError> {
        self.matrix(matrix)?.read_rows(rows)
    }

    /// Names of the matrices of `obsm`, tables among them.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn dense_names(&self) -> Result<Vec<String>, AnnDataError> {
        let mut names = self.reader.children("obsm")?;
        // A folder without metadata is none.
        let mut kinds = Vec::with_capacity(names.len());
        for name in &names {
            kinds.push(self.reader.kind(&format!("obsm/{name}"))?.is_some());
        }
        let mut kinds = kinds.into_iter();
        names.retain(|_| kinds.next().unwrap_or(false));
        Ok(names)
    }

    /// A table of `obsm`; nothing where it is a matrix.
    ///
    /// # Errors
    /// When it does not decode or has not as many rows as there are cells.
    pub fn dense_table(&self, name: &str) -> Result<Option<Table>, AnnDataError> {
        let node = format!("obsm/{name}");
        if self.is_table(&node)? { self.table(&node, self.n_rows()).map(Some) } else { Ok(None) }
    }

    /// Names of the columns of a dense matrix of `obsm`, where `uns` has them as our stores do.
    ///
    /// # Errors
    /// When they do not decode.
    pub fn dense_column_names(&self, name: &str) -> Result<Option<Vec<String>>, AnnDataError> {
        let node = format!("uns/{name}_names");
        match self.reader.kind(&node)? {
            Some(NodeKind::Array) => frame::read_names(&self.reader, &node).map(Some),
            _ => Ok(None),
        }
    }

    fn is_table(&self, node: &str) -> Result<bool, AnnDataError> {
        if self.reader.kind(node)? != Some(NodeKind::Group) {
            return Ok(false);
        }
        let attributes = self.reader.group(node)?;
        Ok(attributes.get("encoding-type").and_then(serde_json::Value::as_str) == Some("dataframe"))
    }

    /// A dense matrix of `obsm`: its number of columns and its values, row by row.
    ///
    /// # Errors
    /// When there is none of that name, or it does not decode.
    pub fn read_dense(&self, name: &str) -> Result<(usize, Vec<f32>), AnnDataError> {
        let node = format!("obsm/{name}");
        if self.reader.kind(&node)? != Some(NodeKind::Array) {
            let problem = "is no dense matrix; dense matrices and tables of numbers are kept";
            return Err(AnnDataError::encoding(self.reader.name(), &node, problem));
        }
        let array = self.reader.array(&node)?;
        let cols = match array.shape() {
            [_] => 1,
            &[_, cols] => cols as usize,
            other => return Err(array.error(&format!("one or two dimensions are read, not shape {other:?}")).into()),
        };
        Ok((cols, array.read_f32(&array.all())?))
    }

    fn matrix(&self, name: &str) -> Result<&Matrix, AnnDataError> {
        self.matrices.get(name).ok_or_else(|| {
            let problem = format!("there is no such matrix; there are {}", self.names.join(", "));
            AnnDataError::encoding(self.reader.name(), name, problem)
        })
    }

    fn table(&self, path: &str, rows: usize) -> Result<Table, AnnDataError> {
        let table = read_table(&self.reader, path)?;
        let found = table.frame.index.len();
        if found != rows {
            let problem = format!("the table has {found} rows, the matrix wants {rows}");
            return Err(AnnDataError::encoding(self.reader.name(), path, problem));
        }
        Ok(table)
    }
}

/// Whether a matrix is at `path`; AnnData without X has a `null` there, or an array without extent.
fn is_matrix(reader: &ZarrReader, path: &str) -> Result<bool, AnnDataError> {
    Ok(match reader.kind(path)? {
        None => false,
        Some(NodeKind::Group) => {
            reader.group(path)?.get("encoding-type").and_then(serde_json::Value::as_str) != Some("null")
        }
        Some(NodeKind::Array) => reader.array(path).is_ok_and(|array| matches!(array.shape(), [rows, _] if *rows > 0)),
    })
}
