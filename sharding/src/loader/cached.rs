//! A cache of decoded rows on a local disk, shared by the ranks of a node.
//!
//! Guarantee: what comes out is what the store holds: a chunk is taken from the cache only where its checksum is right,
//! else from the store. Chunks are written when they are first decoded and mapped into memory afterwards, so all
//! processes of a node that name one folder share them through the system's page cache, and a later run finds them
//! there. A cache that cannot be written to (a full disk) is passed over with a warning; nothing fails for it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::Mmap;
use thiserror::Error;

use super::{RowReader, Scratch};
use crate::block::{Block, BlockTypes};
use crate::mapping;

/// Why a cache cannot be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The store cannot be cached.
    #[error("{store}: {problem}; leave the cache folder out")]
    Store {
        /// The store.
        store: String,
        /// Why not.
        problem: &'static str,
    },
    /// A file of the cache cannot be made or opened.
    #[error("{}: {source}; give a folder on a local disk with room for {bytes} bytes", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Bytes that the whole cache takes.
        bytes: u64,
        /// What the system says.
        source: io::Error,
    },
}

/// The rows of another reader, through a cache of its decoded chunks.
pub struct CachedRows<R> {
    inner: Arc<R>,
    /// First value of every chunk, and the end of the last.
    starts: Vec<u64>,
    columns: Part,
    values: Part,
    index: File,
    full: AtomicBool,
    hits: AtomicU64,
}

/// The columns or the values of all chunks, one after the other.
struct Part {
    file: File,
    map: Mmap,
    item: usize,
}

/// What the index says of a chunk.
const ENTRY: usize = 8;
const FILLED: u32 = 0x5359_4e43;

impl Part {
    fn open(path: &Path, item: usize, values: u64) -> io::Result<Self> {
        let file = open(path, values * item as u64)?;
        let map = mapping::map(&file)?;
        Ok(Self { file, map, item })
    }

    fn bytes(&self, values: &Range<u64>) -> Range<usize> {
        values.start as usize * self.item..values.end as usize * self.item
    }
}

/// Opens a file of a cache, of a length that it keeps.
fn open(path: &Path, length: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    // A sparse file: blocks of the disk are taken when a chunk is written.
    if file.metadata()?.len() < length.max(1) {
        file.set_len(length.max(1))?;
    }
    Ok(file)
}

impl<R: RowReader> CachedRows<R> {
    /// Opens the cache of `inner` below `folder`, where other processes may have begun it.
    ///
    /// # Errors
    /// When the store does not say what it holds or how long its rows are, or the files cannot be made.
    pub fn open(inner: &Arc<R>, folder: &Path) -> Result<Self, CacheError> {
        let refuse = |problem| CacheError::Store { store: inner.name(), problem };
        let hash =
            inner.content_hash().ok_or_else(|| refuse("only cell stores, whose content has a hash, are cached"))?;
        let types = inner.block_types();
        let (chunk_rows, n_cells) = (inner.chunk_rows(), inner.n_cells());
        let mut starts = vec![0];
        let mut values = 0_u64;
        for row in 0..n_cells {
            values += inner.row_nnz(row).ok_or_else(|| refuse("dense rows are not cached"))? as u64;
            if (row + 1).is_multiple_of(chunk_rows) || row + 1 == n_cells {
                starts.push(values);
            }
        }
        let name: String = hash.chars().take(32).chain(format!("-{chunk_rows}").chars()).collect();
        let folder = folder.join(name);
        let bytes = values * (types.columns.bytes() + types.values.bytes()) as u64;
        let failed = |path: &Path, source| CacheError::File { path: path.into(), bytes, source };
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        let part = |name: &str, item: usize| {
            let path = folder.join(name);
            Part::open(&path, item, values).map_err(|error| failed(&path, error))
        };
        let (columns, values) = (part("columns", types.columns.bytes())?, part("values", types.values.bytes())?);
        let path = folder.join("index");
        let index = open(&path, (ENTRY * (starts.len() - 1)) as u64).map_err(|error| failed(&path, error))?;
        let inner = Arc::clone(inner);
        Ok(Self { inner, starts, columns, values, index, full: AtomicBool::new(false), hits: AtomicU64::new(0) })
    }

