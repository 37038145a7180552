//! The loader: decodes the rows of coming batches on threads of its own, a bounded number of batches ahead.
//!
//! Guarantee: batches come out in the order of the requests, each with exactly the rows asked for in the
//! order asked for, whatever the number of threads. A chunk is decoded by one thread at a time, however many
//! batches want it. Memory is bounded by the settings: cache, held rows, one chunk a thread, `depth` batches; it is
//! used again, so that a loader that has seen its largest batch allocates nothing more for cells.
//!
//! A chunk that cannot be read is tried again, then set aside, and other rows stand in for its own; a chunk more than
//! allowed comes out in its turn as an error that names store, chunk and step, and ends the loader; a store that does
//! not answer in time is an error too. Dropping the loader stops its threads.

mod cache;
mod cached;
mod decode;
mod error;
mod form;
mod gather;
mod held;
mod pool;
mod quarantine;
mod ring;
mod stats;
#[cfg(test)]
mod tests;
mod worker;

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cache::ChunkCache;
pub use cached::{CacheError, CachedRows};
pub use error::{LoaderConfigError, LoaderError};
pub use form::{Dense, Form, Prepare, RawBatch};
use form::{Formed, Former};
use held::HeldRows;
use pool::Pool;
pub use pool::Pooled;
pub use quarantine::BadChunk;
use quarantine::Quarantine;
use ring::Ring;
use stats::Counters;
pub use stats::LoaderStats;
use worker::{Shared, Worker};

use crate::block::Block;
use crate::order::OrderConfig;
pub use crate::store::{RowReader, Scratch};

/// Rows of one batch on this rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchRequest {
    /// Step of the run.
    pub step: u64,
    /// Rows of the store, in the order wanted.
    pub rows: Vec<u64>,
    /// Control partner of every row, or nothing.
    pub partners: Vec<u64>,
}

/// One decoded batch. Its memory goes back to the loader when it is dropped.
#[derive(Debug)]
pub struct LoadedBatch {
    /// Step of the run.
    pub step: u64,
    /// Rows of the store: those asked for, but for rows of bad chunks, where others stand in.
    pub rows: Vec<u64>,
    /// Their expression, row for row.
    pub cells: Cells,
    /// Control partners, where the request had any.
    pub partners: Option<Partners>,
    /// What [`Prepare`] made of it, where the loader has one.
    pub prepared: Option<Box<dyn Any + Send>>,
}

/// The control partners of a batch.
#[derive(Debug)]
pub struct Partners {
    /// Rows of the store.
    pub rows: Vec<u64>,
    /// Their expression, row for row.
    pub cells: Cells,
}

/// The expression of some rows: as stored, and in the form asked for.
#[derive(Debug)]
pub struct Cells {
    block: Pooled<Block>,
    formed: Formed,
}

impl Cells {
    /// The dense rows, if the form is [`Form::Dense`] and there are rows.
    pub fn dense(&self) -> Option<&Dense> {
        if let Formed::Dense(dense) = &self.formed { Some(dense) } else { None }
    }

    /// The tokens, if the form is [`Form::Tokens`] and there are rows.
    pub fn tokens(&self) -> Option<&Block> {
        if let Formed::Tokens(tokens) = &self.formed { Some(tokens) } else { None }
    }
}

impl Deref for Cells {
    type Target = Block;

    fn deref(&self) -> &Block {
        &self.block
    }
}

/// Settings of a [`Loader`]. None of them but the form changes what comes out of a sound store.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderConfig {
    /// What to turn every batch into.
    pub form: Form,
    /// Decoding threads.
    pub threads: usize,
    /// Batches prepared ahead of the one in use.
    pub depth: usize,
    /// Bytes of decoded chunks to keep; [`LoaderConfig::cache_for`] says how many an order needs.
    pub cache_bytes: usize,
    /// Rows to keep decoded once read, best the controls that partners are drawn from: they lie all over the
    /// store, and would otherwise cost a chunk each.
    pub hold: Vec<u64>,
    /// Bytes that held rows may take; those that do not fit are read like any other.
    pub hold_bytes: usize,
    /// How long to wait for a batch before giving up.
    pub timeout: Duration,
    /// How often a chunk that cannot be read is tried again.
    pub retries: u32,
    /// Pause before the first new try; it doubles with each.
    pub retry_pause: Duration,
    /// Share of the store's chunks that may be bad; with 0 the first ends the loader.
    pub bad_share: f64,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            form: Form::Csr,
            threads: 2,
            depth: 4,
            cache_bytes: 1 << 30,
            hold: Vec::new(),
            hold_bytes: 1 << 30,
            timeout: Duration::from_mins(5),
            retries: 2,
            retry_pause: Duration::from_millis(50),
            bad_share: 0.0,
        }
    }
}

/// Iterates over the batches of a run of requests.
pub struct Loader {
    ring: Arc<Ring>,
    counters: Arc<Counters>,
    quarantine: Arc<Quarantine>,
    pools: [Arc<Pool<Block>>; 2],
    former: Arc<Former>,
    threads: Vec<JoinHandle<()>>,
    timeout: Duration,
    store: String,
    over: bool,
    stalled: bool,
}

impl Loader {
    /// Starts to load `requests` from `reader`.
    ///
    /// # Errors
    /// When a setting is 0, or the system gives no thread.
    pub fn new<R, I>(reader: &Arc<R>, requests: I, config: &LoaderConfig) -> Result<Self, LoaderConfigError>
    where
        R: RowReader,
        I: IntoIterator<Item = BatchRequest>,
        I::IntoIter: Send + 'static,
    {
        Self::start(reader, requests, config, None)
    }

