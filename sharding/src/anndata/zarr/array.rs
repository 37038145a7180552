//! One array, read by blocks.

use std::ops::Range;

use serde_json::{Map, Value};
use zarrs::array::{
    Array, ArrayBytes, ArrayError, ArrayShardedReadableExt, ArrayShardedReadableExtCache, ArraySubset, CodecOptions,
    DataType, ElementOwned, data_type,
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
    F32,
    F64,
    Text,
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
            (data_type::float32(), Self::F32),
            (data_type::float64(), Self::F64),
            (data_type::string(), Self::Text),
        ];
        known.into_iter().find(|(candidate, _)| candidate == data_type).map(|(_, dtype)| dtype)
    }

    /// Bytes of one value, 0 where it varies.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
            Self::Text => 0,
        }
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
}

macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident, $target:ty) => {
        $(#[$doc])*
        pub(crate) fn $name(&self, ranges: &[Range<u64>]) -> Result<Vec<$target>, ZarrError> {
            macro_rules! cast {
                ($stored:ty) => {
                    Ok(self.fetch::<$stored>(ranges)?.into_iter().map(|value| value as $target).collect())
                };
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
                Dtype::F32 => cast!(f32),
                Dtype::F64 => cast!(f64),
                Dtype::Bool => {
                    Ok(self.fetch::<bool>(ranges)?.into_iter().map(|value| u8::from(value) as $target).collect())
                }
                Dtype::Text => Err(self.error("numbers were expected, the array holds strings")),
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
            Dtype::Bool => self.fetch::<bool>(ranges)?.into_iter().map(python_bool).collect(),
            Dtype::F32 => self.fetch::<f32>(ranges)?.into_iter().map(|value| format!("{value:?}")).collect(),
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
        self.retrieve(&subset).map_err(|error| self.locate(&subset, &error))
    }

    fn retrieve<T: ElementOwned>(&self, subset: &ArraySubset) -> Result<Vec<T>, ArrayError> {
        self.array.retrieve_array_subset_sharded_opt(&self.cache, subset, &self.options)
    }

    /// Finds the first chunk of `subset` that does not decode, to name its file.
    fn locate(&self, subset: &ArraySubset, error: &ArrayError) -> ZarrError {
        let chunks = self.array.chunks_in_array_subset(subset).ok().flatten();
        let bad = chunks.and_then(|chunks| chunks.indices().iter().find_map(|chunk| self.check(&chunk).err()));
        bad.unwrap_or_else(|| ZarrError::array(&self.store, &self.path, error))
    }

    /// Decodes a whole chunk, or a whole shard.
    fn check(&self, chunk: &[u64]) -> Result<(), ZarrError> {
        let file = self.array.chunk_key(chunk);
        let node = format!("{} (chunk {file})", self.path);
        let stored: Option<ArrayBytes<'static>> = self
            .array
            .retrieve_chunk_if_exists_opt(chunk, &CodecOptions::default())
            .map_err(|error| ZarrError::array(&self.store, &node, &error))?;
        stored.map(|_| ()).ok_or_else(|| ZarrError::new(&self.store, &node, "the file is missing"))
    }

    /// Decodes every chunk of the array: how many there are, and an error for each that is missing or damaged.
    pub(crate) fn check_all(&self) -> (u64, Vec<ZarrError>) {
        let grid = ArraySubset::new_with_shape(self.array.chunk_grid_shape().to_vec());
        let faults = grid.indices().iter().filter_map(|chunk| self.check(&chunk).err()).collect();
        (grid.num_elements(), faults)
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
