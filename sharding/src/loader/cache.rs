//! Decoded chunks shared by the decoding threads.
//!
//! Guarantee: a chunk is decoded by at most one thread at a time; the chunks kept take no more than the
//! configured bytes; those leave first that have given as many rows as they have, which an epoch asks for once, and then
//! the least recently used; a decode that fails or panics leaves no trace,
//! so nobody waits for it in vain.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::pool::Pooled;
use crate::block::Block;

/// A decoded chunk; its memory goes back to the loader's pool.
pub(super) type Chunk = Pooled<Block>;

pub(super) struct ChunkCache {
    capacity: usize,
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Default)]
struct State {
    slots: HashMap<usize, Slot>,
    /// Chunks held, by the time of their last use; those that have given all their rows, by the time of that, before.
    by_use: BTreeMap<(bool, u64), usize>,
    clock: u64,
    bytes: usize,
}

/// In the order in which chunks leave.
const DONE: bool = false;
const IN_USE: bool = true;

enum Slot {
    Decoding,
    Held { chunk: Arc<Chunk>, bytes: usize, used: (bool, u64), left: usize },
}

/// What the cache has of a chunk that no other thread is decoding.
pub(super) enum Lookup<'a> {
    /// The chunk itself.
    Held(Arc<Chunk>),
    /// Nothing: the caller is to decode it.
    Claimed(Claim<'a>),
}

/// The right and duty to decode a chunk. Dropped without [`Claim::fill`], it frees the chunk for others.
pub(super) struct Claim<'a> {
    cache: &'a ChunkCache,
    index: usize,
    filled: bool,
}

impl ChunkCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default(), settled: Condvar::new() }
    }

    /// Whether a chunk is held or being decoded.
    pub(super) fn knows(&self, index: usize) -> bool {
        self.lock().slots.contains_key(&index)
    }

    /// Looks a chunk up without waiting; nothing where another thread is decoding it.
    pub(super) fn look_up(&self, index: usize) -> Option<Lookup<'_>> {
        self.look_up_in(&mut self.lock(), index)
    }

    /// Looks a chunk up; where another thread decodes it, waits for that to end.
    pub(super) fn wait_for(&self, index: usize) -> Lookup<'_> {
        let mut state = self.lock();
        loop {
            match self.look_up_in(&mut state, index) {
                Some(found) => return found,
                None => state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Notes that rows of a chunk were taken.
    pub(super) fn served(&self, index: usize, rows: usize) {
        self.lock().served(index, rows);
    }

    fn look_up_in(&self, state: &mut State, index: usize) -> Option<Lookup<'_>> {
        if let Some(chunk) = state.touch(index) {
            return Some(Lookup::Held(chunk));
        }
        if state.slots.contains_key(&index) {
            return None;
        }
        state.slots.insert(index, Slot::Decoding);
        Some(Lookup::Claimed(Claim { cache: self, index, filled: false }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs while the state is half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// Hands the decoded chunk to the cache and to whoever waits for it.
    pub(super) fn fill(mut self, chunk: Chunk) -> Arc<Chunk> {
        let chunk = Arc::new(chunk);
        self.cache.lock().hold(self.index, &chunk, self.cache.capacity);
        self.filled = true;
        self.cache.settled.notify_all();
        chunk
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.cache.lock().slots.remove(&self.index);
            self.cache.settled.notify_all();
        }
    }
}

impl State {
    /// The chunk, where it is held; it is now the most recently used.
    fn touch(&mut self, index: usize) -> Option<Arc<Chunk>> {
        self.clock += 1;
        let Some(Slot::Held { chunk, used, .. }) = self.slots.get_mut(&index) else { return None };
        self.by_use.remove(used);
        *used = (IN_USE, self.clock);
        self.by_use.insert(*used, index);
        Some(Arc::clone(chunk))
    }

    fn served(&mut self, index: usize, rows: usize) {
        self.clock += 1;
        let Some(Slot::Held { used, left, .. }) = self.slots.get_mut(&index) else { return };
        *left = left.saturating_sub(rows);
        if *left == 0 {
            self.by_use.remove(used);
            *used = (DONE, self.clock);
            self.by_use.insert(*used, index);
        }
    }

    fn hold(&mut self, index: usize, chunk: &Arc<Chunk>, capacity: usize) {
        let bytes = chunk.capacity_bytes();
        while self.bytes + bytes > capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(Slot::Held { bytes, .. }) = self.slots.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
        if self.bytes + bytes > capacity {
            // Larger than the whole cache: those who wait decode it themselves.
            self.slots.remove(&index);
            return;
        }
        self.clock += 1;
        self.bytes += bytes;
        let used = (IN_USE, self.clock);
        self.by_use.insert(used, index);
        self.slots.insert(index, Slot::Held { chunk: Arc::clone(chunk), bytes, used, left: chunk.n_rows() });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Chunk, ChunkCache, Lookup};
    use crate::block::Block;
    use crate::csr::Csr;
    use crate::loader::pool::Pool;

    fn chunk() -> Chunk {
        let pool: Arc<Pool<Block>> = Arc::default();
        let mut chunk = pool.take();
        chunk.assign(&Csr { n_cols: 4, indptr: vec![0, 2], indices: vec![0, 1], values: vec![1.0, 2.0] });
        chunk
    }

    fn fill(cache: &ChunkCache, index: usize) {
        match cache.look_up(index) {
            Some(Lookup::Claimed(claim)) => drop(claim.fill(chunk())),
            _ => panic!("chunk {index} was there already"),
        }
    }

    fn holds(cache: &ChunkCache, index: usize) -> bool {
        matches!(cache.look_up(index), Some(Lookup::Held(_)))
    }

    #[test]
    fn the_least_recently_used_chunk_leaves_first_and_the_bytes_are_bounded() {
        let cache = ChunkCache::new(2 * chunk().capacity_bytes());
        fill(&cache, 0);
        fill(&cache, 1);
        assert!(holds(&cache, 0));
        fill(&cache, 2);
        assert!(holds(&cache, 0) && holds(&cache, 2) && !holds(&cache, 1));
        assert_eq!(cache.lock().bytes, 2 * chunk().capacity_bytes());
    }

    #[test]
    fn a_chunk_that_has_given_all_its_rows_leaves_before_one_that_is_older() {
        let cache = ChunkCache::new(2 * chunk().capacity_bytes());
        fill(&cache, 0);
        fill(&cache, 1);
        cache.served(1, 1);
        fill(&cache, 2);
        assert!(holds(&cache, 0) && holds(&cache, 2) && !holds(&cache, 1));
    }

    #[test]
    fn a_chunk_larger_than_the_cache_passes_through() {
        let cache = ChunkCache::new(1);
        fill(&cache, 0);
        assert!(!holds(&cache, 0));
        assert_eq!(cache.lock().bytes, 0);
    }

    #[test]
    fn a_claim_keeps_others_waiting_until_it_is_given_up() {
        let cache = ChunkCache::new(1 << 20);
        let Some(Lookup::Claimed(claim)) = cache.look_up(7) else { panic!("nothing was there") };
        assert!(cache.look_up(7).is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| matches!(cache.wait_for(7), Lookup::Claimed(_)));
            drop(claim);
            assert!(waiter.join().unwrap());
        });
    }
}