    /// As [`Loader::new`], with what its threads make of every batch.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub fn preparing<R, I>(
        reader: &Arc<R>,
        requests: I,
        config: &LoaderConfig,
        prepare: Arc<dyn Prepare>,
    ) -> Result<Self, LoaderConfigError>
    where
        R: RowReader,
        I: IntoIterator<Item = BatchRequest>,
        I::IntoIter: Send + 'static,
    {
        Self::start(reader, requests, config, Some(prepare))
    }

    fn start<R, I>(
        reader: &Arc<R>,
        requests: I,
        config: &LoaderConfig,
        prepare: Option<Arc<dyn Prepare>>,
    ) -> Result<Self, LoaderConfigError>
    where
        R: RowReader,
        I: IntoIterator<Item = BatchRequest>,
        I::IntoIter: Send + 'static,
    {
        config.check()?;
        let ring = Arc::new(Ring::new(Box::new(requests.into_iter()), config.depth));
        let shared = Arc::new(Shared {
            reader: Arc::clone(reader),
            cache: ChunkCache::new(config.cache_bytes),
            held: HeldRows::new(&config.hold, reader.chunk_rows(), config.hold_bytes),
            quarantine: Arc::new(Quarantine::new(config.bad_share, &**reader)),
            ring: Arc::clone(&ring),
            counters: Arc::default(),
            chunks: Arc::default(),
            batches: Arc::default(),
            room: decode::room(&**reader).unwrap_or(0),
            former: Arc::new(Former::new(&config.form, reader.n_genes())?),
            prepare,
            retries: config.retries,
            retry_pause: config.retry_pause,
        });
        let mut loader = Self {
            ring,
            store: reader.name(),
            counters: Arc::clone(&shared.counters),
            quarantine: Arc::clone(&shared.quarantine),
            former: Arc::clone(&shared.former),
            pools: [Arc::clone(&shared.chunks), Arc::clone(&shared.batches)],
            threads: Vec::with_capacity(config.threads),
            timeout: config.timeout,
            over: false,
            stalled: false,
        };
        for index in 0..config.threads {
            let worker = Worker { shared: Arc::clone(&shared), scratch: Scratch::default() };
            let thread = thread::Builder::new().name(format!("loader-{index}")).spawn(move || worker.run());
            loader.threads.push(thread.map_err(LoaderConfigError::Thread)?);
        }
        Ok(loader)
    }

    /// What has been decoded so far.
    pub fn stats(&self) -> LoaderStats {
        let rows = self.pools.iter().map(|pool| pool.made()).sum::<u64>();
        self.counters.snapshot(rows + self.former.made())
    }

    /// Chunks that could not be read and were set aside so far.
    pub fn bad_chunks(&self) -> Vec<BadChunk> {
        self.quarantine.list()
    }

    /// How many they are.
    pub fn n_bad_chunks(&self) -> usize {
        self.quarantine.len()
    }
}

impl Iterator for Loader {
    type Item = Result<LoadedBatch, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let batch = self.ring.take(self.timeout).unwrap_or_else(|late| {
            self.stalled = true;
            Some(Err(LoaderError::Stalled {
                store: self.store.clone(),
                batch: late.batch,
                seconds: self.timeout.as_secs(),
            }))
        });
        if !matches!(batch, Some(Ok(_))) {
            self.over = true;
            self.ring.stop();
        }
        batch
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.ring.stop();
        // A thread that hangs in a read cannot be ended; waiting for it would hang this thread too.
        if !self.stalled {
            for thread in self.threads.drain(..) {
                // Workers turn panics into errors of their batch, so there is nothing left to learn here.
                drop(thread.join());
            }
        }
    }
}

impl LoaderConfig {
    /// Bytes of cache with which a rank of `world` decodes every chunk about once an epoch: an order over
    /// `fold_rows` of the rows of `store` keeps the blocks of one window open in each of its streams.
    pub fn cache_for(order: &OrderConfig, world: usize, fold_rows: usize, store: &impl RowReader) -> usize {
        let cells = store.n_cells().max(1);
        // A block of a fold is spread over more rows of the store, and starts and ends inside a chunk.
        let spread = (order.block_rows * cells).div_ceil(fold_rows.max(1));
        let aligned = fold_rows >= cells && order.block_rows.is_multiple_of(store.chunk_rows().max(1));
        let block_span = if aligned { spread } else { spread + store.chunk_rows() };
        let open_blocks = order.open_rows(world).div_ceil(order.block_rows.max(1));
        let types = store.block_types();
        let value_bytes = types.columns.bytes() + types.values.bytes();
        let row_bytes = value_bytes * store.nnz() as usize / cells + size_of::<usize>() + 1;
        // A buffer has room for the largest chunk; where that is not known, it becomes as large as the largest it held.
        let mean = store.nnz() as usize * store.chunk_rows() / cells;
        let (room, of) = decode::room(store).map_or((5, 4), |room| (room, mean.max(1)));
        let rows = (open_blocks * block_span).min(cells + store.chunk_rows());
        // A little more, for the chunks that come before the ones they follow have gone.
        (rows * row_bytes).saturating_mul(room) / of * 17 / 16
    }

    fn check(&self) -> Result<(), LoaderConfigError> {
        let settings =
            [("threads", self.threads == 0), ("depth", self.depth == 0), ("timeout", self.timeout.is_zero())];
        match settings.iter().find(|(_, is_zero)| *is_zero) {
            Some(&(setting, _)) => Err(LoaderConfigError::Zero { setting }),
            None => Ok(()),
        }
    }
}
