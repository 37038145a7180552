//! The adapter over `zarrs`: no other file names that crate.
//!
//! Guarantee: every error names the store, the node and, where a chunk does not decode, the file of the
//! chunk. Reads are safe from many threads at once and decode on the calling thread only. Every array
//! written carries a crc32c of each chunk.

use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;
use zarrs::array::codec::{
    BloscCodec, BloscCompressionLevel, BloscCompressor, BloscShuffleMode, Crc32cCodec, ShardingCodecOptions,
    SubchunkWriteOrder, ZstdCodec,
};
use zarrs::array::{
    Array, ArrayBuilder, ArrayBytes, ArrayCreateError, ArrayError, ArrayShardedReadableExt,
    ArrayShardedReadableExtCache, ArraySubset, BytesToBytesCodecTraits, CodecError, CodecOptions, CodecSpecificOptions,
    DataType, Element, ElementOwned, data_type,
};
use zarrs::filesystem::{FilesystemStore, FilesystemStoreOptions};
use zarrs::group::{Group, GroupBuilder, GroupCreateError};
use zarrs::metadata::FillValueMetadata;
use zarrs::storage::{
    ReadableListableStorage, ReadableListableStorageTraits, ReadableWritableListableStorage,
    ReadableWritableListableStorageTraits, StorageError, StoreKey, StorePrefix,
};
use zarrs_zip::ZipStorageAdapter;

/// Rows of a chunk of an array that is not sharded.
const PLAIN_CHUNK_ROWS: u64 = 1 << 20;
/// Files kept open for reading.
const OPEN_FILES: usize = 128;

/// A zarr node that could not be read or written.
#[derive(Debug, Error)]
#[error("{store}: {node}: {cause}")]
pub struct ZarrError {
    store: String,
    node: String,
    cause: String,
    io: Option<io::ErrorKind>,
}

impl ZarrError {
    pub(crate) fn new(store: &str, node: &str, cause: impl ToString) -> Self {
        Self { store: store.into(), node: node.into(), cause: cause.to_string(), io: None }
    }

    fn storage(store: &str, node: &str, cause: &StorageError) -> Self {
        let io = if let StorageError::IOError(error) = cause { Some(error.kind()) } else { None };
        Self { io, ..Self::new(store, node, cause) }
    }

    fn array(store: &str, node: &str, cause: &ArrayError) -> Self {
        match cause {
            ArrayError::StorageError(error) | ArrayError::CodecError(CodecError::StorageError(error)) => {
                Self::storage(store, node, error)
            }
            other => Self::new(store, node, other),
        }
    }

