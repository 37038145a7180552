//! Writing of zarr version 3 hierarchies into a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use syncyte_kernels::blosc::Shuffle;
use zarrs::array::codec::{
    BloscCodec, BloscCompressionLevel, BloscCompressor, BloscShuffleMode, Crc32cCodec, ShardingCodecOptions,
    SubchunkWriteOrder, ZstdCodec,
};
use zarrs::array::{
    Array, ArrayBuilder, ArrayError, BytesToBytesCodecTraits, CodecOptions, CodecSpecificOptions, DataType, Element,
    data_type,
};
use zarrs::filesystem::FilesystemStore;
use zarrs::group::GroupBuilder;
use zarrs::metadata::FillValueMetadata;
use zarrs::storage::{ReadableWritableListableStorage, ReadableWritableListableStorageTraits};

use super::error::ZarrError;
use super::node_path;
use crate::block::NumberType;

/// Rows of a chunk of an array that is not sharded.
const PLAIN_CHUNK_ROWS: u64 = 1 << 20;

/// An element type that is written.
pub(crate) trait Item: Element + Default + Send + Sync {
    /// The zarr data type.
    fn data_type() -> DataType;
    /// The value of chunks that are absent.
    fn fill() -> FillValueMetadata;
}

macro_rules! items {
    ($($item:ty => $data_type:ident),*) => {
        $(impl Item for $item {
            fn data_type() -> DataType {
                data_type::$data_type()
            }
            fn fill() -> FillValueMetadata {
                FillValueMetadata::from(<$item>::default())
            }
        })*
    };
}
items!(bool => bool, i8 => int8, i16 => int16, i32 => int32, i64 => int64, u8 => uint8, u16 => uint16, u32 => uint32, f32 => float32, f64 => float64);

impl Item for String {
    fn data_type() -> DataType {
        data_type::string()
    }
    fn fill() -> FillValueMetadata {
        FillValueMetadata::from("")
    }
}

/// Chunks of zeros are stored too, so that an absent file is known to be lost.
fn write_options() -> CodecOptions {
    CodecOptions::default().with_store_empty_chunks(true)
}

type WritableArray = Array<dyn ReadableWritableListableStorageTraits>;

/// A zarr version 3 hierarchy being written into a folder.
#[derive(Clone)]
pub(crate) struct ZarrWriter {
    storage: ReadableWritableListableStorage,
    folder: PathBuf,
    name: String,
}

/// How the chunks of a sharded array are compressed: by Blosc with LZ4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compression {
    /// From 0 to 9.
    pub(super) level: u8,
    /// The filter before it.
    pub(super) shuffle: Shuffle,
}

