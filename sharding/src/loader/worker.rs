//! One decoding thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::cache::{Chunk, ChunkCache, Lookup};
use super::decode;
use super::form::{Former, Prepare, RawBatch};
use super::gather::{Gathered, Plan};
use super::held::HeldRows;
use super::pool::{Pool, Pooled};
use super::quarantine::Quarantine;
use super::ring::Ring;
use super::stats::Counters;
use super::{BatchRequest, Cells, LoadedBatch, LoaderError, Partners, RowReader, Scratch};
use crate::block::Block;

/// What the threads of a loader share.
pub(super) struct Shared<R> {
    pub(super) reader: Arc<R>,
    pub(super) cache: ChunkCache,
    pub(super) held: HeldRows,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) ring: Arc<Ring>,
    pub(super) counters: Arc<Counters>,
    pub(super) chunks: Arc<Pool<Block>>,
    pub(super) batches: Arc<Pool<Block>>,
    /// Values for which the buffer of a chunk has room from the start.
    pub(super) room: usize,
    pub(super) former: Arc<Former>,
    pub(super) prepare: Option<Arc<dyn Prepare>>,
    pub(super) retries: u32,
    pub(super) retry_pause: Duration,
}

pub(super) struct Worker<R> {
    pub(super) shared: Arc<Shared<R>>,
    pub(super) scratch: Scratch,
}

/// Why a batch does not come about.
enum Halt {
    /// Nobody waits for it any more.
    Stopped,
    /// A chunk was set aside: other rows have to be taken.
    SetAside,
    Failed(LoaderError),
}

impl From<LoaderError> for Halt {
    fn from(error: LoaderError) -> Self {
        Halt::Failed(error)
    }
}

