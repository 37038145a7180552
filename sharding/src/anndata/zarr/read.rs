//! Reading of zarr hierarchies: folders and zip files, versions 2 and 3.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use zarrs::array::{Array, ArrayCreateError, ArrayShardedReadableExtCache, CodecOptions};
use zarrs::filesystem::{FilesystemStore, FilesystemStoreOptions};
use zarrs::group::{Group, GroupCreateError};
use zarrs::storage::{ReadableListableStorage, StoreKey, StorePrefix};
use zarrs_zip::ZipStorageAdapter;

use super::array::{ArrayReader, Dtype, frames_fit, no_panic};
use super::bytes::{ByteSource, Folder, Guarded, Storage};
use super::error::ZarrError;
use super::node_path;
use super::numbers::NumberArray;
use super::remote::{Remote, is_remote};

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
    bytes: Arc<dyn ByteSource>,
    origin: Origin,
    name: String,
    /// Whether a file of an array that is not there is an error.
    whole: bool,
}

/// Where a hierarchy lies, to open a part of it as a hierarchy of its own.
#[derive(Clone)]
enum Origin {
    Folder(PathBuf),
    Remote(String),
    Zip { folder: Arc<FilesystemStore>, file: StoreKey, top: String },
}

impl Origin {
    fn of(path: &Path) -> Result<Self, String> {
        if let (true, Some(address)) = (is_remote(path), path.to_str()) {
            return Ok(Self::Remote(address.into()));
        }
        let found = std::fs::metadata(path).map_err(|error| {
            format!("{error}; give a zarr folder, a zip file of one, or an address (http, https, s3)")
        })?;
        if found.is_dir() {
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
            Self::Remote(address) => Self::Remote(format!("{}/{node}", address.trim_end_matches('/'))),
            Self::Zip { folder, file, top } => {
                Self::Zip { folder: folder.clone(), file: file.clone(), top: format!("{top}{node}/") }
            }
        }
    }

    /// The storage as zarrs reads it, and for reading parts of files.
    fn storage(&self) -> Result<(ReadableListableStorage, Arc<dyn ByteSource>), String> {
        let (storage, bytes): (ReadableListableStorage, Arc<dyn ByteSource>) = match self {
            Self::Folder(path) => (Arc::new(folder_storage(path)?), Arc::new(Folder::new(path.clone()))),
            Self::Remote(address) => {
                let remote = Arc::new(Remote::new(address)?);
                (remote.clone(), remote)
            }
            Self::Zip { folder, file, top } => {
                let zip = ZipStorageAdapter::new_with_path(folder.clone(), file.clone(), top.as_str());
                let storage: ReadableListableStorage = Arc::new(zip.map_err(|error| {
                    format!("the zip file is truncated or damaged ({error}); copy or download it again")
                })?);
                (storage.clone(), Arc::new(Storage(storage)))
            }
        };
        Ok((Arc::new(Guarded(storage)), bytes))
    }
}

fn folder_storage(path: &Path) -> Result<FilesystemStore, String> {
    let mut options = FilesystemStoreOptions::default();
    options.file_handle_cache_size(OPEN_FILES);
    FilesystemStore::new_with_options(path, options).map_err(|error| error.to_string())
}

impl ZarrReader {
    /// Opens a folder, a zip file or an address.
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
        let (storage, bytes) = origin.storage().map_err(|cause| ZarrError::new(name, "/", cause))?;
        Ok(Self { storage, bytes, origin, name: name.into(), whole: false })
    }

    /// The same, of a hierarchy that has every file of its arrays: one that is not there was lost.
    pub(crate) fn whole(self) -> Self {
        Self { whole: true, ..self }
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

    /// The array of numbers at `path` for reading without detours, where its layout allows that. With `whole`, a
    /// file that is not there is an error; else it is zeros, as zarr has it.
    pub(crate) fn numbers(&self, path: &str, whole: bool) -> Result<Option<NumberArray>, ZarrError> {
        let Some(text) = self.metadata(path, "zarr.json")? else { return Ok(None) };
        let metadata: Value = serde_json::from_slice(&text).map_err(|error| ZarrError::new(&self.name, path, error))?;
        let dtype = self.array(path)?.dtype();
        Ok(NumberArray::open(&self.bytes, &self.name, path, &metadata, dtype, whole))
    }

    /// The array at `path`.
    pub(crate) fn array(&self, path: &str) -> Result<ArrayReader, ZarrError> {
        // zarrs refuses names that begin with `__`, where anndata before 0.8 kept its categories.
        let (storage, node) = match path.rsplit_once('/') {
            Some((folder, leaf)) if path.contains("__") => {
                (Self::at(self.origin.below(folder), &self.name)?.storage, node_path(leaf))
            }
            _ => (self.storage.clone(), node_path(path)),
        };
        let open =
            no_panic(|| Array::open(storage, &node).map(|array| (ArrayShardedReadableExtCache::new(&array), array)));
        let open = open.map_err(|cause| ZarrError::new(&self.name, path, cause))?;
        let (cache, array) = open.map_err(|error| match &error {
            ArrayCreateError::StorageError(cause) => ZarrError::storage(&self.name, path, cause),
            _ => ZarrError::new(&self.name, path, &error),
        })?;
        let dtype = Dtype::of(array.data_type())
            .ok_or_else(|| ZarrError::new(&self.name, path, format!("data type {} is not read", array.data_type())))?;
        let options = CodecOptions::default().with_concurrent_target(1);
        let metadata = serde_json::to_value(array.metadata()).unwrap_or_default();
        let (store, frames_fit) = (self.name.clone(), frames_fit(&metadata, dtype.bytes()));
        let reader =
            ArrayReader { array, cache, options, dtype, store, path: path.into(), whole: self.whole, frames_fit };
        reader.check_extents(&metadata)?;
        Ok(reader)
    }
}
