//! One-dimensional arrays of numbers, written chunk by chunk into shards of any size.
//!
//! Guarantee: memory holds a few dozen chunks, whatever the size of a shard; every chunk and every index ends with a
//! crc32c; equal content gives equal files, however it was cut into pushes and however many threads encode. The array
//! exists for others once [`NumberStream::finish`] has written its metadata.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::ops::Range;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use syncyte_kernels::blosc::{self, Shuffle};

use super::error::ZarrError;
use super::numbers::{NumberArray, Scratch};
use super::read::ZarrReader;
use super::write::{Compression, ShardLayout, ZarrWriter};
use crate::block::{NumberType, Numbers};

/// Chunks that are encoded together.
const TOGETHER: usize = 64;
/// Bytes gathered before they go to a file.
const SHARD_BUFFER: usize = 1 << 20;
/// Offset and length of a chunk in the index of its shard, where the chunk is not there.
const ABSENT: [u8; 16] = [0xff; 16];

/// An array being written from front to back.
pub(crate) struct NumberStream {
    writer: ZarrWriter,
    path: String,
    number_type: NumberType,
    layout: ShardLayout,
    compression: Compression,
    /// Numbers not encoded yet, as bytes.
    pending: Vec<u8>,
    length: u64,
    /// Shards that are complete.
    shards: usize,
    current: Option<Shard>,
}

/// How far an array has been written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamSoFar {
    pub(crate) number_type: NumberType,
    pub(crate) length: u64,
    pub(crate) shards: usize,
    /// Bytes of the shard being written, if one is.
    pub(crate) offset: Option<u64>,
    /// Its index so far.
    #[serde(skip)]
    pub(crate) index: Vec<u8>,
    /// Numbers not encoded yet.
    #[serde(skip)]
    pub(crate) pending: Vec<u8>,
}

/// A shard being written.
struct Shard {
    file: BufWriter<File>,
    offset: u64,
    index: Vec<u8>,
}

impl NumberStream {
    /// Begins an array.
    pub(crate) fn new(
        writer: &ZarrWriter,
        path: String,
        number_type: NumberType,
        layout: ShardLayout,
        shuffle: Shuffle,
    ) -> Self {
        Self {
            writer: writer.clone(),
            path,
            number_type,
            layout,
            compression: Compression { level: 5, shuffle },
            pending: Vec::new(),
            length: 0,
            shards: 0,
            current: None,
        }
    }

    /// Goes on where an earlier process stood; what it wrote after that is removed.
    pub(crate) fn resume(mut self, so_far: StreamSoFar) -> Result<Self, ZarrError> {
        let StreamSoFar { number_type, length, shards, offset, index, pending } = so_far;
        debug_assert_eq!(number_type, self.number_type, "{}", self.path);
        (self.length, self.shards, self.pending) = (length, shards, pending);
        self.current = self.reopen(offset, index).map_err(|error| self.failed(&error))?;
        Ok(self)
    }

