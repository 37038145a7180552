//! One-dimensional arrays of numbers, read by ranges straight into the caller's memory.
//!
//! The hot path of the loader. It serves the layouts in which cell stores are written, here and by annbatch: zarr
//! version 3, sharded or not, little-endian, Blosc or nothing, with or without crc32c. For every other layout
//! [`NumberArray::open`] has no answer, and zarrs reads it; the two are tested against each other.
//!
//! Guarantee: a range is read with one request a shard where its chunks lie in order, decoded on the calling thread
//! with no memory of its own beyond [`Scratch`], and checked against the checksums there are. An error names array,
//! file and chunk.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use syncyte_kernels::blosc;

use super::array::{Dtype, LONGEST_INDEX, room};
use super::bytes::ByteSource;
use super::error::ZarrError;
use crate::block::{NumberType, Numbers};

/// Memory for encoded bytes and for numbers on their way to another type.
#[derive(Default)]
pub(crate) struct Scratch {
    encoded: Vec<u8>,
    decoded: Vec<u8>,
}

/// One array.
pub(crate) struct NumberArray {
    source: Arc<dyn ByteSource>,
    store: String,
    path: String,
    dtype: Dtype,
    length: u64,
    layout: Layout,
    /// Where the chunks of every shard lie, once it was asked for.
    indices: Vec<OnceLock<Vec<Place>>>,
    /// Whether a file that is not there is an error, and not so many zeros.
    whole: bool,
}

/// How the array is cut and encoded.
struct Layout {
    /// Numbers of a file.
    shard: u64,
    /// Numbers of a chunk; a file that is no shard is one chunk.
    chunk: u64,
    /// The index of a shard; nothing where the file is one chunk.
    index: Option<Index>,
    blosc: bool,
    checksum: bool,
    /// What stands between the node and the number of the file: `/c/`, `/`, or `/c.`.
    separator: String,
}

/// How a shard says where its chunks lie.
#[derive(Clone, Copy)]
struct Index {
    at_end: bool,
    checksum: bool,
}

/// Where a chunk lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    bytes: u64,
}

impl Place {
    /// The mark of a chunk that holds nothing but the fill value.
    const ABSENT: u64 = u64::MAX;

    fn is_absent(self) -> bool {
        self.offset == Self::ABSENT && self.bytes == Self::ABSENT
    }
}

/// Files that are kept track of. An array of more is not served.
const MOST_FILES: u64 = 1 << 24;
const CHECKSUM: usize = 4;
const PLACE: usize = 16;

impl NumberArray {
    /// The array of a `zarr.json`, where its layout is one of those served here.
    pub(crate) fn open(
        source: &Arc<dyn ByteSource>,
        store: &str,
        path: &str,
        metadata: &Value,
        dtype: Dtype,
        whole: bool,
    ) -> Option<Self> {
        let [length] = metadata.get("shape")?.as_array()?.as_slice() else { return None };
        let length = length.as_u64()?;
        let layout = Layout::of(metadata, dtype)?;
        let files = length.div_ceil(layout.shard);
        if files > MOST_FILES {
            return None;
        }
        let indices = std::iter::repeat_with(OnceLock::new).take(files as usize).collect();
        Some(Self {
            source: Arc::clone(source),
            store: store.into(),
            path: path.trim_matches('/').into(),
            dtype,
            length,
            layout,
            indices,
            whole,
        })
    }

    /// The type that numbers are read as: the stored one where [`Numbers`] has it.
    pub(crate) fn natural_type(&self, of_columns: bool) -> NumberType {
        match self.dtype {
            Dtype::U8 | Dtype::Bool => NumberType::U8,
            Dtype::U16 => NumberType::U16,
            Dtype::U32 => NumberType::U32,
            _ if of_columns => NumberType::U32,
            _ => NumberType::F32,
        }
    }

