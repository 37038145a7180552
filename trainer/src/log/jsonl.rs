//! A file with one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Appends objects to a file; each line is written whole.
#[derive(Debug)]
pub struct JsonLines {
    file: File,
}

impl JsonLines {
    /// Opens a file to continue after `step`: later lines, which an interrupted run left, are dropped.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn resume(path: &Path, step: u64) -> std::io::Result<Self> {
        if path.exists() {
            let mut kept = Vec::new();
            for line in BufReader::new(File::open(path)?).lines() {
                let line = line?;
                let at = serde_json::from_str::<Value>(&line).ok().and_then(|value| value["step"].as_u64());
                if at.is_some_and(|at| at <= step) {
                    kept.push(line);
                }
            }
            let beside: PathBuf = path.with_extension("partial");
            let mut out = File::create(&beside)?;
            for line in kept {
                writeln!(out, "{line}")?;
            }
            out.sync_all()?;
            std::fs::rename(&beside, path)?;
        }
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    /// Appends one object.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, value: &Value) -> std::io::Result<()> {
        self.file.write_all(format!("{value}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resuming_drops_lines_after_the_step_and_half_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = JsonLines::resume(&path, 0).unwrap();
        for step in 1..=4 {
            log.append(&json!({ "step": step })).unwrap();
        }
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"ste").unwrap();
        JsonLines::resume(&path, 2).unwrap().append(&json!({ "step": 3 })).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
    }
}
