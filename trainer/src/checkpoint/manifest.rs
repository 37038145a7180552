//! `MANIFEST.json`: the files of a checkpoint with sizes and digests, written last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CheckpointError, MODEL, STATE};
use syncyte_fabric::hash::hex;

/// File name of the manifest.
pub(super) const MANIFEST: &str = "MANIFEST.json";

/// Size and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRecord {
    /// Bytes.
    pub(super) bytes: u64,
    /// SHA-256.
    pub(super) sha256: String,
}

/// All files of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Version of the layout.
    pub(super) format: u32,
    /// Files by name.
    pub(super) files: BTreeMap<String, FileRecord>,
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

/// Whether a name stands for a file in the folder itself.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

impl Manifest {
    /// A manifest out of its text; the error says what is wrong with it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Self =
            serde_json::from_slice(text).map_err(|error| format!("{MANIFEST} is not valid: {error}"))?;
        if manifest.format != super::FORMAT {
            return Err(format!("{MANIFEST}: format {} is not {}", manifest.format, super::FORMAT));
        }
        if let Some(name) = manifest.files.keys().find(|name| !is_plain(name)) {
            return Err(format!("{MANIFEST} names `{}`, which is no file of the folder", name.escape_default()));
        }
        if let Some(name) = [STATE, MODEL].into_iter().find(|&name| !manifest.files.contains_key(name)) {
            return Err(format!("{MANIFEST} does not name {name}"));
        }
        Ok(manifest)
    }

    /// Reads the manifest of a folder and checks every file against it.
    pub(super) fn verify(folder: &Path) -> Result<Self, CheckpointError> {
        let damaged = |what: String| CheckpointError::Damaged { path: folder.display().to_string(), what };
        let text = std::fs::read(folder.join(MANIFEST))
            .map_err(|error| damaged(format!("{MANIFEST} cannot be read ({error}), so it was never completed")))?;
        let manifest = Self::parse(&text).map_err(damaged)?;
        for (name, expected) in &manifest.files {
            let path = folder.join(name);
            // Opening a pipe would wait for somebody to write to it.
            if path.metadata().is_ok_and(|found| !found.is_file()) {
                return Err(damaged(format!("{name} is not a file")));
            }
            let found = record(&path).map_err(|error| damaged(error.to_string()))?;
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
