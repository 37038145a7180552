//! One array, read by blocks.

use std::any::Any;
use std::iter;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Map, Value};
use zarrs::array::{
    Array, ArrayBytes, ArrayError, ArrayShardedReadableExt, ArrayShardedReadableExtCache, ArraySubset, CodecOptions,
    DataType, ElementOwned, data_type, data_type::FixedLengthUTF32DataType,
};
use zarrs::storage::ReadableListableStorageTraits;

use super::error::ZarrError;

/// Element types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
    Text,
    /// Text of a fixed length, padded, as NumPy has it.
    FixedText,
}

impl Dtype {
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        let known = [
            (data_type::bool(), Self::Bool),
            (data_type::int8(), Self::I8),
            (data_type::int16(), Self::I16),
            (data_type::int32(), Self::I32),
            (data_type::int64(), Self::I64),
            (data_type::uint8(), Self::U8),
            (data_type::uint16(), Self::U16),
            (data_type::uint32(), Self::U32),
            (data_type::uint64(), Self::U64),
            (data_type::float16(), Self::F16),
            (data_type::float32(), Self::F32),
            (data_type::float64(), Self::F64),
            (data_type::string(), Self::Text),
        ];
        let known = known.into_iter().find(|(candidate, _)| candidate == data_type).map(|(_, dtype)| dtype);
        known.or_else(|| data_type.is::<FixedLengthUTF32DataType>().then_some(Self::FixedText))
    }

    /// Whether the values are strings.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::FixedText)
    }

    /// Bytes of one number, 0 for text.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
            Self::Text | Self::FixedText => 0,
        }
    }
}

/// Chunks that a shard may have. Its index is read and held as a whole.
pub(super) const LONGEST_INDEX: u64 = 1 << 22;
/// Files that one read may need. A shape that is damaged asks for any number of them.
const MOST_FILES: u64 = 1 << 20;
/// Faults of one array that are listed.
const MOST_FAULTS: usize = 1000;
/// Lines of a long array that are read at once; those of a chunk of an array that is not sharded.
const PIECE: u64 = 1 << 20;
/// Memory that is taken without asking whether there is so much.
const ALWAYS_THERE: u64 = 64 << 20;

/// Says so where `bytes` (`None`: more than can be counted) are more than can be had. Sizes come from metadata, and a
/// damaged one must be an error and not the end of the process.
pub(crate) fn room(bytes: Option<u64>) -> Result<(), String> {
    let probe = |bytes: u64| {
        bytes <= ALWAYS_THERE
            || usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok())
    };
    match bytes {
        Some(bytes) if probe(bytes) => Ok(()),
        Some(bytes) => {
            Err(format!("there is no memory for {bytes} bytes at once; are the sizes in its metadata right?"))
        }
        None => Err("its metadata speak of more bytes than can be counted".into()),
    }
}

/// Whether the frames of Blosc, outer and inner, are made of items that divide numbers of `bytes` bytes. After another
/// compressor there are no numbers any more, only bytes.
pub(super) fn frames_fit(metadata: &Value, bytes: u64) -> bool {
    let fit = |path: &str| {
        let Some(codecs) = metadata.pointer(path).and_then(Value::as_array) else { return true };
        codecs.iter().enumerate().all(|(at, codec)| {
            let Some(size) = codec.pointer("/configuration/typesize").and_then(Value::as_u64) else { return true };
            let numbers = at > 0 && codecs[at - 1].get("name").and_then(Value::as_str) == Some("bytes");
            size == 1 || size > 1 && numbers && bytes.is_multiple_of(size)
        })
    };
    fit("/codecs") && fit("/codecs/0/configuration/codecs")
}

