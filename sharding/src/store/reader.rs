//! A cell store opened for reading.
//!
//! Guarantee: opening reads metadata, row starts, genes and labels, never the matrix. [`CellStore::read_rows`]
//! may be called from many threads at once, decodes on the calling thread, and returns a valid block or an
//! error that names the array and the chunk.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::digest::BlockDigest;
use super::error::StoreError;
use super::info::{DIGESTS, FORMAT, RECORD, Record, StoreInfo};
use super::labels::{self, LIBRARY_SIZE};
use crate::anndata::AnnDataError;
use crate::anndata::frame::{read_frame, read_index};
use crate::anndata::matrix::Matrix;
use crate::anndata::zarr::{NodeKind, Scratch, ZarrReader, is_remote};
use crate::block::{Block, BlockTypes};
use crate::csr::Csr;
use crate::frame::Frame;
use crate::labels::Labels;

/// A cell store opened for reading.
pub struct CellStore {
    path: PathBuf,
    reader: ZarrReader,
    record: Record,
    x: Matrix,
    nnz: u64,
    genes: Vec<String>,
    labels: Labels,
    library_size: Vec<f32>,
    obs: OnceLock<Frame>,
    var: OnceLock<Frame>,
}

/// Whether a cell store lies at `path`, whole or not; other AnnData lacks its record.
pub fn is_store(path: &Path) -> bool {
    if is_remote(path) {
        return ZarrReader::open(path).is_ok_and(|reader| reader.kind(RECORD).is_ok_and(|kind| kind.is_some()));
    }
    path.join(RECORD).is_dir()
}

/// What a store says of itself and of its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Kind of values, origin.
    pub info: StoreInfo,
    /// Labels of all cells.
    pub labels: Labels,
}

impl Recorded {
    /// Reads what the store at `path`, a folder, a zip file or an address, says; nothing where other AnnData lies there.
    ///
    /// # Errors
    /// When a store of ours lies there, but its format is not known or its tables are damaged.
    pub fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let reader = ZarrReader::open(path)?;
        if reader.kind(RECORD)? != Some(NodeKind::Array) {
            return Ok(None);
        }
        let record = read_record(&reader, path)?;
        let labels = labels::read(&reader, &record, read_index(&reader, "obs")?.len())?;
        Ok(Some(Self { info: record.info, labels }))
    }
}

fn read_record(reader: &ZarrReader, path: &Path) -> Result<Record, StoreError> {
    let record = reader.array(RECORD)?.read_text(&[])?.pop().unwrap_or_default();
    let record: Record = serde_json::from_str(&record)
        .map_err(|error| AnnDataError::encoding(reader.name(), RECORD, error.to_string()))?;
    if record.info.format != FORMAT {
        let problem = format!("its format is {}, this program reads {FORMAT}", record.info.format);
        return Err(StoreError::NotAStore { path: path.into(), problem });
    }
    Ok(record)
}

