//! The Matrix Market coordinate file, streamed once into a spill.

use std::io::{BufRead, BufReader};
use std::path::Path;

use super::table::open;
use crate::ingest::error::IngestError;
use crate::ingest::spill::{Spill, SpillWriter};

/// What the file says of itself, and a reader that stands before its first entry.
pub(super) struct Header {
    pub(super) n_rows: usize,
    pub(super) n_cols: usize,
    nnz: usize,
    pattern: bool,
    lines: Lines,
}

/// Lines of the file with their number.
struct Lines {
    reader: BufReader<Box<dyn std::io::Read>>,
    line: Vec<u8>,
    number: usize,
}

impl Lines {
    /// The next line that is no comment, or nothing at the end.
    fn next(&mut self, path: &Path) -> Result<Option<&str>, IngestError> {
        loop {
            self.line.clear();
            let read = self.reader.read_until(b'\n', &mut self.line).map_err(|e| cut(path, self.number, &e))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            let comment = self.number > 1 && self.line.starts_with(b"%");
            if !comment && !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let number = self.number;
        std::str::from_utf8(self.line.trim_ascii())
            .map(Some)
            .map_err(|_| IngestError::item(path, format!("line {number}"), "is not text"))
    }
}

impl Header {
    pub(super) fn read(path: &Path) -> Result<Self, IngestError> {
        let mut lines = Lines { reader: BufReader::with_capacity(1 << 20, open(path)?), line: Vec::new(), number: 0 };
        let banner = lines.next(path)?.unwrap_or_default().to_lowercase();
        let words: Vec<&str> = banner.split_ascii_whitespace().collect();
        let pattern = match words[..] {
            ["%%matrixmarket", "matrix", "coordinate", "integer" | "real" | "double", "general"] => false,
            ["%%matrixmarket", "matrix", "coordinate", "pattern", "general"] => true,
            ["%%matrixmarket", ..] => {
                return Err(IngestError::item(
                    path,
                    "line 1",
                    format!("'{banner}': only general coordinate matrices are read"),
                ));
            }
            _ => {
                return Err(IngestError::Unrecognised {
                    path: path.into(),
                    what: "not a Matrix Market file: its first line is not '%%MatrixMarket …'".into(),
                    fix: "write it with scipy.io.mmwrite or R's writeMM".into(),
                });
            }
        };
        let sizes = lines.next(path)?.map(numbers::<3>);
        let Some(Some([n_rows, n_cols, nnz])) = sizes else {
            return Err(IngestError::item(
                path,
                format!("line {}", lines.number),
                "does not hold rows, columns and entries",
            ));
        };
        Ok(Self { n_rows, n_cols, nnz, pattern, lines })
    }

    /// Reads the entries into rows of cells. `genes_first` says that matrix rows are genes.
    pub(super) fn spill(mut self, path: &Path, genes_first: bool) -> Result<Spill, IngestError> {
        let (cells, genes) = if genes_first { (self.n_cols, self.n_rows) } else { (self.n_rows, self.n_cols) };
        let mut writer = SpillWriter::new(cells, genes, self.nnz)?;
        let mut entries = 0;
        while let Some(line) = self.lines.next(path)? {
            let parsed = entry(line, self.pattern);
            let Some((row, column, value)) =
                parsed.filter(|e| (1..=self.n_rows).contains(&e.0) && (1..=self.n_cols).contains(&e.1))
            else {
                let what = format!("'{line}' is no entry of a {} × {} matrix", self.n_rows, self.n_cols);
                return Err(IngestError::item(path, format!("line {}", self.lines.number), what));
            };
            let (cell, gene) = if genes_first { (column - 1, row - 1) } else { (row - 1, column - 1) };
            writer.push(cell, gene as u32, value)?;
            entries += 1;
        }
        if entries != self.nnz {
            let what = format!("{entries} entries of the {} that its heading promises", self.nnz);
            return Err(IngestError::Truncated { path: path.into(), what });
        }
        writer.finish()
    }
}

fn cut(path: &Path, line: usize, error: &std::io::Error) -> IngestError {
    IngestError::Truncated { path: path.into(), what: format!("after line {line}: {error}") }
}

fn numbers<const N: usize>(line: &str) -> Option<[usize; N]> {
    let parsed: Option<Vec<usize>> = line.split_ascii_whitespace().map(|w| w.parse().ok()).collect();
    parsed?.try_into().ok()
}

fn entry(line: &str, pattern: bool) -> Option<(usize, usize, f32)> {
    let mut words = line.split_ascii_whitespace();
    let (row, column) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let value = if pattern { 1.0 } else { words.next()?.parse().ok()? };
    words.next().is_none().then_some((row, column, value))
}
