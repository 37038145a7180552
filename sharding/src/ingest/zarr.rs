//! AnnData zarr stores of any origin as a source.

use std::ops::Range;
use std::path::Path;

use super::error::IngestError;
use super::source::{MatrixPath, Source};
use super::tables;
use crate::anndata::AnnDataZarr;
use crate::csr::Csr;
use crate::frame::Table;
use crate::store::Recorded;

/// An AnnData zarr store, versions 2 and 3, a folder or a zip archive.
pub struct ZarrSource {
    data: AnnDataZarr,
    /// What it says of itself, where it is a store of ours.
    store: Option<Recorded>,
}

impl ZarrSource {
    /// Whether a path looks like one.
    pub fn is_at(path: &Path) -> bool {
        let is_zip = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip")) && path.is_file();
        is_zip || ["zarr.json", ".zgroup", ".zattrs"].iter().any(|name| path.join(name).is_file())
    }

    /// Opens a store.
    ///
    /// # Errors
    /// When it is damaged or not AnnData.
    pub fn open(path: &Path) -> Result<Self, IngestError> {
        let data = AnnDataZarr::open(path)?;
        Ok(Self { data, store: Recorded::read(path)? })
    }
}

impl Source for ZarrSource {
    fn name(&self) -> String {
        self.data.path().display().to_string()
    }

    fn obs(&self) -> Result<Table, IngestError> {
        Ok(self.data.obs()?)
    }

    fn var(&self, matrix: &MatrixPath) -> Result<Table, IngestError> {
        Ok(self.data.var(&matrix.to_string())?)
    }

    fn matrices(&self) -> Result<Vec<MatrixPath>, IngestError> {
        let read = |name: &String| {
            name.parse().map_err(|what: String| IngestError::item(self.data.path(), name.as_str(), what))
        };
        self.data.matrices().iter().map(read).collect()
    }

    fn n_rows(&self) -> usize {
        self.data.n_rows()
    }

    fn as_store(&self) -> Option<&Recorded> {
        self.store.as_ref()
    }

    fn read_into(&self, matrix: &MatrixPath, rows: Range<usize>, block: &mut Csr) -> Result<(), IngestError> {
        *block = self.data.read_rows(&matrix.to_string(), rows)?;
        Ok(())
    }

    fn dense_names(&self) -> Result<Vec<String>, IngestError> {
        Ok(self.data.dense_names()?)
    }

    fn read_dense(&self, name: &str) -> Result<(usize, Vec<f32>), IngestError> {
        match self.data.dense_table(name)? {
            Some(table) => tables::dense(&table)
                .map_err(|what| IngestError::item(self.data.path(), format!("obsm/{name}").as_str(), what)),
            None => Ok(self.data.read_dense(name)?),
        }
    }

    fn dense_columns(&self, name: &str) -> Result<Option<Vec<String>>, IngestError> {
        if self.store.is_some() {
            return Ok(self.data.dense_column_names(name)?);
        }
        Ok(self
            .data
            .dense_table(name)?
            .map(|table| table.frame.columns.into_iter().map(|column| column.name).collect()))
    }
}