/// Turns a panic inside zarrs, as over metadata that contradict each other, into its message.
pub(super) fn no_panic<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    // What is read is only looked at, so a panic leaves nothing behind that is half-changed.
    catch_unwind(AssertUnwindSafe(read)).map_err(|panic| format!("it cannot be read: {}", message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason is given".into())
}

/// A block as blocks of at most [`PIECE`] lines, where it is a long one.
fn pieces(ranges: &[Range<u64>]) -> Vec<Vec<Range<u64>>> {
    match ranges {
        [line] if line.end.saturating_sub(line.start) > PIECE => {
            let starts = (line.start..line.end).step_by(PIECE as usize);
            starts.map(|start| iter::once(start..line.end.min(start + PIECE)).collect()).collect()
        }
        _ => vec![ranges.to_vec()],
    }
}

/// One array opened for reading.
pub(crate) struct ArrayReader {
    pub(super) array: Array<dyn ReadableListableStorageTraits>,
    pub(super) cache: ArrayShardedReadableExtCache,
    pub(super) options: CodecOptions,
    pub(super) dtype: Dtype,
    pub(super) store: String,
    pub(super) path: String,
    /// Whether a file that is not there is an error, and not so many fill values.
    pub(super) whole: bool,
    /// Whether zarrs would cut Blosc frames elsewhere than where numbers begin.
    pub(super) frames_fit: bool,
}

macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident, $target:ty) => {
        $(#[$doc])*
        pub(crate) fn $name(&self, ranges: &[Range<u64>]) -> Result<Vec<$target>, ZarrError> {
            macro_rules! cast {
                ($stored:ty) => {{
                    // Piece by piece: what is read is never there twice as a whole.
                    let item = size_of::<$target>() as u64;
                    let extents = ranges.iter().map(|range| range.end.saturating_sub(range.start));
                    let bytes = extents.fold(Some(item), |bytes, extent| bytes?.checked_mul(extent));
                    room(bytes).map_err(|cause| self.error(&cause))?;
                    let mut values = Vec::with_capacity((bytes.unwrap_or(0) / item) as usize);
                    for piece in pieces(ranges) {
                        values.extend(self.fetch::<$stored>(&piece)?.into_iter().map(|value| value as $target));
                    }
                    Ok(values)
                }};
            }
            match self.dtype {
                Dtype::I8 => cast!(i8),
                Dtype::I16 => cast!(i16),
                Dtype::I32 => cast!(i32),
                Dtype::I64 => cast!(i64),
                Dtype::U8 => cast!(u8),
                Dtype::U16 => cast!(u16),
                Dtype::U32 => cast!(u32),
                Dtype::U64 => cast!(u64),
                Dtype::F16 => {
                    let halves = self.fetch::<half::f16>(ranges)?;
                    Ok(halves.into_iter().map(|value| f32::from(value) as $target).collect())
                }
                Dtype::F32 => cast!(f32),
                Dtype::F64 => cast!(f64),
                Dtype::Bool => {
                    Ok(self.fetch::<bool>(ranges)?.into_iter().map(|value| u8::from(value) as $target).collect())
                }
                Dtype::Text | Dtype::FixedText => Err(self.error("numbers were expected, the array holds strings")),
            }
        }
    };
}

impl ArrayReader {
    numbers!(
        /// Values of a block as `f32`.
        read_f32,
        f32
    );
    numbers!(
        /// Values of a block as `f64`.
        read_f64,
        f64
    );
    numbers!(
        /// Values of a block as `i64`.
        read_i64,
        i64
    );
    numbers!(
        /// Values of a block as `u32`.
        read_u32,
        u32
    );

    /// Booleans of a block.
    pub(crate) fn read_bool(&self, ranges: &[Range<u64>]) -> Result<Vec<bool>, ZarrError> {
        match self.dtype {
            Dtype::Bool => self.fetch(ranges),
            _ => Ok(self.read_i64(ranges)?.into_iter().map(|value| value != 0).collect()),
        }
    }

