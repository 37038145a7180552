//! One decoding thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::cache::{ChunkCache, Lookup, bytes_of};
use super::decode;
use super::gather::{Gathered, Plan};
use super::held::HeldRows;
use super::ring::Ring;
use super::stats::Counters;
use super::{BatchRequest, LoadedBatch, LoaderError, Partners, RowReader};
use crate::csr::Csr;

pub(super) struct Worker<R> {
    pub(super) reader: Arc<R>,
    pub(super) cache: Arc<ChunkCache>,
    pub(super) held: Arc<HeldRows>,
    pub(super) ring: Arc<Ring>,
    pub(super) counters: Arc<Counters>,
}

/// Why a batch does not come about.
enum Halt {
    /// Nobody waits for it any more.
    Stopped,
    Failed(LoaderError),
}

impl From<LoaderError> for Halt {
    fn from(error: LoaderError) -> Self {
        Halt::Failed(error)
    }
}

impl<R: RowReader> Worker<R> {
    /// Loads batches until the requests end, one fails, or the ring is stopped.
    pub(super) fn run(self) {
        loop {
            let dealt = catch_unwind(AssertUnwindSafe(|| self.ring.deal()));
            let (number, request) = match dealt {
                Ok(Some(dealt)) => dealt,
                Ok(None) => return,
                Err(panic) => {
                    let number = self.ring.dealt();
                    return self.ring.put(number, Err(self.panicked(number, &*panic)));
                }
            };
            let loaded = catch_unwind(AssertUnwindSafe(|| self.load(request)));
            self.ring.put(
                number,
                match loaded {
                    Ok(Ok(batch)) => Ok(batch),
                    Ok(Err(Halt::Stopped)) => return,
                    Ok(Err(Halt::Failed(error))) => Err(error),
                    Err(panic) => Err(self.panicked(number, &*panic)),
                },
            );
        }
    }

    fn load(&self, request: BatchRequest) -> Result<LoadedBatch, Halt> {
        self.check(&request)?;
        let BatchRequest { step, rows, partners } = request;
        let plan = Plan::new(rows.iter().chain(&partners), self.reader.chunk_rows());
        let gathered = self.gather(step, &plan)?;
        Counters::add(&self.counters.rows, plan.n_rows());
        let cells = gathered.block(0..rows.len());
        let partner_cells = || gathered.block(rows.len()..plan.n_rows());
        let partners = (!partners.is_empty()).then(|| Partners { cells: partner_cells(), rows: partners });
        Ok(LoadedBatch { step, rows, cells, partners })
    }

    fn check(&self, request: &BatchRequest) -> Result<(), LoaderError> {
        let (rows, partners) = (request.rows.len(), request.partners.len());
        if partners != 0 && partners != rows {
            return Err(LoaderError::Partners { step: request.step, rows, partners });
        }
        let cells = self.reader.n_cells();
        match request.rows.iter().chain(&request.partners).find(|&&row| row >= cells as u64) {
            Some(&row) => Err(LoaderError::Row { step: request.step, store: self.reader.name(), row, cells }),
            None => Ok(()),
        }
    }

    /// Copies the rows of a plan out of their chunks: first what is at hand or nobody else decodes, then the
    /// chunks that other threads were busy with. One chunk is open at a time.
    fn gather(&self, step: u64, plan: &Plan) -> Result<Gathered, Halt> {
        let mut gathered = Gathered::new(plan.n_rows(), self.reader.n_genes());
        let mut elsewhere = Vec::new();
        for (index, wanted) in plan.chunks() {
            let missing = self.held.copy(index, wanted, &mut gathered);
            if missing.is_empty() {
                continue;
            }
            match self.cache.look_up(index) {
                Some(found) => gathered.copy(&*self.chunk(step, index, found)?, &missing),
                None => elsewhere.push((index, missing)),
            }
        }
        for (index, missing) in elsewhere {
            gathered.copy(&*self.chunk(step, index, self.cache.wait_for(index))?, &missing);
        }
        Ok(gathered)
    }

    fn chunk(&self, step: u64, index: usize, found: Lookup<'_>) -> Result<Arc<Csr>, Halt> {
        match found {
            Lookup::Held(chunk) => {
                Counters::add(&self.counters.cache_hits, 1);
                Ok(chunk)
            }
            Lookup::Claimed(_) if self.ring.is_stopped() => Err(Halt::Stopped),
            Lookup::Claimed(claim) => {
                let chunk = decode::chunk(&*self.reader, index, step)?;
                Counters::add(&self.counters.chunks_decoded, 1);
                Counters::add(&self.counters.bytes_decoded, bytes_of(&chunk));
                let chunk = claim.fill(chunk);
                self.held.keep(index, &chunk);
                Ok(chunk)
            }
        }
    }

    fn panicked(&self, batch: u64, panic: &(dyn Any + Send)) -> LoaderError {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let message = message.unwrap_or_else(|| "no message".into());
        LoaderError::Panicked { store: self.reader.name(), batch, message }
    }
}
