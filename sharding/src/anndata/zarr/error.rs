//! Errors of zarr nodes.

use std::io;

use thiserror::Error;
use zarrs::array::{ArrayError, CodecError};
use zarrs::storage::StorageError;

/// A zarr node that could not be read or written.
#[derive(Debug, Error)]
#[error("{store}: {}{cause}", place(node))]
pub struct ZarrError {
    store: String,
    node: String,
    cause: String,
    io: Option<io::ErrorKind>,
}

/// The node, before what is wrong with it; nothing for the whole hierarchy.
fn place(node: &str) -> String {
    if node.trim_matches('/').is_empty() { String::new() } else { format!("{node}: ") }
}

impl ZarrError {
    pub(crate) fn new(store: &str, node: &str, cause: impl ToString) -> Self {
        Self { store: store.into(), node: node.into(), cause: cause.to_string(), io: None }
    }

    pub(super) fn io(store: &str, node: &str, cause: &io::Error) -> Self {
        Self { io: Some(cause.kind()), ..Self::new(store, node, cause) }
    }

    pub(super) fn storage(store: &str, node: &str, cause: &StorageError) -> Self {
        let io = if let StorageError::IOError(error) = cause { Some(error.kind()) } else { None };
        Self { io, ..Self::new(store, node, cause) }
    }

    pub(super) fn array(store: &str, node: &str, cause: &ArrayError) -> Self {
        match cause {
            ArrayError::StorageError(error) | ArrayError::CodecError(CodecError::StorageError(error)) => {
                Self::storage(store, node, error)
            }
            other => Self::new(store, node, other),
        }
    }

    /// What is wrong, said inside a node whose name stands before it.
    pub(crate) fn within(&self, node: &str) -> String {
        match self.node.strip_prefix(node).map(|rest| rest.trim_matches('/')) {
            Some("") => self.cause.clone(),
            Some(rest) => format!("{rest}: {}", self.cause),
            None => format!("{}{}", place(&self.node), self.cause),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        let full = StorageError::from(io::Error::from(io::ErrorKind::StorageFull));
        let error = ZarrError::array("s.zarr", "X/data", &ArrayError::StorageError(full));
        assert!(error.is_disk_full());
        let denied = StorageError::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(!ZarrError::storage("s.zarr", "X/data", &denied).is_disk_full());
        assert!(error.to_string().starts_with("s.zarr: X/data: "));
    }
}
