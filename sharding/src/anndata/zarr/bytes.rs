//! Where the bytes of a store come from: files of a folder, a server, or anything that zarrs can read.
//!
//! Guarantee: a read yields all bytes asked for or an error; reads may come from many threads at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use zarrs::storage::byte_range::{ByteRange, ByteRangeIterator};
use zarrs::storage::{
    ListableStorageTraits, MaybeBytes, MaybeBytesIterator, ReadableListableStorage, ReadableStorageTraits,
    StorageError, StoreKey, StoreKeys, StoreKeysPrefixes, StorePrefix,
};

/// Files of a folder that are kept open; more are opened for each read.
const OPEN_FILES: usize = 256;

/// Named sequences of bytes that are read in parts.
pub(crate) trait ByteSource: Send + Sync {
    /// Bytes of `key`, or nothing where there is no such key.
    fn size(&self, key: &str) -> Result<Option<u64>, Error>;

    /// Fills `out` with the bytes of `key` from `offset` on.
    fn read(&self, key: &str, offset: u64, out: &mut [u8]) -> Result<(), Error>;

    /// Says that these bytes will be read soon.
    fn will_read(&self, _key: &str, _offset: u64, _bytes: u64) {}
}

/// The files below a folder.
pub(super) struct Folder {
    path: PathBuf,
    open: Mutex<HashMap<String, Arc<File>>>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: Mutex::default() }
    }

    fn file(&self, key: &str) -> Result<Arc<File>, Error> {
        // No code that can panic runs while the table is half-changed.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(key) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.path.join(key))?);
        if open.len() < OPEN_FILES {
            open.insert(key.into(), Arc::clone(&file));
        }
        Ok(file)
    }
}

impl ByteSource for Folder {
    fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.file(key) {
            Ok(file) => file.metadata().map(|metadata| Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, key: &str, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file(key)?.read_exact_at(out, offset)
    }

    fn will_read(&self, key: &str, offset: u64, bytes: u64) {
        if let (Ok(file), Some(bytes)) = (self.file(key), std::num::NonZeroU64::new(bytes)) {
            // Advice: where it is not taken, the read itself will wait.
            let _ = rustix::fs::fadvise(&*file, offset, Some(bytes), rustix::fs::Advice::WillNeed);
        }
    }
}

/// A storage that knows the size of a file before it reads a part of it. The damaged index of a shard asks for parts
/// of any length, and zarrs takes memory for whatever is asked for.
pub(super) struct Guarded(pub(super) ReadableListableStorage);

/// Where a range begins and how long it is in `size` bytes, if it lies in them.
fn within(range: ByteRange, size: u64) -> Option<ByteRange> {
    let (start, length) = match range {
        ByteRange::FromStart(start, Some(length)) => (start, length),
        ByteRange::FromStart(start, None) => (start, size.checked_sub(start)?),
        ByteRange::Suffix(length) => (size.checked_sub(length)?, length),
    };
    start.checked_add(length).filter(|&end| end <= size)?;
    Some(ByteRange::FromStart(start, Some(length)))
}

impl ReadableStorageTraits for Guarded {
    fn get(&self, key: &StoreKey) -> Result<MaybeBytes, StorageError> {
        self.0.get(key)
    }

    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, StorageError> {
        let Some(size) = self.0.size_key(key)? else { return Ok(None) };
        let beyond = |range| {
            let problem = format!("{key}: {range} lies beyond its {size} bytes: it, or its index, is damaged");
            StorageError::Other(problem)
        };
        let ranges: Vec<ByteRange> =
            ranges.map(|range| within(range, size).ok_or_else(|| beyond(range))).collect::<Result<_, _>>()?;
        self.0.get_partial_many(key, Box::new(ranges.into_iter()))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        self.0.size_key(key)
    }

    fn supports_get_partial(&self) -> bool {
        self.0.supports_get_partial()
    }
}

impl ListableStorageTraits for Guarded {
    fn list(&self) -> Result<StoreKeys, StorageError> {
        self.0.list()
    }

    fn list_prefix(&self, prefix: &StorePrefix) -> Result<StoreKeys, StorageError> {
        self.0.list_prefix(prefix)
    }

    fn list_dir(&self, prefix: &StorePrefix) -> Result<StoreKeysPrefixes, StorageError> {
        self.0.list_dir(prefix)
    }

    fn size_prefix(&self, prefix: &StorePrefix) -> Result<u64, StorageError> {
        self.0.size_prefix(prefix)
    }
}

/// A storage of zarrs: zip files.
pub(super) struct Storage(pub(super) ReadableListableStorage);

impl Storage {
    fn key(key: &str) -> Result<StoreKey, Error> {
        StoreKey::new(key).map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
    }
}

fn io_error(error: StorageError) -> Error {
    match error {
        StorageError::IOError(error) => Error::new(error.kind(), error.to_string()),
        other => Error::other(other.to_string()),
    }
}

impl ByteSource for Storage {
    fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        self.0.size_key(&Self::key(key)?).map_err(io_error)
    }

    fn read(&self, key: &str, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let range = ByteRange::FromStart(offset, Some(out.len() as u64));
        let bytes = self.0.get_partial(&Self::key(key)?, range).map_err(io_error)?;
        filled(out, bytes.as_deref())
    }
}

/// Fills `out` with the bytes that came, which are to be as many.
pub(super) fn filled(out: &mut [u8], bytes: Option<&[u8]>) -> Result<(), Error> {
    let bytes = bytes.ok_or_else(|| Error::new(ErrorKind::NotFound, "it is missing"))?;
    if bytes.len() != out.len() {
        let problem = format!("{} bytes came where {} were asked for", bytes.len(), out.len());
        return Err(Error::new(ErrorKind::UnexpectedEof, problem));
    }
    out.copy_from_slice(bytes);
    Ok(())
}