impl ZarrWriter {
    /// Writes into `folder`; messages speak of `name`.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self, ZarrError> {
        let storage = FilesystemStore::new(folder).map_err(|error| ZarrError::new(name, "/", error))?;
        Ok(Self { storage: Arc::new(storage), folder: folder.into(), name: name.into() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes the metadata of a one-dimensional sharded array.
    pub(super) fn numbers(
        &self,
        path: &str,
        number_type: NumberType,
        length: u64,
        layout: ShardLayout,
        compression: Compression,
        attributes: Map<String, Value>,
    ) -> Result<(), ZarrError> {
        let (data_type, fill) = match number_type {
            NumberType::U8 => (data_type::uint8(), u8::fill()),
            NumberType::U16 => (data_type::uint16(), u16::fill()),
            NumberType::U32 => (data_type::uint32(), u32::fill()),
            NumberType::F32 => (data_type::float32(), f32::fill()),
        };
        let extents = |rows: usize| vec![rows as u64];
        let (shard, chunk) = (extents(layout.shard), extents(layout.chunk));
        let array = self.sharded(path, vec![length], shard, chunk, data_type, fill, compression, attributes)?;
        array.store_metadata().map_err(|error| ZarrError::storage(&self.name, path, &error))
    }

    #[allow(clippy::too_many_arguments, reason = "these are what a sharded array is")]
    fn sharded(
        &self,
        path: &str,
        shape: Vec<u64>,
        shard: Vec<u64>,
        chunk: Vec<u64>,
        data_type: DataType,
        fill: FillValueMetadata,
        compression: Compression,
        attributes: Map<String, Value>,
    ) -> Result<WritableArray, ZarrError> {
        let fail = |error: &dyn ToString| ZarrError::new(&self.name, path, error.to_string());
        let level =
            BloscCompressionLevel::try_from(compression.level).map_err(|_| fail(&"no such compression level"))?;
        let shuffle = match compression.shuffle {
            Shuffle::No => BloscShuffleMode::NoShuffle,
            Shuffle::Byte => BloscShuffleMode::Shuffle,
            Shuffle::Bit => BloscShuffleMode::BitShuffle,
        };
        let item_bytes = data_type.fixed_size().unwrap_or(1);
        let blosc = BloscCodec::new(BloscCompressor::LZ4, level, None, shuffle, Some(item_bytes))
            .map_err(|error| fail(&error))?;
        let blosc: Arc<dyn BytesToBytesCodecTraits> = Arc::new(blosc);
        // In order, so that equal content gives equal files.
        let order = ShardingCodecOptions::default().with_subchunk_write_order(SubchunkWriteOrder::C);
        ArrayBuilder::new(shape, shard, data_type, fill)
            .subchunk_shape(chunk)
            .bytes_to_bytes_codecs(vec![blosc, Arc::new(Crc32cCodec::new())])
            .codec_specific_options(CodecSpecificOptions::default().with_option(order))
            .attributes(attributes)
            .build(self.storage.clone(), &node_path(path))
            .map_err(|error| fail(&error))
    }

    /// Writes a group with attributes.
    pub(crate) fn group(&self, path: &str, attributes: Map<String, Value>) -> Result<(), ZarrError> {
        let group = GroupBuilder::new()
            .attributes(attributes)
            .build(self.storage.clone(), &node_path(path))
            .map_err(|error| ZarrError::new(&self.name, path, error))?;
        group.store_metadata().map_err(|error| ZarrError::storage(&self.name, path, &error))
    }

    /// Writes a whole array, in row-major order.
    pub(crate) fn array<T: Item>(
        &self,
        path: &str,
        shape: &[u64],
        values: &[T],
        attributes: Map<String, Value>,
    ) -> Result<(), ZarrError> {
        let fail = |error: &ArrayError| ZarrError::array(&self.name, path, error);
        let mut chunk: Vec<u64> = shape.iter().map(|&extent| extent.max(1)).collect();
        if let Some(rows) = chunk.first_mut() {
            *rows = (*rows).min(PLAIN_CHUNK_ROWS);
        }
        let zstd: Arc<dyn BytesToBytesCodecTraits> = Arc::new(ZstdCodec::new(3, false));
        let array = ArrayBuilder::new(shape.to_vec(), chunk, T::data_type(), T::fill())
            .bytes_to_bytes_codecs(vec![zstd, Arc::new(Crc32cCodec::new())])
            .attributes(attributes)
            .build(self.storage.clone(), &node_path(path))
            .map_err(|error| ZarrError::new(&self.name, path, error))?;
        if !values.is_empty() {
            let subset = array.subset_all();
            let bytes = T::to_array_bytes(&T::data_type(), values).map_err(|error| fail(&error.into()))?;
            array.store_array_subset_opt(&subset, bytes, &write_options()).map_err(|error| fail(&error))?;
        }
        array.store_metadata().map_err(|error| ZarrError::storage(&self.name, path, &error))
    }

    /// Writes a string that stands by itself.
    pub(crate) fn scalar(&self, path: &str, value: &str, attributes: Map<String, Value>) -> Result<(), ZarrError> {
        self.array(path, &[], &[value.to_owned()], attributes)
    }

    /// Begins a sharded array of rows of `width` values (`None`: one dimension) whose length is not known yet.
    pub(crate) fn stream<T: Item>(
        &self,
        path: &str,
        width: Option<usize>,
        layout: ShardLayout,
        attributes: Map<String, Value>,
    ) -> ArrayStream<T> {
        ArrayStream {
            writer: self.clone(),
            path: path.into(),
            width,
            layout,
            attributes,
            buffer: Vec::new(),
            rows: 0,
            shards: 0,
            array: None,
        }
    }
}

/// How a sharded array is cut along its first dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardLayout {
    /// Rows of an inner chunk: the smallest block that is decoded.
    pub(crate) chunk: usize,
    /// Rows of a shard: a file; a multiple of `chunk`.
    pub(crate) shard: usize,
}

/// A sharded array being written from front to back; at most one shard is held in memory.
pub(crate) struct ArrayStream<T: Item> {
    writer: ZarrWriter,
    path: String,
    width: Option<usize>,
    layout: ShardLayout,
    attributes: Map<String, Value>,
    buffer: Vec<T>,
    rows: u64,
    shards: u64,
    array: Option<WritableArray>,
}

impl<T: Item> ArrayStream<T> {
    fn row_len(&self) -> usize {
        self.width.unwrap_or(1)
    }