    /// Reads the numbers `range` into `out` from `at` on.
    pub(crate) fn read(
        &self,
        range: Range<u64>,
        scratch: &mut Scratch,
        out: &mut Numbers,
        at: usize,
    ) -> Result<(), ZarrError> {
        if range.start > range.end || range.end > self.length {
            return Err(self.error(format!("{range:?} is not within the {} numbers there are", self.length)));
        }
        let count = (range.end - range.start) as usize;
        let bytes = (count as u64).checked_mul(self.dtype.bytes());
        room(bytes).map_err(|cause| self.error(cause))?;
        if stored_as(self.dtype, out.number_type()) {
            return self.read_bytes(range, &mut scratch.encoded, out.bytes_mut(at..at + count));
        }
        let Scratch { encoded, decoded } = scratch;
        decoded.resize(count * self.item(), 0);
        self.read_bytes(range, encoded, decoded)?;
        widen(self.dtype, decoded, out, at).ok_or_else(|| self.error("numbers were expected"))
    }

    /// Says that the numbers `range` will be read soon. Files whose index is not known yet are passed over.
    pub(crate) fn will_read(&self, range: Range<u64>) {
        let Layout { shard, chunk, .. } = self.layout;
        for file in range.start / shard..range.end.div_ceil(shard) {
            let Some(places) = self.indices.get(file as usize).and_then(OnceLock::get) else { continue };
            let first = file * shard;
            let (start, end) = (range.start.max(first) - first, range.end.min(first.saturating_add(shard)) - first);
            let wanted = places.get((start / chunk) as usize..end.div_ceil(chunk) as usize).unwrap_or_default();
            let present = || wanted.iter().filter(|place| !place.is_absent());
            let from = present().map(|place| place.offset).min().unwrap_or(0);
            let to = present().map(|place| place.offset + place.bytes).max().unwrap_or(0);
            self.source.will_read(&self.key(file), from, to - from);
        }
    }

    fn item(&self) -> usize {
        self.dtype.bytes() as usize
    }

    fn read_bytes(&self, range: Range<u64>, encoded: &mut Vec<u8>, mut out: &mut [u8]) -> Result<(), ZarrError> {
        let mut start = range.start;
        while start < range.end {
            let file = start / self.layout.shard;
            let end = range.end.min((file + 1).saturating_mul(self.layout.shard));
            let (now, later) = out.split_at_mut((end - start) as usize * self.item());
            let first = file * self.layout.shard;
            self.read_file(file, start - first..end - first, encoded, now)?;
            (start, out) = (end, later);
        }
        Ok(())
    }

    /// Reads numbers of one file, counted from its first.
    fn read_file(
        &self,
        file: u64,
        range: Range<u64>,
        encoded: &mut Vec<u8>,
        mut out: &mut [u8],
    ) -> Result<(), ZarrError> {
        let key = self.key(file);
        let places = self.places(file, &key)?;
        let chunk = self.layout.chunk;
        let wanted = range.start / chunk..range.end.div_ceil(chunk);
        let places = places
            .get(wanted.start as usize..wanted.end as usize)
            .ok_or_else(|| self.fault(&key, None, "its index is too short"))?;
        let held = Held::read(&*self.source, &key, places, encoded).map_err(|cause| self.fault(&key, None, cause))?;
        let mut start = range.start;
        for (index, &place) in wanted.zip(places) {
            let first = index * chunk;
            let end = range.end.min(first.saturating_add(chunk));
            let (now, later) = out.split_at_mut((end - start) as usize * self.item());
            self.decode(held.of(place), start - first, now).map_err(|cause| self.fault(&key, Some(index), cause))?;
            (start, out) = (end, later);
        }
        Ok(())
    }

