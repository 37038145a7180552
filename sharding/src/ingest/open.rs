//! Inputs by what they are.

use std::path::{Path, PathBuf};

use super::error::IngestError;
use super::h5ad::H5ad;
use super::mtx::MtxFolder;
use super::source::Source;
use super::zarr::ZarrSource;

/// Opens an input by what it is: a Matrix Market folder, an AnnData zarr folder or archive, or an h5ad file.
///
/// # Errors
/// When there is nothing at `path`, or it is none of these.
pub fn open(path: &Path) -> Result<Box<dyn Source>, IngestError> {
    let meta = std::fs::metadata(path).map_err(|e| IngestError::io(path, e))?;
    if ZarrSource::is_at(path) {
        return Ok(Box::new(ZarrSource::open(path)?));
    }
    if !meta.is_dir() {
        return Ok(Box::new(H5ad::open(path)?));
    }
    if MtxFolder::is_at(path) {
        return Ok(Box::new(MtxFolder::open(path)?));
    }
    Err(IngestError::Unrecognised {
        path: PathBuf::from(path),
        what: "the folder holds neither matrix.mtx[.gz] nor zarr metadata (zarr.json, .zgroup)".into(),
        fix: "give an .h5ad file, an AnnData zarr store or a Matrix Market folder".into(),
    })
}
