//! Reading of zarr hierarchies: folders and zip files, versions 2 and 3.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use zarrs::array::{
    Array, ArrayBytes, ArrayCreateError, ArrayError, ArrayShardedReadableExt, ArrayShardedReadableExtCache,
    ArraySubset, CodecOptions, DataType, ElementOwned, data_type,
};
use zarrs::filesystem::{FilesystemStore, FilesystemStoreOptions};
use zarrs::group::{Group, GroupCreateError};
use zarrs::storage::{ReadableListableStorage, ReadableListableStorageTraits, StoreKey, StorePrefix};
use zarrs_zip::ZipStorageAdapter;

use super::error::ZarrError;
use super::node_path;

/// Files kept open for reading.
const OPEN_FILES: usize = 128;

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
    origin: Origin,
    name: String,
}

/// Where a hierarchy lies, to open a part of it as a hierarchy of its own.
#[derive(Clone)]
enum Origin {
    Folder(PathBuf),
    Zip { folder: Arc<FilesystemStore>, file: StoreKey, top: String },
}

impl Origin {
    fn of(path: &Path) -> Result<Self, String> {
        if std::fs::metadata(path).map_err(|error| error.to_string())?.is_dir() {
            return Ok(Self::Folder(path.into()));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = path.file_name().and_then(|file| file.to_str()).ok_or("the name is not UTF-8")?;
        let file = StoreKey::new(file).map_err(|error| error.to_string())?;
        Ok(Self::Zip { folder: Arc::new(folder_storage(folder)?), file, top: String::new() })
    }

    /// The part below `node`.
    fn below(&self, node: &str) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(path.join(node)),
            Self::Zip { folder, file, top } => {
                Self::Zip { folder: folder.clone(), file: file.clone(), top: format!("{top}{node}/") }
            }
        }
    }

    fn storage(&self) -> Result<ReadableListableStorage, String> {
        Ok(match self {
            Self::Folder(path) => Arc::new(folder_storage(path)?),
            Self::Zip { folder, file, top } => Arc::new(
                ZipStorageAdapter::new_with_path(folder.clone(), file.clone(), top.as_str())
                    .map_err(|error| error.to_string())?,
            ),
        })
    }
}

fn folder_storage(path: &Path) -> Result<FilesystemStore, String> {
    let mut options = FilesystemStoreOptions::default();
    options.file_handle_cache_size(OPEN_FILES);
    FilesystemStore::new_with_options(path, options).map_err(|error| error.to_string())
}

impl ZarrReader {
    /// Opens a folder or a zip file.
    pub(crate) fn open(path: &Path) -> Result<Self, ZarrError> {
        let name = path.display().to_string();
        let origin = Origin::of(path).map_err(|cause| ZarrError::new(&name, "/", cause))?;
        let whole = Self::at(origin, &name)?;
        // `zip -r` of a folder keeps the folder's name as a first component.
        if matches!(whole.origin, Origin::Zip { .. })
            && whole.kind("")?.is_none()
            && let [top] = whole.children("")?.as_slice()
        {
            return Self::at(whole.origin.below(top), &name);
        }
        Ok(whole)
    }

    fn at(origin: Origin, name: &str) -> Result<Self, ZarrError> {
        let storage = origin.storage().map_err(|cause| ZarrError::new(name, "/", cause))?;
        Ok(Self { storage, origin, name: name.into() })
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
        // zarrs refuses names that begin with `__`, where anndata before 0.8 kept its categories.
        let open = match path.rsplit_once('/') {
            Some((folder, leaf)) if path.contains("__") => {
                let part = Self::at(self.origin.below(folder), &self.name)?;
                Array::open(part.storage, &node_path(leaf))
            }
            _ => Array::open(self.storage.clone(), &node_path(path)),
        };
        let array = open.map_err(|error| match &error {
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