    /// Rows written so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends whole rows.
    pub(crate) fn push(&mut self, mut values: &[T]) -> Result<(), ZarrError> {
        self.rows += (values.len() / self.row_len().max(1)) as u64;
        let capacity = self.layout.shard * self.row_len();
        while self.buffer.len() + values.len() >= capacity && capacity > 0 {
            let (now, later) = values.split_at(capacity - self.buffer.len());
            self.buffer.extend_from_slice(now);
            values = later;
            self.flush()?;
        }
        self.buffer.extend_from_slice(values);
        Ok(())
    }

    /// Stores the buffer as the next shard.
    fn flush(&mut self) -> Result<(), ZarrError> {
        let array = match self.array.take() {
            Some(array) => array,
            None => self.create()?,
        };
        self.buffer.resize(self.layout.shard * self.row_len(), T::default());
        let mut indices = vec![self.shards];
        indices.extend(self.width.map(|_| 0));
        let bytes = T::to_array_bytes(&T::data_type(), &self.buffer)
            .map_err(|error| ZarrError::new(&self.writer.name, &self.path, error))?;
        array
            .store_chunk_opt(&indices, bytes, &write_options())
            .map_err(|error| ZarrError::array(&self.writer.name, &self.path, &error))?;
        self.array = Some(array);
        self.shards += 1;
        self.buffer.clear();
        Ok(())
    }

    fn create(&self) -> Result<WritableArray, ZarrError> {
        let with_width = |rows: usize| -> Vec<u64> {
            std::iter::once(rows).chain(self.width.map(|width| width.max(1))).map(|extent| extent as u64).collect()
        };
        let mut shape = with_width(0);
        if let (Some(width), Some(columns)) = (self.width, shape.get_mut(1)) {
            *columns = width as u64;
        }
        let (shard, chunk) = (with_width(self.layout.shard), with_width(self.layout.chunk));
        let (data_type, fill) = (T::data_type(), T::fill());
        let compression = Compression { level: 5, shuffle: Shuffle::Byte };
        self.writer.sharded(&self.path, shape, shard, chunk, data_type, fill, compression, self.attributes.clone())
    }

    /// Stores what is left and the metadata. An array smaller than a shard gets a shard of its own size.
    pub(crate) fn finish(mut self) -> Result<(), ZarrError> {
        if self.shards == 0 {
            let chunk = self.layout.chunk.min((self.rows as usize).next_power_of_two()).max(1);
            self.layout = ShardLayout { chunk, shard: (self.rows as usize).next_multiple_of(chunk).max(chunk) };
        }
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        let mut array = match self.array.take() {
            Some(array) => array,
            None => self.create()?,
        };
        let mut shape = array.shape().to_vec();
        if let Some(rows) = shape.first_mut() {
            *rows = self.rows;
        }
        array.set_shape(shape).map_err(|error| ZarrError::new(&self.writer.name, &self.path, error))?;
        array.store_metadata().map_err(|error| ZarrError::storage(&self.writer.name, &self.path, &error))
    }
}
