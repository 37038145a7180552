//! Rows put into an order of their own, in bounded memory.
//!
//! Rows come in the order of the inputs and leave in the order of the store. Each is written to the temporary file of
//! its bucket, a run of neighbouring rows of the store; a bucket is put in order in memory when its turn comes. So every
//! byte is written and read once, in long runs, and memory holds one bucket of about [`BUCKET_BYTES`].

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;

use super::error::IngestError;

const BUCKET_BYTES: u64 = 64 << 20;
const MOST_BUCKETS: u64 = 512;
const WORD: usize = 4;

/// Takes rows, as bytes, in any order.
pub(super) struct Scatter {
    bucket_rows: usize,
    buckets: Vec<BufWriter<File>>,
}

impl Scatter {
    /// For `n_rows` rows of about `bytes` bytes together, in temporary files below `folder`.
    pub(super) fn new(n_rows: usize, bytes: u64, folder: &Path) -> Result<Self, IngestError> {
        let wanted = bytes.div_ceil(BUCKET_BYTES).clamp(1, MOST_BUCKETS) as usize;
        Self::with_buckets(n_rows, wanted, folder)
    }

    fn with_buckets(n_rows: usize, wanted: usize, folder: &Path) -> Result<Self, IngestError> {
        let bucket_rows = n_rows.div_ceil(wanted).max(1);
        let open = |_| {
            Ok::<_, IngestError>(BufWriter::with_capacity(1 << 16, tempfile::tempfile_in(folder).map_err(temporary)?))
        };
        Ok(Self { bucket_rows, buckets: (0..n_rows.div_ceil(bucket_rows)).map(open).collect::<Result<_, _>>()? })
    }

    /// Adds the row at `place`, in parts that lie one after the other.
    pub(super) fn push(&mut self, place: usize, parts: &[&[u8]]) -> Result<(), IngestError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let head = [(place % self.bucket_rows) as u32, length as u32].map(u32::to_le_bytes);
        let bucket = &mut self.buckets[place / self.bucket_rows];
        let mut write = |bytes: &[u8]| bucket.write_all(bytes).map_err(temporary);
        write(head.as_flattened())?;
        parts.iter().try_for_each(|part| write(part))
    }

    /// Hands over the rows from `from` on, in order, some thousand at a time at most.
    pub(super) fn gather(
        self,
        from: usize,
        mut work: impl FnMut(&[&[u8]]) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        let mut bytes = Vec::new();
        for (number, bucket) in self.buckets.into_iter().enumerate() {
            let first = number * self.bucket_rows;
            if first + self.bucket_rows <= from {
                continue;
            }
            let mut file = bucket.into_inner().map_err(|error| temporary(error.into_error()))?;
            bytes.clear();
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(temporary)?;
            let rows = in_order(&bytes);
            let rest = &rows[from.saturating_sub(first).min(rows.len())..];
            rest.chunks(super::inputs::BLOCK_ROWS).try_for_each(&mut work)?;
        }
        Ok(())
    }
}

/// The rows of a bucket by their place in it.
fn in_order(bytes: &[u8]) -> Vec<&[u8]> {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at + 2 * WORD;
        let end = start + word(at + WORD);
        found.push((word(at), &bytes[start..end]));
        at = end;
    }
    found.sort_unstable_by_key(|&(place, _)| place);
    found.into_iter().map(|(_, row)| row).collect()
}

fn temporary(source: io::Error) -> IngestError {
    IngestError::io(Path::new("temporary file for shuffling, beside the new store"), source)
}

#[cfg(test)]
mod tests {
    use super::Scatter;
    use crate::permutation::Permutation;
    use crate::philox::{Philox, Purpose};

    #[test]
    fn rows_leave_in_the_order_asked_for_from_any_row_on_whatever_the_buckets() {
        let folder = tempfile::tempdir().unwrap();
        let places = Permutation::new(50, &mut Philox::new(1, Purpose::Trial, 0, 0));
        for (buckets, from) in [(1, 0), (3, 0), (7, 23), (50, 49), (4, 50)] {
            let mut scatter = Scatter::with_buckets(50, buckets, folder.path()).unwrap();
            for row in 0..50 {
                let place = places.get(row) as u8;
                // The row of place p is p bytes p.
                scatter
                    .push(
                        place.into(),
                        &[
                            &vec![place; place.into()][..place as usize / 2],
                            &vec![place; place as usize - place as usize / 2],
                        ],
                    )
                    .unwrap();
            }
            let mut next = from;
            let check = |rows: &[&[u8]]| {
                for &row in rows {
                    assert_eq!(row, vec![next as u8; next]);
                    next += 1;
                }
                Ok(())
            };
            scatter.gather(from, check).unwrap();
            assert_eq!(next, 50);
        }
    }
}
