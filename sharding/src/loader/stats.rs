//! Counts of what a loader has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a loader has decoded and delivered so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderStats {
    /// Chunks decoded; more than the store has means that the cache is too small for the windows of the order.
    pub chunks_decoded: u64,
    /// Bytes these chunks took in memory.
    pub bytes_decoded: u64,
    /// Rows gathered into batches, partners included.
    pub rows: u64,
    /// Chunks found in the cache.
    pub cache_hits: u64,
    /// Reads that failed and were tried again.
    pub retries: u64,
    /// Buffers made for chunks and batches: once it stands still, no memory for cells is allocated any more.
    pub buffers: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) chunks_decoded: AtomicU64,
    pub(super) bytes_decoded: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) cache_hits: AtomicU64,
    pub(super) retries: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, buffers: u64) -> LoaderStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoaderStats {
            chunks_decoded: read(&self.chunks_decoded),
            bytes_decoded: read(&self.bytes_decoded),
            rows: read(&self.rows),
            cache_hits: read(&self.cache_hits),
            retries: read(&self.retries),
            buffers,
        }
    }
}