    /// Chunks that came out of the cache so far.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// The values of a chunk, where `rows` are one.
    fn chunk(&self, rows: &Range<usize>) -> Option<(usize, Range<u64>)> {
        let (chunk_rows, index) = (self.inner.chunk_rows(), rows.start / self.inner.chunk_rows());
        let whole = rows.start == index * chunk_rows && rows.end == (rows.start + chunk_rows).min(self.inner.n_cells());
        (whole && !rows.is_empty()).then(|| (index, self.starts[index]..self.starts[index + 1]))
    }

    /// Takes a chunk out of the cache, if it is there and sound.
    fn take(&self, index: usize, span: &Range<u64>, rows: &Range<usize>, block: &mut Block) -> bool {
        let mut entry = [0; ENTRY];
        if self.index.read_exact_at(&mut entry, (index * ENTRY) as u64).is_err() {
            return false;
        }
        let [state, sum] =
            [0, 4].map(|at| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
        if state != FILLED {
            return false;
        }
        let columns = &self.columns.map[self.columns.bytes(span)];
        let values = &self.values.map[self.values.bytes(span)];
        let lengths = rows.clone().map(|row| self.inner.row_nnz(row).unwrap_or(0));
        block.lay_out(self.inner.n_genes(), self.inner.block_types(), lengths);
        let nnz = block.nnz();
        block.columns.bytes_mut(0..nnz).copy_from_slice(columns);
        block.values.bytes_mut(0..nnz).copy_from_slice(values);
        if checksum(block) != sum || block.validate().is_err() {
            tracing::warn!(store = self.inner.name(), chunk = index, "damaged in the cache; read from the store");
            return false;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Puts a chunk into the cache: its bytes first, then the entry that makes them count.
    fn put(&self, index: usize, span: &Range<u64>, block: &mut Block) -> io::Result<()> {
        let sum = checksum(block);
        let nnz = block.nnz();
        self.columns.file.write_all_at(block.columns.bytes_mut(0..nnz), self.columns.bytes(span).start as u64)?;
        self.values.file.write_all_at(block.values.bytes_mut(0..nnz), self.values.bytes(span).start as u64)?;
        let mut entry = [0; ENTRY];
        entry[..4].copy_from_slice(&FILLED.to_le_bytes());
        entry[4..].copy_from_slice(&sum.to_le_bytes());
        self.index.write_all_at(&entry, (index * ENTRY) as u64)
    }
}

fn checksum(block: &mut Block) -> u32 {
    let nnz = block.nnz();
    let sum = crc32c::crc32c(block.columns.bytes_mut(0..nnz));
    crc32c::crc32c_append(sum, block.values.bytes_mut(0..nnz))
}

impl<R: RowReader> RowReader for CachedRows<R> {
    type Error = R::Error;

    fn name(&self) -> String {
        self.inner.name()
    }

    fn content_hash(&self) -> Option<&str> {
        self.inner.content_hash()
    }

    fn n_cells(&self) -> usize {
        self.inner.n_cells()
    }

    fn n_genes(&self) -> usize {
        self.inner.n_genes()
    }

    fn nnz(&self) -> u64 {
        self.inner.nnz()
    }

    fn chunk_rows(&self) -> usize {
        self.inner.chunk_rows()
    }

    fn block_types(&self) -> BlockTypes {
        self.inner.block_types()
    }

    fn library_size(&self, row: usize) -> Option<f32> {
        self.inner.library_size(row)
    }

    fn is_log_normalised(&self) -> bool {
        self.inner.is_log_normalised()
    }

    fn row_nnz(&self, row: usize) -> Option<usize> {
        self.inner.row_nnz(row)
    }

    fn read_block(&self, rows: Range<usize>, scratch: &mut Scratch, block: &mut Block) -> Result<(), R::Error> {
        let Some((index, span)) = self.chunk(&rows) else { return self.inner.read_block(rows, scratch, block) };
        if self.take(index, &span, &rows, block) {
            return Ok(());
        }
        self.inner.read_block(rows, scratch, block)?;
        if !self.full.load(Ordering::Relaxed)
            && let Err(error) = self.put(index, &span, block)
            && !self.full.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(store = self.inner.name(), %error, "the cache takes no more chunks");
        }
        Ok(())
    }

    fn substitutes(&self, row: u64) -> Box<dyn Iterator<Item = u64> + '_> {
        self.inner.substitutes(row)
    }
}
