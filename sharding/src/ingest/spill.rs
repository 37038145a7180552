//! Turns values that arrive in any order into row blocks, in bounded memory.
//!
//! Rows are cut into bands; every value goes to the temporary file of its band (in the system's temporary folder,
//! 12 bytes a value, gone when the program ends). A band is sorted when it is first read, so at most one band,
//! about [`BAND_VALUES`] values, is in memory.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::error::IngestError;
use super::source::push_canonical;
use crate::csr::Csr;

const BAND_VALUES: usize = 8 << 20;
const MOST_BANDS: usize = 256;
const RECORD: usize = 12;

/// Takes values in any order.
pub(crate) struct SpillWriter {
    n_rows: usize,
    n_cols: usize,
    band_rows: usize,
    bands: Vec<BufWriter<File>>,
}

impl SpillWriter {
    /// A spill for a matrix of `n_rows` × `n_cols` with about `nnz` values.
    pub(crate) fn new(n_rows: usize, n_cols: usize, nnz: usize) -> Result<Self, IngestError> {
        let n_bands = nnz.div_ceil(BAND_VALUES).clamp(1, MOST_BANDS);
        Self::with_bands(n_rows, n_cols, n_bands)
    }

    fn with_bands(n_rows: usize, n_cols: usize, n_bands: usize) -> Result<Self, IngestError> {
        let band_rows = n_rows.div_ceil(n_bands).max(1);
        let bands = (0..n_rows.div_ceil(band_rows))
            .map(|_| tempfile::tempfile().map(BufWriter::new))
            .collect::<Result<_, _>>()
            .map_err(temporary)?;
        Ok(Self { n_rows, n_cols, band_rows, bands })
    }

    /// Adds one value; `row` and `column` are below the shape.
    pub(crate) fn push(&mut self, row: usize, column: u32, value: f32) -> Result<(), IngestError> {
        let mut record = [0_u8; RECORD];
        record[0..4].copy_from_slice(&((row % self.band_rows) as u32).to_le_bytes());
        record[4..8].copy_from_slice(&column.to_le_bytes());
        record[8..12].copy_from_slice(&value.to_le_bytes());
        self.bands[row / self.band_rows].write_all(&record).map_err(temporary)
    }

    /// Ends the writing.
    pub(crate) fn finish(self) -> Result<Spill, IngestError> {
        let files = self
            .bands
            .into_iter()
            .map(|band| band.into_inner().map_err(std::io::IntoInnerError::into_error))
            .collect::<Result<_, _>>()
            .map_err(temporary)?;
        Ok(Spill {
            n_rows: self.n_rows,
            n_cols: self.n_cols,
            band_rows: self.band_rows,
            state: Mutex::new(State { files, loaded: None }),
        })
    }
}

/// Gives the values back by rows.
pub(crate) struct Spill {
    n_rows: usize,
    n_cols: usize,
    band_rows: usize,
    state: Mutex<State>,
}

struct State {
    files: Vec<File>,
    loaded: Option<(usize, Csr)>,
}

impl Spill {
    /// Rows `rows`, which lie inside the matrix.
    pub(crate) fn read_rows(&self, rows: Range<usize>) -> Result<Csr, IngestError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut block = Csr::empty(self.n_cols);
        for row in rows {
            let band = row / self.band_rows;
            let loaded = match state.loaded.take() {
                Some(loaded) if loaded.0 == band => loaded,
                _ => (band, self.load(&mut state.files[band], band)?),
            };
            let (columns, values) = loaded.1.row(row % self.band_rows);
            block.push_row(columns, values);
            state.loaded = Some(loaded);
        }
        Ok(block)
    }

    fn load(&self, file: &mut File, band: usize) -> Result<Csr, IngestError> {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(temporary)?;
        let field = |record: &[u8], at: usize| [record[at], record[at + 1], record[at + 2], record[at + 3]];
        let mut records: Vec<(u32, u32, f32)> = bytes
            .chunks_exact(RECORD)
            .map(|r| {
                (u32::from_le_bytes(field(r, 0)), u32::from_le_bytes(field(r, 4)), f32::from_le_bytes(field(r, 8)))
            })
            .collect();
        drop(bytes);
        records.sort_by_key(|record| (record.0, record.1));
        let n_rows = self.band_rows.min(self.n_rows - band * self.band_rows);
        let mut block = Csr::empty(self.n_cols);
        let (mut entries, mut rest) = (Vec::new(), records.as_slice());
        for row in 0..n_rows {
            let end = rest.partition_point(|record| record.0 as usize <= row);
            entries.extend(rest[..end].iter().map(|record| (record.1, record.2)));
            rest = &rest[end..];
            push_canonical(&mut block, &mut entries);
        }
        Ok(block)
    }
}

fn temporary(source: std::io::Error) -> IngestError {
    IngestError::io(Path::new("temporary file for re-ordering a matrix (set TMPDIR to a roomier disk)"), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_any_order_come_back_by_rows_whatever_the_bands() {
        let values = [(6, 1, 7.0), (0, 2, 1.0), (3, 0, 2.0), (0, 0, 3.0), (6, 0, 4.0), (3, 0, 5.0)];
        let mut want = Csr::empty(3);
        for row in [&[(0, 3.0), (2, 1.0)][..], &[], &[], &[(0, 7.0)], &[], &[], &[(0, 4.0), (1, 7.0)]] {
            push_canonical(&mut want, &mut row.to_vec());
        }
        for bands in [1, 2, 3, 7] {
            let mut writer = SpillWriter::with_bands(7, 3, bands).unwrap();
            for (row, column, value) in values {
                writer.push(row, column, value).unwrap();
            }
            let spill = writer.finish().unwrap();
            assert_eq!(spill.read_rows(0..7).unwrap(), want);
            assert_eq!(spill.read_rows(6..7).unwrap().row(0), want.row(6));
        }
    }
}