    /// Strings of a block; `bool` and numbers are spelt as Python spells them.
    pub(crate) fn read_text(&self, ranges: &[Range<u64>]) -> Result<Vec<String>, ZarrError> {
        Ok(match self.dtype {
            Dtype::Text => self.fetch(ranges)?,
            Dtype::FixedText => self.fetch::<Vec<char>>(ranges)?.into_iter().map(String::from_iter).collect(),
            Dtype::Bool => self.fetch::<bool>(ranges)?.into_iter().map(python_bool).collect(),
            Dtype::F16 | Dtype::F32 => self.read_f32(ranges)?.into_iter().map(|value| format!("{value:?}")).collect(),
            Dtype::F64 => self.fetch::<f64>(ranges)?.into_iter().map(|value| format!("{value:?}")).collect(),
            _ => self.read_i64(ranges)?.into_iter().map(|value| value.to_string()).collect(),
        })
    }

    fn fetch<T: ElementOwned>(&self, ranges: &[Range<u64>]) -> Result<Vec<T>, ZarrError> {
        let subset = ArraySubset::new_with_ranges(ranges);
        let fits = ranges.len() == self.shape().len()
            && ranges.iter().zip(self.shape()).all(|(range, &extent)| range.start <= range.end && range.end <= extent);
        if !fits {
            return Err(self.error(&format!("{ranges:?} is not within the shape {:?}", self.shape())));
        }
        if ranges.iter().any(Range::is_empty) {
            return Ok(Vec::new());
        }
        if !self.frames_fit {
            return Err(
                self.error("its Blosc frames are made of items of another size than its numbers; write it anew")
            );
        }
        let files = self.array.chunks_in_array_subset(&subset).ok().flatten();
        let files =
            files.map_or(0, |files| files.shape().iter().fold(1, |files, &extent| extent.saturating_mul(files)));
        if files > MOST_FILES {
            return Err(
                self.error(&format!("{ranges:?} lie in {files} files; write larger chunks, or check its shape"))
            );
        }
        if self.whole {
            self.check_presence(&subset)?;
        }
        let item = size_of::<T>().max(1) as u64;
        let bytes = ranges.iter().try_fold(item, |bytes, range| bytes.checked_mul(range.end - range.start));
        room(bytes).map_err(|cause| self.error(&format!("{ranges:?}: {cause}")))?;
        let read = no_panic(|| self.retrieve(&subset).map_err(|error| self.locate(&subset, &error)));
        read.map_err(|cause| self.error(&cause))?
    }

    /// Refuses chunks, and indices of shards, that no memory would hold: zarrs would end the process over them.
    pub(super) fn check_extents(&self, metadata: &Value) -> Result<(), ZarrError> {
        let files = self.chunk_shape();
        let sharded = metadata.pointer("/codecs/0/configuration/chunk_shape").and_then(Value::as_array);
        let chunks: Vec<u64> =
            sharded.map_or_else(|| files.clone(), |chunk| chunk.iter().filter_map(Value::as_u64).collect());
        if chunks.len() != files.len() || chunks.contains(&0) {
            return Err(self.error(&format!("chunks {chunks:?} do not fit into shards {files:?}")));
        }
        let bytes = chunks.iter().try_fold(self.dtype.bytes().max(1), |bytes, &chunk| bytes.checked_mul(chunk));
        room(bytes).map_err(|cause| self.error(&cause))?;
        let per_file = files.iter().zip(&chunks).map(|(file, chunk)| file.div_ceil(*chunk));
        match per_file.fold(1, u64::saturating_mul) {
            0..=LONGEST_INDEX => Ok(()),
            many => Err(self.error(&format!(
                "a shard of {many} chunks has too long an index; at most {LONGEST_INDEX} chunks are read"
            ))),
        }
    }

    fn retrieve<T: ElementOwned>(&self, subset: &ArraySubset) -> Result<Vec<T>, ArrayError> {
        self.array.retrieve_array_subset_sharded_opt(&self.cache, subset, &self.options)
    }

