//! Chunks that cannot be read: set aside with a record, and other rows taken in their place.
//!
//! Guarantee: which row stands in for another depends on the store and on which of its chunks are bad, not on when or
//! where that was found out, so batches keep their size and a resumed run sees the same rows. Where more chunks are
//! bad than allowed, the chunk that was one too many is an error.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::{LoaderError, RowReader, decode};

/// A chunk that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadChunk {
    /// Name of the store.
    pub store: String,
    /// Index of the chunk.
    pub chunk: usize,
    /// Its first row.
    pub first: usize,
    /// The row behind its last.
    pub end: usize,
    /// The step that wanted it first.
    pub step: u64,
    /// What was wrong with it.
    pub reason: String,
}

pub(super) struct Quarantine {
    /// Most chunks that may be bad.
    allowed: usize,
    bad: Mutex<BTreeMap<usize, BadChunk>>,
}

impl Quarantine {
    /// Allows a share of the chunks of a store to be bad.
    pub(super) fn new(share: f64, reader: &impl RowReader) -> Self {
        let chunks = reader.n_cells().div_ceil(reader.chunk_rows().max(1));
        Self { allowed: (share * chunks as f64) as usize, bad: Mutex::default() }
    }

    /// The chunks set aside so far, by index.
    pub(super) fn list(&self) -> Vec<BadChunk> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Sets a chunk aside, or says that it is one too many.
    pub(super) fn add(
        &self,
        reader: &impl RowReader,
        chunk: usize,
        step: u64,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), LoaderError> {
        let rows = decode::rows_of(reader, chunk);
        let store = reader.name();
        let mut bad = self.lock();
        if bad.contains_key(&chunk) {
            return Ok(());
        }
        if bad.len() >= self.allowed {
            let (first, end, allowed, bad) = (rows.start, rows.end, self.allowed, bad.len() + 1);
            return Err(LoaderError::Chunk { step, store, chunk, first, end, bad, allowed, source });
        }
        let reason = source.to_string();
        tracing::warn!(store, chunk, first = rows.start, end = rows.end, step, reason, "chunk set aside");
        bad.insert(chunk, BadChunk { store, chunk, first: rows.start, end: rows.end, step, reason });
        Ok(())
    }

    /// Replaces the rows of bad chunks by others; false where no row is left to stand in.
    pub(super) fn replace(&self, reader: &impl RowReader, rows: &mut [u64]) -> bool {
        let bad = self.lock();
        if bad.is_empty() {
            return true;
        }
        let is_bad = |row: u64| bad.contains_key(&(row as usize / reader.chunk_rows()));
        rows.iter_mut().filter(|row| is_bad(**row)).all(|row| {
            let found = reader.substitutes(*row).find(|&other| !is_bad(other));
            found.map(|other| *row = other).is_some()
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, BadChunk>> {
        // No code that can panic runs while the table is half-changed.
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