impl<R: RowReader> Worker<R> {
    /// Loads batches until the requests end, one fails, or the ring is stopped.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let ring = &shared.ring;
        loop {
            let (number, request) = match catch_unwind(AssertUnwindSafe(|| ring.deal())) {
                Ok(Some(dealt)) => dealt,
                Ok(None) => return,
                Err(panic) => {
                    let number = ring.dealt();
                    return ring.put(number, Err(shared.panicked(number, &*panic)));
                }
            };
            let loaded = catch_unwind(AssertUnwindSafe(|| self.load(request)));
            let outcome = match loaded {
                Ok(Ok(batch)) => Ok(batch),
                Ok(Err(Halt::Stopped | Halt::SetAside)) => return,
                Ok(Err(Halt::Failed(error))) => Err(error),
                Err(panic) => Err(shared.panicked(number, &*panic)),
            };
            ring.put(number, outcome);
        }
    }

    fn load(&mut self, request: BatchRequest) -> Result<LoadedBatch, Halt> {
        self.shared.check(&request)?;
        let BatchRequest { step, rows: mut cells, partners: mut controls } = request;
        loop {
            let replaced = [&mut cells, &mut controls].map(|rows| self.shared.replace(step, rows));
            replaced.into_iter().collect::<Result<Vec<()>, LoaderError>>()?;
            match self.gather(step, &cells, &controls) {
                Err(Halt::SetAside) => {}
                Err(halt) => return Err(halt),
                Ok(gathered) => {
                    Counters::add(&self.shared.counters.rows, cells.len() + controls.len());
                    let Gathered { cells: block, partners } = gathered;
                    let partners = self.shared.form(step, &controls, partners)?;
                    let partners = (!controls.is_empty()).then_some(Partners { rows: controls, cells: partners });
                    let block = self.shared.form(step, &cells, block)?;
                    let mut batch = LoadedBatch { step, rows: cells, cells: block, partners, prepared: None };
                    batch.prepared = self.shared.prepare(&batch)?;
                    return Ok(batch);
                }
            }
        }
    }

    /// Copies the rows of a batch out of their chunks: first what is at hand or nobody else decodes, then the chunks
    /// that other threads were busy with. Where the store knows the lengths of its rows, one chunk is open at a time.
    fn gather(&mut self, step: u64, cells: &[u64], partners: &[u64]) -> Result<Gathered, Halt> {
        let shared = Arc::clone(&self.shared);
        let reader = &*shared.reader;
        let plan = Plan::new(cells.iter().chain(partners), reader.chunk_rows());
        for (index, _) in plan.chunks().filter(|(index, _)| !shared.cache.knows(*index)) {
            reader.will_read(decode::rows_of(reader, index));
        }
        let known: Option<Vec<usize>> = cells.iter().chain(partners).map(|&row| reader.row_nnz(row as usize)).collect();
        let mut open = Vec::new();
        let lengths = match known {
            Some(lengths) => lengths,
            None => self.lengths(step, &plan, &mut open)?,
        };
        let mut gathered =
            Gathered::new(&shared.batches, reader.n_genes(), reader.block_types(), &lengths, cells.len());
        let mut elsewhere = Vec::new();
        for (index, wanted) in plan.chunks() {
            let mut missing = false;
            for wanted in wanted {
                match shared.held.find(index, wanted.row) {
                    Some((block, row)) => gathered.put(wanted.place, block, row),
                    None => missing = true,
                }
            }
            if !missing {
                continue;
            }
            let Some(found) = shared.cache.look_up(index) else {
                elsewhere.push((index, wanted));
                continue;
            };
            let chunk = self.chunk(step, index, found)?;
            for wanted in wanted {
                gathered.put(wanted.place, &chunk, wanted.row);
            }
            shared.cache.served(index, wanted.len());
        }
        for (index, wanted) in elsewhere {
            let chunk = self.chunk(step, index, shared.cache.wait_for(index))?;
            for wanted in wanted {
                gathered.put(wanted.place, &chunk, wanted.row);
            }
            shared.cache.served(index, wanted.len());
        }
        Ok(gathered)
    }

    /// Lengths of the rows of a plan, by place, read out of their chunks, which are kept open.
    fn lengths(&mut self, step: u64, plan: &Plan, open: &mut Vec<Arc<Chunk>>) -> Result<Vec<usize>, Halt> {
        let shared = Arc::clone(&self.shared);
        let mut lengths = vec![0; plan.n_rows()];
        for (index, wanted) in plan.chunks() {
            let chunk = self.chunk(step, index, shared.cache.wait_for(index))?;
            for wanted in wanted {
                lengths[wanted.place] = chunk.span(wanted.row).len();
            }
            open.push(chunk);
        }
        Ok(lengths)
    }

    fn chunk(&mut self, step: u64, index: usize, found: Lookup<'_>) -> Result<Arc<Chunk>, Halt> {
        match found {
            Lookup::Held(chunk) => {
                Counters::add(&self.shared.counters.cache_hits, 1);
                Ok(chunk)
            }
            Lookup::Claimed(_) if self.shared.ring.is_stopped() => Err(Halt::Stopped),
            Lookup::Claimed(claim) => {
                let chunk = self.decode(step, index)?;
                self.shared.held.keep(index, &chunk);
                Ok(claim.fill(chunk))
            }
        }
    }

    /// Decodes a chunk, more than once where that fails; then it is set aside.
    fn decode(&mut self, step: u64, index: usize) -> Result<Chunk, Halt> {
        let shared = &*self.shared;
        let mut chunk = shared.chunks.take();
        chunk.reserve(shared.reader.block_types(), shared.room);
        let mut tries = 0;
        loop {
            let Err(source) = decode::chunk(&*shared.reader, index, &mut self.scratch, &mut chunk) else {
                Counters::add(&shared.counters.chunks_decoded, 1);
                Counters::add(&shared.counters.bytes_decoded, chunk.capacity_bytes());
                return Ok(chunk);
            };
            if tries == shared.retries {
                shared.quarantine.add(&*shared.reader, index, step, source)?;
                return Err(Halt::SetAside);
            }
            thread::sleep(shared.retry_pause * 2_u32.pow(tries.min(10)));
            tries += 1;
            Counters::add(&shared.counters.retries, 1);
        }
    }
}

impl<R: RowReader> Shared<R> {
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

    fn form(&self, step: u64, rows: &[u64], block: Pooled<Block>) -> Result<Cells, LoaderError> {
        let formed = self.former.form(&*self.reader, rows, &block);
        let formed = formed.map_err(|problem| LoaderError::Form { step, store: self.reader.name(), problem })?;
        Ok(Cells { block, formed })
    }

    fn prepare(&self, batch: &LoadedBatch) -> Result<Option<Box<dyn Any + Send>>, LoaderError> {
        let Some(prepare) = &self.prepare else { return Ok(None) };
        let (step, rows, cells) = (batch.step, batch.rows.as_slice(), &*batch.cells);
        let partners = batch.partners.as_ref().map(|partners| (partners.rows.as_slice(), &*partners.cells));
        let prepared = prepare.prepare(&RawBatch { step, rows, cells, partners });
        prepared.map(Some).map_err(|problem| LoaderError::Form { step, store: self.reader.name(), problem })
    }

    fn replace(&self, step: u64, rows: &mut [u64]) -> Result<(), LoaderError> {
        if self.quarantine.replace(&*self.reader, rows) {
            return Ok(());
        }
        Err(LoaderError::NoSubstitute { step, store: self.reader.name() })
    }

    fn panicked(&self, batch: u64, panic: &(dyn Any + Send)) -> LoaderError {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let message = message.unwrap_or_else(|| "no message".into());
        LoaderError::Panicked { store: self.reader.name(), batch, message }
    }
}