    /// What is wrong.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Path of the node at fault inside the store, with the file of the chunk where one is at fault.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether the device had no space left.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.io, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

fn node_path(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Group,
    Array,
}

/// A zarr hierarchy opened for reading: a folder or a zip file, version 2 or 3.
#[derive(Clone)]
pub(crate) struct ZarrReader {
    storage: ReadableListableStorage,
    name: String,
}

impl ZarrReader {
    /// Opens a folder or a zip file.
    pub(crate) fn open(path: &Path) -> Result<Self, ZarrError> {
        let name = path.display().to_string();
        let fail = |cause: &dyn ToString| ZarrError::new(&name, "/", cause.to_string());
        let kind = std::fs::metadata(path).map_err(|error| fail(&error))?;
        let mut options = FilesystemStoreOptions::default();
        options.file_handle_cache_size(OPEN_FILES);
        if kind.is_dir() {
            let storage = FilesystemStore::new_with_options(path, options).map_err(|error| fail(&error))?;
            return Ok(Self { storage: Arc::new(storage), name });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = path.file_name().and_then(|file| file.to_str()).ok_or_else(|| fail(&"the name is not UTF-8"))?;
        let storage = Arc::new(FilesystemStore::new_with_options(folder, options).map_err(|error| fail(&error))?);
        let key = StoreKey::new(file).map_err(|error| fail(&error))?;
        let zip = ZipStorageAdapter::new(storage.clone(), key.clone()).map_err(|error| fail(&error))?;
        let whole = Self { storage: Arc::new(zip), name: name.clone() };
        // `zip -r` of a folder keeps the folder's name as a first component.
        match whole.kind("")?.is_none().then(|| whole.children("")).transpose()?.as_deref() {
            Some([top]) => {
                let inner = ZipStorageAdapter::new_with_path(storage, key, format!("{top}/"));
                Ok(Self { storage: Arc::new(inner.map_err(|error| fail(&error))?), name })
            }
            _ => Ok(whole),
        }
    }

    /// Name of the store for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What is at `path`, if anything.
    pub(crate) fn kind(&self, path: &str) -> Result<Option<NodeKind>, ZarrError> {
        for (file, kind) in
            [("zarr.json", None), (".zarray", Some(NodeKind::Array)), (".zgroup", Some(NodeKind::Group))]
        {
            let Some(text) = self.metadata(path, file)? else { continue };
            if kind.is_some() {
                return Ok(kind);
            }
            let metadata: Value =
                serde_json::from_slice(&text).map_err(|error| ZarrError::new(&self.name, path, error))?;
            let array = metadata.get("node_type").and_then(Value::as_str) == Some("array");
            return Ok(Some(if array { NodeKind::Array } else { NodeKind::Group }));
        }
        Ok(None)
    }

    fn metadata(&self, path: &str, file: &str) -> Result<Option<Vec<u8>>, ZarrError> {
        let key = format!("{}/{file}", path.trim_matches('/'));
        let key =
            StoreKey::new(key.trim_start_matches('/')).map_err(|error| ZarrError::new(&self.name, path, error))?;
        let text = self.storage.get(&key).map_err(|error| ZarrError::storage(&self.name, path, &error))?;
        Ok(text.map(|text| text.to_vec()))
    }

    /// Names of the nodes directly below `path`, sorted.
    pub(crate) fn children(&self, path: &str) -> Result<Vec<String>, ZarrError> {
        let path = path.trim_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let prefix = StorePrefix::new(prefix).map_err(|error| ZarrError::new(&self.name, path, error))?;
        let listed = self.storage.list_dir(&prefix).map_err(|error| ZarrError::storage(&self.name, path, &error))?;
        let mut names: Vec<String> = listed
            .prefixes()
            .iter()
            .filter_map(|prefix| prefix.as_str().trim_end_matches('/').rsplit('/').next().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Attributes of the group at `path`.
    pub(crate) fn group(&self, path: &str) -> Result<Map<String, Value>, ZarrError> {
        let group = Group::open(self.storage.clone(), &node_path(path)).map_err(|error| match &error {
            GroupCreateError::StorageError(cause) => ZarrError::storage(&self.name, path, cause),
            _ => ZarrError::new(&self.name, path, &error),
        })?;
        Ok(group.attributes().clone())
    }

    /// The array at `path`.
    pub(crate) fn array(&self, path: &str) -> Result<ArrayReader, ZarrError> {
        let array = Array::open(self.storage.clone(), &node_path(path)).map_err(|error| match &error {
            ArrayCreateError::StorageError(cause) => ZarrError::storage(&self.name, path, cause),
            _ => ZarrError::new(&self.name, path, &error),
        })?;
        let dtype = Dtype::of(array.data_type())
            .ok_or_else(|| ZarrError::new(&self.name, path, format!("data type {} is not read", array.data_type())))?;
        let cache = ArrayShardedReadableExtCache::new(&array);
        let options = CodecOptions::default().with_concurrent_target(1);
        Ok(ArrayReader { array, cache, options, dtype, store: self.name.clone(), path: path.into() })
    }
}

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
    fn of(data_type: &DataType) -> Option<Self> {
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
    array: Array<dyn ReadableListableStorageTraits>,
    cache: ArrayShardedReadableExtCache,
    options: CodecOptions,
    dtype: Dtype,
    store: String,
    path: String,
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
items!(bool => bool, i8 => int8, i16 => int16, i32 => int32, i64 => int64, u8 => uint8, u32 => uint32, f32 => float32, f64 => float64);

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
    name: String,
}

impl ZarrWriter {
    /// Writes into `folder`; messages speak of `name`.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self, ZarrError> {
        let storage = FilesystemStore::new(folder).map_err(|error| ZarrError::new(name, "/", error))?;
        Ok(Self { storage: Arc::new(storage), name: name.into() })
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
            item: PhantomData,
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
    item: PhantomData<T>,
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
        let fail = |error: &dyn ToString| ZarrError::new(&self.writer.name, &self.path, error.to_string());
        let with_width = |rows: usize| -> Vec<u64> {
            std::iter::once(rows).chain(self.width.map(|width| width.max(1))).map(|extent| extent as u64).collect()
        };
        let level = BloscCompressionLevel::try_from(5).map_err(|_| fail(&"no such compression level"))?;
        let item_bytes = T::data_type().fixed_size().unwrap_or(1);
        let blosc = BloscCodec::new(BloscCompressor::LZ4, level, None, BloscShuffleMode::Shuffle, Some(item_bytes))
            .map_err(|error| fail(&error))?;
        let blosc: Arc<dyn BytesToBytesCodecTraits> = Arc::new(blosc);
        // In order, so that equal content gives equal files.
        let order = ShardingCodecOptions::default().with_subchunk_write_order(SubchunkWriteOrder::C);
        let mut shape = with_width(0);
        if let (Some(width), Some(columns)) = (self.width, shape.get_mut(1)) {
            *columns = width as u64;
        }
        ArrayBuilder::new(shape, with_width(self.layout.shard), T::data_type(), T::fill())
            .subchunk_shape(with_width(self.layout.chunk))
            .bytes_to_bytes_codecs(vec![blosc, Arc::new(Crc32cCodec::new())])
            .codec_specific_options(CodecSpecificOptions::default().with_option(order))
            .attributes(self.attributes.clone())
            .build(self.writer.storage.clone(), &node_path(&self.path))
            .map_err(|error| fail(&error))
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