impl CellStore {
    /// Opens the store at `path`.
    ///
    /// # Errors
    /// When there is no whole store of a known format, or its tables are damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let not_a_store = |problem: &str| StoreError::NotAStore { path: path.into(), problem: problem.into() };
        if !is_remote(path) && !path.is_dir() {
            return Err(not_a_store("there is no such folder"));
        }
        let reader = ZarrReader::open(path)?.whole();
        if reader.kind("")?.is_none() || reader.kind(RECORD)? != Some(NodeKind::Array) {
            return Err(not_a_store("the record uns/syncyte is missing"));
        }
        let record = read_record(&reader, path)?;
        let x = Matrix::open(&reader, "X", true)?;
        let nnz = *x.indptr().and_then(<[u64]>::last).ok_or_else(|| not_a_store("X is not stored by rows"))?;
        let genes = read_index(&reader, "var")?;
        let labels = labels::read(&reader, &record, x.n_rows())?;
        let array = reader.array(&format!("obs/{LIBRARY_SIZE}"))?;
        let library_size = array.read_f32(&array.all())?;
        if genes.len() != x.n_cols() || library_size.len() != x.n_rows() || record.chunk_rows == 0 {
            return Err(not_a_store("X, obs and var do not have the same shape"));
        }
        Ok(Self {
            path: path.into(),
            reader,
            record,
            x,
            nnz,
            genes,
            labels,
            library_size,
            obs: OnceLock::new(),
            var: OnceLock::new(),
        })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.x.n_rows()
    }

    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        self.genes.len()
    }

    /// Number of stored values of X.
    pub fn nnz(&self) -> u64 {
        self.nnz
    }

    /// Rows of a block: what is best read at once.
    pub fn chunk_rows(&self) -> usize {
        self.record.chunk_rows
    }

    /// Gene names, the index of `var`.
    pub fn genes(&self) -> &[String] {
        &self.genes
    }

    /// Labels of all cells.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Sum of counts of every cell over all genes; 0 in a log1p store.
    pub fn library_size(&self) -> &[f32] {
        &self.library_size
    }

    /// What the store says of itself.
    pub fn info(&self) -> &StoreInfo {
        &self.record.info
    }

    /// SHA-256, in hex, over genes, labels, shape and the digests of all blocks of rows, taken when written.
    pub fn data_hash(&self) -> &str {
        &self.record.data_hash
    }

    /// The table of cells; read on first use.
    ///
    /// # Errors
    /// When a column is damaged.
    pub fn obs(&self) -> Result<&Frame, StoreError> {
        self.table("obs", &self.obs)
    }

    /// The table of genes; read on first use.
    ///
    /// # Errors
    /// When a column is damaged.
    pub fn var(&self) -> Result<&Frame, StoreError> {
        self.table("var", &self.var)
    }

    fn table<'a>(&self, path: &str, cell: &'a OnceLock<Frame>) -> Result<&'a Frame, StoreError> {
        if let Some(frame) = cell.get() {
            return Ok(frame);
        }
        let frame = read_frame(&self.reader, path)?;
        Ok(cell.get_or_init(|| frame))
    }

    /// A block of rows of X.
    ///
    /// # Errors
    /// When `rows` is out of range or a chunk is damaged; the error names store, array and chunk.
    pub fn read_rows(&self, rows: Range<usize>) -> Result<Csr, StoreError> {
        self.check_rows(&rows)?;
        self.x.read_rows(rows).map_err(|source| StoreError::Damaged { source })
    }

    /// Reads a block of rows of X in the types in which they are stored.
    pub(crate) fn read_block(
        &self,
        rows: Range<usize>,
        scratch: &mut Scratch,
        block: &mut Block,
    ) -> Result<(), StoreError> {
        self.check_rows(&rows)?;
        self.x.read_block(rows, scratch, block).map_err(|source| StoreError::Damaged { source })
    }

    /// The types of the blocks that are read.
    pub(crate) fn block_types(&self) -> BlockTypes {
        self.x.block_types()
    }

    /// Says that a block of rows will be read soon.
    pub(crate) fn will_read(&self, rows: Range<usize>) {
        self.x.will_read(rows);
    }

    fn check_rows(&self, rows: &Range<usize>) -> Result<(), StoreError> {
        if rows.start > rows.end || rows.end > self.n_cells() {
            let (path, cells) = (self.path.clone(), self.n_cells());
            return Err(StoreError::Rows { path, start: rows.start, end: rows.end, cells });
        }
        Ok(())
    }

    /// Number of stored values of a block of rows, without reading it.
    pub fn rows_nnz(&self, rows: Range<usize>) -> Option<u64> {
        let indptr = self.x.indptr()?;
        Some(indptr.get(rows.end)?.saturating_sub(*indptr.get(rows.start)?))
    }

    /// Names of the layers.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn layers(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.reader.children("layers")?)
    }

    /// A layer, as a matrix of its own.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn layer(&self, name: &str) -> Result<Layer, StoreError> {
        Ok(Layer { matrix: Matrix::open(&self.reader, &format!("layers/{name}"), true)? })
    }

    /// Names of the dense matrices of `obsm`.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn obsm_names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.reader.children("obsm")?)
    }

    /// Rows of a dense matrix of `obsm`: its number of columns, and the values row by row.
    ///
    /// # Errors
    /// When there is none of that name, `rows` is out of range, or a chunk is damaged.
    pub fn read_obsm(&self, name: &str, rows: Range<usize>) -> Result<(usize, Vec<f32>), StoreError> {
        let array = self.reader.array(&format!("obsm/{name}"))?;
        let &[_, cols] = array.shape() else {
            return Err(array.error("a dense matrix has two dimensions").into());
        };
        Ok((cols as usize, array.read_f32(&[rows.start as u64..rows.end as u64, 0..cols])?))
    }

    pub(super) fn reader(&self) -> &ZarrReader {
        &self.reader
    }

    /// The digest of every block of rows, as recorded when written.
    pub(super) fn block_digests(&self) -> Result<Vec<BlockDigest>, StoreError> {
        let array = self.reader.array(DIGESTS)?;
        let bytes = array.read_u32(&array.all())?;
        let digests = bytes.chunks_exact(32).map(|block| std::array::from_fn(|at| block[at] as u8));
        Ok(digests.collect())
    }
}

/// A layer of a store, opened for reading.
pub struct Layer {
    matrix: Matrix,
}

impl Layer {
    /// A block of rows.
    ///
    /// # Errors
    /// As [`CellStore::read_rows`].
    pub fn read_rows(&self, rows: Range<usize>) -> Result<Csr, StoreError> {
        Ok(self.matrix.read_rows(rows)?)
    }
}
