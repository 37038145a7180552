//! The hidden folder in which a store is written before it is there.
//!
//! Guarantee: one process at a time writes a store; what is half-written is never taken for a store. The folder has one
//! name, `.NAME.partial`, so that a process that was killed leaves at most one behind, which the next one continues or
//! replaces. Dropping a [`Partial`] removes it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::StoreError;

pub(crate) struct Partial {
    target: PathBuf,
    folder: PathBuf,
    left: bool,
    /// The folder itself, locked as long as this lives.
    _lock: File,
}

impl Partial {
    /// Takes the folder of `target`: with what a killed process left in it where `keep` says so, else empty.
    pub(crate) fn take(target: &Path, keep: bool) -> Result<Self, StoreError> {
        let problem = |problem: &str| StoreError::Input { path: target.into(), problem: problem.into() };
        let name = target.file_name().ok_or_else(|| problem("the path has no name"))?;
        let folder = parent(target).join(format!(".{}.partial", name.to_string_lossy()));
        let failed = StoreError::io(target, "making a folder beside it");
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let lock = File::open(&folder).map_err(StoreError::io(target, "opening the folder beside it"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(problem("another process is writing this store; wait for it or choose another path"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let partial = Self { target: target.into(), folder, left: false, _lock: lock };
        if !keep {
            partial.clear()?;
        }
        Ok(partial)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what is in the folder.
    pub(crate) fn clear(&self) -> Result<(), StoreError> {
        empty(&self.folder).map_err(StoreError::io(&self.target, "removing what an earlier process left beside it"))
    }

    /// Whether the folder stays when this is dropped.
    pub(crate) fn leave(&mut self, left: bool) {
        self.left = left;
    }

    /// Gives the folder its name; from then on the store is there.
    pub(crate) fn publish(self) -> Result<PathBuf, StoreError> {
        // Renaming onto an empty folder would succeed.
        if self.target.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: self.target.clone() });
        }
        let target = self.target.clone();
        fs::rename(&self.folder, &target).map_err(StoreError::io(&target, "renaming the finished folder"))?;
        let synced = File::open(parent(&target)).and_then(|parent| parent.sync_all());
        synced.map_err(StoreError::io(&target, "syncing its folder"))?;
        Ok(target)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.left {
            // Once published it is not there any more; and an error has nobody left to be told.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }?;
    }
    Ok(())
}