    /// Decodes the numbers from `start` on of an encoded chunk.
    fn decode(&self, encoded: Option<&[u8]>, start: u64, out: &mut [u8]) -> Result<(), String> {
        let Some(mut encoded) = encoded else {
            out.fill(0);
            return Ok(());
        };
        if self.layout.checksum {
            let (content, sum) = encoded.split_last_chunk::<CHECKSUM>().ok_or("it is shorter than its checksum")?;
            if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
                return Err("its checksum is wrong: the data are damaged".into());
            }
            encoded = content;
        }
        let item = self.item();
        let whole = start == 0 && (out.len() / item) as u64 == self.layout.chunk;
        if !self.layout.blosc {
            let from = start as usize * item;
            let content = encoded.get(from..from + out.len()).ok_or("it is too short")?;
            out.copy_from_slice(content);
            return Ok(());
        }
        let bytes = self.layout.chunk.saturating_mul(item as u64);
        // Asked before memory is taken for what the frame claims to hold.
        match blosc::decoded_bytes(encoded) {
            Ok(found) if found as u64 == bytes => {}
            Ok(found) => return Err(format!("the Blosc frame holds {found} bytes where {bytes} were expected")),
            Err(error) => return Err(error.to_string()),
        }
        let decoded =
            if whole { blosc::decode(encoded, out) } else { blosc::decode_items(encoded, item, start as usize, out) };
        decoded.map_err(|error| error.to_string())
    }

    fn key(&self, file: u64) -> String {
        format!("{}{}{file}", self.path, self.layout.separator)
    }

    /// Where the chunks of a file lie.
    fn places(&self, file: u64, key: &str) -> Result<&[Place], ZarrError> {
        let cell = self.indices.get(file as usize).ok_or_else(|| self.fault(key, None, "there is no such file"))?;
        if let Some(places) = cell.get() {
            return Ok(places);
        }
        let places = self.read_places(key).map_err(|cause| self.fault(key, None, cause))?;
        Ok(cell.get_or_init(|| places))
    }

    fn read_places(&self, key: &str) -> Result<Vec<Place>, String> {
        let chunks = self.layout.shard.div_ceil(self.layout.chunk) as usize;
        let absent = || vec![Place { offset: Place::ABSENT, bytes: Place::ABSENT }; chunks];
        let Some(size) = self.source.size(key).map_err(|error| error.to_string())? else {
            return if self.whole { Err("the file is missing".into()) } else { Ok(absent()) };
        };
        let Some(shape) = self.layout.index else { return Ok(vec![Place { offset: 0, bytes: size }]) };
        let checksum = if shape.checksum { CHECKSUM } else { 0 };
        let bytes = (chunks * PLACE + checksum) as u64;
        let rest = size.checked_sub(bytes).ok_or("it is shorter than its index")?;
        let offset = if shape.at_end { rest } else { 0 };
        let mut index = vec![0; bytes as usize];
        self.source.read(key, offset, &mut index).map_err(|error| error.to_string())?;
        let (entries, sum) = index.split_at(chunks * PLACE);
        if shape.checksum && crc32c::crc32c(entries).to_le_bytes() != *sum {
            return Err("the checksum of its index is wrong: the data are damaged".into());
        }
        let number = |bytes: &[u8]| bytes.try_into().map_or(Place::ABSENT, u64::from_le_bytes);
        let place = |entry: &[u8]| Place { offset: number(&entry[..8]), bytes: number(&entry[8..]) };
        let places: Vec<Place> = entries.chunks_exact(PLACE).map(place).collect();
        let inside = |place: &Place| place.offset.checked_add(place.bytes).is_some_and(|end| end <= size);
        match places.iter().position(|place| !place.is_absent() && !inside(place)) {
            Some(chunk) => Err(format!("its index puts chunk {chunk} beyond its end: the data are damaged")),
            None => Ok(places),
        }
    }

    fn fault(&self, key: &str, chunk: Option<u64>, cause: impl ToString) -> ZarrError {
        let inner = chunk.filter(|_| self.layout.index.is_some()).map(|chunk| format!(", inner chunk {chunk}"));
        let node = format!("{} (chunk {key}{})", self.path, inner.unwrap_or_default());
        ZarrError::new(&self.store, &node, cause)
    }

    fn error(&self, cause: impl ToString) -> ZarrError {
        ZarrError::new(&self.store, &self.path, cause)
    }
}