    fn reopen(&self, offset: Option<u64>, index: Vec<u8>) -> io::Result<Option<Shard>> {
        let folder = self.shard_folder();
        let kept = self.shards + usize::from(offset.is_some());
        for entry in folder.exists().then(|| fs::read_dir(&folder)).transpose()?.into_iter().flatten() {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<usize>().ok());
            if number.is_none_or(|number| number >= kept) {
                fs::remove_file(entry.path())?;
            }
        }
        let Some(offset) = offset else { return Ok(None) };
        let mut file = File::options().write(true).open(folder.join(self.shards.to_string()))?;
        if file.metadata()?.len() < offset {
            return Err(io::Error::other("it is shorter than it was; remove the unfinished store and begin anew"));
        }
        file.set_len(offset)?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(Some(Shard { file: BufWriter::with_capacity(SHARD_BUFFER, file), offset, index }))
    }

    /// Where the writing stands, once everything up to there is on the disk.
    pub(crate) fn so_far(&mut self) -> Result<StreamSoFar, ZarrError> {
        let synced = self.current.as_mut().map_or(Ok(()), |shard| {
            shard.file.flush()?;
            shard.file.get_ref().sync_data()
        });
        synced.map_err(|error| self.failed(&error))?;
        Ok(StreamSoFar {
            number_type: self.number_type,
            length: self.length,
            shards: self.shards,
            offset: self.current.as_ref().map(|shard| shard.offset),
            index: self.current.as_ref().map_or_else(Vec::new, |shard| shard.index.clone()),
            pending: self.pending.clone(),
        })
    }

    /// The type of the numbers.
    pub(crate) fn number_type(&self) -> NumberType {
        self.number_type
    }

    /// Numbers so far.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Appends numbers, which must be of the type of the array.
    pub(crate) fn push(&mut self, numbers: &mut Numbers) -> Result<(), ZarrError> {
        debug_assert_eq!(numbers.number_type(), self.number_type, "{}", self.path);
        let count = numbers.len();
        self.length += count as u64;
        self.pending.extend_from_slice(numbers.bytes_mut(0..count));
        let together = TOGETHER * self.chunk_bytes();
        if self.pending.len() >= together {
            let whole = self.pending.len() / together * together;
            self.encode(whole).map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// Writes what is left and the metadata. An array smaller than a shard gets a shard of its own size.
    pub(crate) fn finish(mut self) -> Result<(), ZarrError> {
        let item = self.number_type.bytes();
        if self.shards == 0 && self.current.is_none() {
            let chunk = self.layout.chunk.min((self.length as usize).next_power_of_two()).max(1);
            self.layout = ShardLayout { chunk, ..self.layout };
        }
        if self.shards == 0 && self.length < self.layout.shard as u64 {
            let chunk = self.layout.chunk;
            self.layout.shard = (self.length as usize).next_multiple_of(chunk).max(chunk);
        }
        let chunk_bytes = self.layout.chunk * item;
        self.pending.resize(self.pending.len().next_multiple_of(chunk_bytes), 0);
        let rest = self.pending.len();
        self.encode(rest).map_err(|error| self.failed(&error))?;
        if let Some(shard) = self.current.take() {
            self.close(shard).map_err(|error| self.failed(&error))?;
        }
        self.writer.numbers(&self.path, self.number_type, self.length, self.layout, self.compression, Map::new())
    }

    fn chunk_bytes(&self) -> usize {
        self.layout.chunk * self.number_type.bytes()
    }

    /// Encodes the first `bytes` of what is pending, whole chunks all.
    fn encode(&mut self, bytes: usize) -> io::Result<()> {
        let item = self.number_type.bytes();
        let Compression { level, shuffle } = self.compression;
        let encoded: Vec<Vec<u8>> = self.pending[..bytes]
            .par_chunks(self.chunk_bytes())
            .map(|chunk| {
                let mut frame = Vec::new();
                blosc::encode(chunk, item, shuffle, level, &mut frame).map_err(io::Error::other)?;
                let sum = crc32c::crc32c(&frame);
                frame.extend_from_slice(&sum.to_le_bytes());
                Ok(frame)
            })
            .collect::<io::Result<_>>()?;
        self.pending.drain(..bytes);
        for chunk in encoded {
            let mut shard = match self.current.take() {
                Some(shard) => shard,
                None => self.begin()?,
            };
            shard.append(&chunk)?;
            if shard.index.len() == self.index_bytes() {
                self.close(shard)?;
            } else {
                self.current = Some(shard);
            }
        }
        Ok(())
    }

    fn index_bytes(&self) -> usize {
        self.layout.shard / self.layout.chunk * ABSENT.len()
    }

    fn shard_folder(&self) -> PathBuf {
        self.writer.folder().join(&self.path).join("c")
    }

    fn begin(&self) -> io::Result<Shard> {
        let folder = self.shard_folder();
        fs::create_dir_all(&folder)?;
        let file = File::create_new(folder.join(self.shards.to_string()))?;
        Ok(Shard { file: BufWriter::with_capacity(SHARD_BUFFER, file), offset: 0, index: Vec::new() })
    }

    fn close(&mut self, mut shard: Shard) -> io::Result<()> {
        while shard.index.len() < self.index_bytes() {
            shard.index.extend_from_slice(&ABSENT);
        }
        let sum = crc32c::crc32c(&shard.index);
        shard.file.write_all(&shard.index)?;
        shard.file.write_all(&sum.to_le_bytes())?;
        shard.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        self.shards += 1;
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> ZarrError {
        ZarrError::io(self.writer.name(), &self.path, error)
    }

    /// Finishes the array under another name, to be read once more.
    pub(crate) fn finish_aside(self) -> Result<Aside, ZarrError> {
        let (writer, path) = (self.writer.clone(), self.path.clone());
        let aside = format!("{path}_aside");
        let folder = writer.folder().join(&aside);
        self.finish()?;
        let failed = |error: &io::Error| ZarrError::io(writer.name(), &path, error);
        fs::rename(writer.folder().join(&path), &folder).map_err(|error| failed(&error))?;
        let array = ZarrReader::open(writer.folder())?.numbers(&aside, true)?;
        let array = array.ok_or_else(|| ZarrError::new(writer.name(), &path, "it cannot be read back"))?;
        Ok(Aside { array, folder })
    }
}

/// An array put aside; its files are removed with it.
pub(crate) struct Aside {
    array: NumberArray,
    folder: PathBuf,
}

impl Aside {
    /// Reads the numbers `range` as another type.
    pub(crate) fn read_as(
        &self,
        number_type: NumberType,
        range: Range<u64>,
        scratch: &mut Scratch,
        out: &mut Numbers,
    ) -> Result<(), ZarrError> {
        out.reset(number_type, (range.end - range.start) as usize);
        self.array.read(range, scratch, out, 0)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What is left goes with the hidden folder around it, or does no harm in the store.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Shard {
    fn append(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        for number in [self.offset, chunk.len() as u64] {
            self.index.extend_from_slice(&number.to_le_bytes());
        }
        self.offset += chunk.len() as u64;
        Ok(())
    }
}