    /// Finds the first chunk of `subset` that does not decode, to name its file.
    fn locate(&self, subset: &ArraySubset, error: &ArrayError) -> ZarrError {
        let chunks = self.array.chunks_in_array_subset(subset).ok().flatten();
        let damaged = |chunk: &[u64]| self.decode(chunk).err();
        let bad = chunks.and_then(|chunks| chunks.indices().iter().find_map(|chunk| damaged(&chunk)));
        bad.unwrap_or_else(|| ZarrError::array(&self.store, &self.path, error))
    }

    /// Names the first file that is needed for `subset` and is not there.
    fn check_presence(&self, subset: &ArraySubset) -> Result<(), ZarrError> {
        let Some(chunks) = self.array.chunks_in_array_subset(subset).ok().flatten() else { return Ok(()) };
        for chunk in &chunks.indices() {
            let size = self.array.storage().size_key(&self.array.chunk_key(&chunk));
            if size.map_err(|error| ZarrError::storage(&self.store, &self.chunk_node(&chunk), &error))?.is_none() {
                return Err(self.missing(&chunk));
            }
        }
        Ok(())
    }

    fn chunk_node(&self, chunk: &[u64]) -> String {
        format!("{} (chunk {})", self.path, self.array.chunk_key(chunk))
    }

    fn missing(&self, chunk: &[u64]) -> ZarrError {
        ZarrError::new(&self.store, &self.chunk_node(chunk), "the file is missing")
    }

    fn check(&self, chunk: &[u64]) -> Result<(), ZarrError> {
        if self.decode(chunk)? { Ok(()) } else { Err(self.missing(chunk)) }
    }

    /// Decodes a whole chunk, or a whole shard; false where it is not there.
    fn decode(&self, chunk: &[u64]) -> Result<bool, ZarrError> {
        let node = self.chunk_node(chunk);
        let options = CodecOptions::default();
        let bytes = self.chunk_shape().into_iter().try_fold(self.dtype.bytes().max(1), u64::checked_mul);
        room(bytes).map_err(|cause| ZarrError::new(&self.store, &node, cause))?;
        let stored = no_panic(|| self.array.retrieve_chunk_if_exists_opt(chunk, &options));
        let stored: Option<ArrayBytes<'static>> = stored
            .map_err(|cause| ZarrError::new(&self.store, &node, cause))?
            .map_err(|error| ZarrError::array(&self.store, &node, &error))?;
        Ok(stored.is_some())
    }

    /// Decodes the chunks of the array: how many there are, and an error for each that is missing or damaged. After
    /// many errors the rest is not looked at: a shape that is damaged speaks of more files than anyone can look for.
    pub(crate) fn check_all(&self) -> (u64, Vec<ZarrError>) {
        let grid = ArraySubset::new_with_shape(self.array.chunk_grid_shape().to_vec());
        let checks = grid.indices();
        let faults = checks.iter().filter_map(|chunk| self.check(&chunk).err()).take(MOST_FAULTS).collect();
        (grid.shape().iter().fold(1, |chunks, &extent| chunks.saturating_mul(extent)), faults)
    }

    pub(crate) fn error(&self, cause: &str) -> ZarrError {
        ZarrError::new(&self.store, &self.path, cause)
    }

    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub(crate) fn shape(&self) -> &[u64] {
        self.array.shape()
    }

    /// The whole array, one range per dimension.
    pub(crate) fn all(&self) -> Vec<Range<u64>> {
        self.shape().iter().map(|&extent| 0..extent).collect()
    }

    /// The shape of a chunk: a file of the array.
    pub(crate) fn chunk_shape(&self) -> Vec<u64> {
        let first = vec![0; self.shape().len()];
        self.array
            .chunk_shape(&first)
            .map(|shape| shape.iter().map(|extent| extent.get()).collect())
            .unwrap_or_default()
    }

    pub(crate) fn attributes(&self) -> &Map<String, Value> {
        self.array.attributes()
    }
}

fn python_bool(value: bool) -> String {
    if value { "True".into() } else { "False".into() }
}