/// The encoded bytes of some chunks of a file.
struct Held<'a> {
    bytes: &'a [u8],
    /// Offset in the file of the first byte, where they were read in one piece.
    first: u64,
    /// Else the places in the order read.
    scattered: Vec<Place>,
}

impl<'a> Held<'a> {
    /// Reads the chunks in one request where little lies between them, else one by one.
    fn read(source: &dyn ByteSource, key: &str, places: &[Place], memory: &'a mut Vec<u8>) -> Result<Self, String> {
        let present = || places.iter().filter(|place| !place.is_absent());
        let first = present().map(|place| place.offset).min().unwrap_or(0);
        let end = present().map(|place| place.offset + place.bytes).max().unwrap_or(0);
        let sum: u64 = present().map(|place| place.bytes).sum();
        let together = end - first <= sum + sum / 4;
        let length = if together { end - first } else { sum } as usize;
        // Memory only grows: filling it anew for every read would cost as much as reading.
        if memory.len() < length {
            memory.resize(length, 0);
        }
        let bytes = &mut memory[..length];
        if length == 0 {
            // The file need not be there.
            return Ok(Self { bytes, first, scattered: Vec::new() });
        }
        let mut scattered = Vec::new();
        if together {
            source.read(key, first, bytes).map_err(|error| error.to_string())?;
        } else {
            let mut rest = &mut *bytes;
            for &place in present() {
                let (now, later) = rest.split_at_mut(place.bytes as usize);
                source.read(key, place.offset, now).map_err(|error| error.to_string())?;
                rest = later;
                scattered.push(place);
            }
        }
        Ok(Self { bytes, first, scattered })
    }

    fn of(&self, place: Place) -> Option<&[u8]> {
        if place.is_absent() {
            return None;
        }
        let start = if self.scattered.is_empty() {
            place.offset - self.first
        } else {
            self.scattered.iter().take_while(|held| **held != place).map(|held| held.bytes).sum()
        };
        self.bytes.get(start as usize..(start + place.bytes) as usize)
    }
}

impl Layout {
    /// The layout that a `zarr.json` describes, if it is served here.
    fn of(metadata: &Value, dtype: Dtype) -> Option<Self> {
        if metadata.get("zarr_format")?.as_u64()? != 3 || dtype.bytes() == 0 || dtype == Dtype::F16 {
            return None;
        }
        // A chunk that is absent is read as zeros.
        let fill = metadata.get("fill_value")?;
        if fill.as_f64() != Some(0.0) && fill.as_bool() != Some(false) {
            return None;
        }
        let grid = configured(metadata.get("chunk_grid")?, "regular")?;
        let shard = extent(grid)?;
        let separator = separator(metadata.get("chunk_key_encoding")?)?;
        let codecs = metadata.get("codecs")?.as_array()?;
        let sharding = codecs.first().and_then(|codec| configured(codec, "sharding_indexed"));
        let Some(sharding) = sharding else {
            let (blosc, checksum) = chain(codecs, dtype)?;
            return Some(Self { shard, chunk: shard, index: None, blosc, checksum, separator });
        };
        let chunk = extent(sharding)?;
        let (blosc, checksum) = chain(sharding.get("codecs")?.as_array()?, dtype)?;
        let index = sharding.get("index_codecs")?.as_array()?;
        let index_checksum = match index.as_slice() {
            [bytes] => little_endian(bytes, Dtype::U64).then_some(false)?,
            [bytes, sum] if little_endian(bytes, Dtype::U64) && name(sum) == Some("crc32c") => true,
            _ => return None,
        };
        let at_end = match sharding.get("index_location").and_then(Value::as_str) {
            None | Some("end") => true,
            Some("start") => false,
            Some(_) => return None,
        };
        let alone = codecs.len() == 1 && shard.is_multiple_of(chunk) && shard / chunk <= LONGEST_INDEX;
        let index = Some(Index { at_end, checksum: index_checksum });
        alone.then_some(Self { shard, chunk, index, blosc, checksum, separator })
    }
}

