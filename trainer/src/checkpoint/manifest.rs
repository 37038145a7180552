//! `MANIFEST.json`: the files of a checkpoint with sizes and digests, written last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::CheckpointError;
use crate::hash::hex;

/// File name of the manifest.
pub(super) const MANIFEST: &str = "MANIFEST.json";

/// Size and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    /// Bytes.
    pub(super) bytes: u64,
    /// SHA-256.
    pub(super) sha256: String,
}

/// All files of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of the layout.
    pub(super) format: u32,
    /// Files by name.
    pub(super) files: BTreeMap<String, FileRecord>,
}

/// Syncs a file to disk and records it.
pub(super) fn seal(path: &Path) -> Result<FileRecord, CheckpointError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(CheckpointError::io(path))?;
    record(path)
}

/// Size and digest of a file.
pub(super) fn record(path: &Path) -> Result<FileRecord, CheckpointError> {
    let mut file = File::open(path).map_err(CheckpointError::io(path))?;
    let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let n = file.read(&mut buffer).map_err(CheckpointError::io(path))?;
        if n == 0 {
            return Ok(FileRecord { bytes, sha256: hex(&digest.finalize()) });
        }
        digest.update(&buffer[..n]);
        bytes += n as u64;
    }
}

impl Manifest {
    /// Reads the manifest of a folder and checks every file against it.
    pub(super) fn verify(folder: &Path) -> Result<Self, CheckpointError> {
        let damaged = |what: String| CheckpointError::Damaged { path: folder.display().to_string(), what };
        let text = std::fs::read_to_string(folder.join(MANIFEST))
            .map_err(|error| damaged(format!("{MANIFEST} cannot be read ({error}), so it was never completed")))?;
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| damaged(format!("{MANIFEST} is not valid: {error}")))?;
        if manifest.format != super::FORMAT {
            return Err(damaged(format!("format {} is not {}", manifest.format, super::FORMAT)));
        }
        for (name, expected) in &manifest.files {
            let found = record(&folder.join(name)).map_err(|error| damaged(error.to_string()))?;
            if found.bytes != expected.bytes {
                return Err(damaged(format!("{name} has {} bytes, not {}", found.bytes, expected.bytes)));
            }
            if found.sha256 != expected.sha256 {
                return Err(damaged(format!("{name} does not have the recorded SHA-256")));
            }
        }
        Ok(manifest)
    }
}