fn name(extension: &Value) -> Option<&str> {
    extension.as_str().or_else(|| extension.get("name")?.as_str())
}

fn configured<'a>(extension: &'a Value, wanted: &str) -> Option<&'a Value> {
    (name(extension) == Some(wanted)).then(|| extension.get("configuration")).flatten()
}

fn extent(configuration: &Value) -> Option<u64> {
    match configuration.get("chunk_shape")?.as_array()?.as_slice() {
        [extent] => extent.as_u64().filter(|&extent| extent > 0),
        _ => None,
    }
}

fn separator(encoding: &Value) -> Option<String> {
    let asked = encoding.get("configuration").and_then(|configuration| configuration.get("separator")?.as_str());
    match (name(encoding)?, asked) {
        ("default", None | Some("/")) => Some("/c/".into()),
        ("default", Some(".")) => Some("/c.".into()),
        ("v2", _) => Some("/".into()),
        _ => None,
    }
}

fn little_endian(codec: &Value, dtype: Dtype) -> bool {
    let endian = codec.get("configuration").and_then(|configuration| configuration.get("endian")?.as_str());
    name(codec) == Some("bytes") && (endian == Some("little") || endian.is_none() && dtype.bytes() == 1)
}

/// Whether the chunks are compressed by Blosc, and whether they end with a checksum.
fn chain(codecs: &[Value], dtype: Dtype) -> Option<(bool, bool)> {
    let (bytes, rest) = codecs.split_first()?;
    if !little_endian(bytes, dtype) {
        return None;
    }
    match rest.iter().map(name).collect::<Option<Vec<_>>>()?.as_slice() {
        [] => Some((false, false)),
        ["blosc"] => Some((true, false)),
        ["crc32c"] => Some((false, true)),
        ["blosc", "crc32c"] => Some((true, true)),
        _ => None,
    }
}

/// Whether numbers of a stored type are those of a type in memory, bit for bit. Columns stored as `int32` are never
/// negative; one that is will be found to lie beyond the last column.
fn stored_as(dtype: Dtype, number_type: NumberType) -> bool {
    matches!(
        (dtype, number_type),
        (Dtype::U8 | Dtype::Bool, NumberType::U8)
            | (Dtype::U16, NumberType::U16)
            | (Dtype::U32 | Dtype::I32, NumberType::U32)
            | (Dtype::F32, NumberType::F32)
    )
}

/// Converts little-endian numbers of a stored type to those of a wider one, from `at` on.
fn widen(dtype: Dtype, bytes: &[u8], out: &mut Numbers, at: usize) -> Option<()> {
    macro_rules! convert {
        ($stored:ty) => {{
            let items = bytes.chunks_exact(size_of::<$stored>());
            let stored =
                items.map(|item| item.try_into().map_or_else(|_| Default::default(), <$stored>::from_le_bytes));
            match out {
                Numbers::F32(out) => out[at..].iter_mut().zip(stored).for_each(|(to, from)| *to = from as f32),
                Numbers::U32(out) => out[at..].iter_mut().zip(stored).for_each(|(to, from)| *to = from as u32),
                Numbers::U16(out) => out[at..].iter_mut().zip(stored).for_each(|(to, from)| *to = from as u16),
                Numbers::U8(out) => out[at..].iter_mut().zip(stored).for_each(|(to, from)| *to = from as u8),
            }
            Some(())
        }};
    }
    match dtype {
        Dtype::Bool | Dtype::U8 => convert!(u8),
        Dtype::I8 => convert!(i8),
        Dtype::I16 => convert!(i16),
        Dtype::I32 => convert!(i32),
        Dtype::I64 => convert!(i64),
        Dtype::U16 => convert!(u16),
        Dtype::U32 => convert!(u32),
        Dtype::U64 => convert!(u64),
        Dtype::F32 => convert!(f32),
        Dtype::F64 => convert!(f64),
        Dtype::F16 | Dtype::Text | Dtype::FixedText => None,
    }
}
