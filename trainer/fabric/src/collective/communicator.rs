//! The thread that runs all collectives of a rank, and the handles on what it does.
//!
//! Guarantee: operations run one after the other in the order in which they were asked for, on one thread, which is
//! the only one that calls MPI. A [`Pending`] operation is complete, or has failed, when it has been waited for.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytemuck::Pod;

use super::number::Number;
use super::region::Region;
use super::transport::{Topology, Transport};
use super::{Collective, CollectiveError, Label, Operation, Wire, algorithm};
use crate::watch::{self, Recorder};

/// Bytes of the region through which plain slices are reduced.
const STAGING_BYTES: usize = 4 << 20;

type Work = Box<dyn FnOnce(&mut dyn Transport) -> Result<(), CollectiveError> + Send>;

enum Job {
    Run(Work, Arc<Completion>),
    End,
}

/// Starts operations from anywhere, also after the communicator has gone: then they fail.
#[derive(Clone)]
pub struct Starter {
    place: Topology,
    /// None in a world of one, where there is nothing to do.
    jobs: Option<Sender<Job>>,
    recorder: Arc<Recorder>,
}

impl std::fmt::Debug for Starter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Starter(rank {})", self.place.rank)
    }
}

impl Starter {
    /// Of a world of one.
    pub(super) fn alone() -> Self {
        Self { place: Topology { rank: 0, size: 1, locals: 1 }, jobs: None, recorder: Arc::default() }
    }

    /// Where its rank stands.
    pub(super) fn place(&self) -> Topology {
        self.place
    }

    /// As [`Collective::start`].
    pub fn start(&self, operation: Operation, region: &Region, range: Range<usize>, label: Label) -> Pending {
        if self.jobs.is_none() {
            return Pending::done();
        }
        let region = region.clone();
        let bytes = range.len() * size_of::<f32>();
        self.submit(operation.kind(), label, bytes, move |transport| {
            algorithm::run::<f32>(transport, operation, &region, range, false)
        })
    }

    /// Queues work for the communication thread, and records it.
    pub(super) fn submit(
        &self,
        kind: watch::Operation,
        label: Label,
        bytes: usize,
        work: impl FnOnce(&mut dyn Transport) -> Result<(), CollectiveError> + Send + 'static,
    ) -> Pending {
        let done = Arc::new(Completion::default());
        let sequence = self.recorder.begin(kind, label.to_string(), bytes as u64);
        let recorder = Arc::clone(&self.recorder);
        let work: Work = Box::new(move |transport| {
            recorder.start(sequence);
            let result = work(transport).map_err(|error| error.labelled(label));
            recorder.end(sequence);
            result
        });
        let job = Job::Run(work, Arc::clone(&done));
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            done.set(Err(CollectiveError::new("queue", self.place.rank, "the communication thread has ended".into())));
        }
        Pending(done)
    }
}

/// Collectives of one rank, run on a thread of their own.
pub struct Communicator {
    place: Topology,
    starter: Starter,
    staging: Region,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Communicator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Communicator(rank {} of {})", self.place.rank, self.place.size)
    }
}

/// A communicator whose thread has begun to start its backend.
pub(super) struct Starting {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
    ready: Receiver<Result<(Topology, Region), CollectiveError>>,
}

impl Starting {
    /// Waits until the backend is ready.
    pub(super) fn wait(self) -> Result<Communicator, CollectiveError> {
        let failed = || CollectiveError::new("start", 0, "the communication thread ended".into());
        let (place, staging) = self.ready.recv().map_err(|_| failed())??;
        let starter = Starter { place, jobs: Some(self.jobs), recorder: Arc::default() };
        Ok(Communicator { place, starter, staging, thread: Some(self.thread) })
    }
}

impl Communicator {
    /// Starts the thread, which makes its backend with `make`.
    pub(super) fn start<T: Transport>(
        make: impl FnOnce() -> Result<T, CollectiveError> + Send + 'static,
    ) -> Result<Starting, CollectiveError> {
        let (jobs, queue) = channel::<Job>();
        let (tell, ready) = channel();
        let thread = std::thread::Builder::new()
            .name("communication".into())
            .spawn(move || {
                let started = make().and_then(|mut transport| {
                    let staging = transport.allocate(STAGING_BYTES)?;
                    Ok((transport, staging))
                });
                match started {
                    Ok((mut transport, staging)) => {
                        if tell.send(Ok((transport.topology(), staging))).is_ok() {
                            serve(&mut transport, &queue);
                        }
                    }
                    // Who asked for the start hears of it, or is gone.
                    Err(error) => drop(tell.send(Err(error))),
                }
            })
            .map_err(|error| CollectiveError::new("start", 0, error.to_string()))?;
        Ok(Starting { jobs, thread, ready })
    }

    /// Where this rank stands.
    pub fn topology(&self) -> Topology {
        self.place
    }

    /// Sums a plain slice through the staging region, piece by piece.
    fn all_reduce<T: Number + Pod>(&self, values: &mut [T], label: Label) -> Result<(), CollectiveError> {
        for piece in values.chunks_mut(STAGING_BYTES / size_of::<T>()) {
            let n = piece.len();
            // SAFETY: no operation is pending on the staging region: only the owner of `&self` uses it, from one
            // thread at a time (see `Collective`), and waits for the operation before it goes on.
            unsafe { self.staging.write::<T>(self.staging.own(), 0..n) }.copy_from_slice(piece);
            let staging = self.staging.clone();
            let bytes = size_of_val(piece);
            self.starter
                .submit(watch::Operation::AllReduce, label, bytes, move |transport| {
                    algorithm::run::<T>(transport, Operation::AllReduce(Wire::F32), &staging, 0..n, true)
                })
                .wait()?;
            // SAFETY: the operation is complete.
            piece.copy_from_slice(unsafe { self.staging.read::<T>(self.staging.own(), 0..n) });
        }
        Ok(())
    }
}

fn serve(transport: &mut dyn Transport, queue: &Receiver<Job>) {
    while let Ok(Job::Run(work, done)) = queue.recv() {
        done.set(work(transport));
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        // The thread may have ended by itself; then nobody listens, and there is nothing to end.
        let _ = self.starter.jobs.as_ref().map(|jobs| jobs.send(Job::End));
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has ended the process already, by the hook of the backend.
            let _ = thread.join();
        }
    }
}

impl Collective for Communicator {
    fn rank(&self) -> usize {
        self.place.rank
    }

    fn size(&self) -> usize {
        self.place.size
    }

    fn allocate(&self, len: usize) -> Result<Region, CollectiveError> {
        let slot = Arc::new(Mutex::new(None));
        let fill = Arc::clone(&slot);
        let bytes = len * size_of::<f32>();
        self.starter
            .submit(watch::Operation::Barrier, Label::plain("allocation"), bytes, move |transport| {
                let region = transport.allocate(bytes)?;
                *fill.lock().unwrap_or_else(PoisonError::into_inner) = Some(region);
                Ok(())
            })
            .wait()?;
        let region = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        region.ok_or_else(|| CollectiveError::new("allocate", self.place.rank, "no memory came back".into()))
    }

    fn owned(&self, range: &Range<usize>) -> Range<usize> {
        self.place.owned(range, self.place.rank)
    }

    fn starter(&self) -> Starter {
        self.starter.clone()
    }

    fn recorder(&self) -> Option<Arc<Recorder>> {
        Some(Arc::clone(&self.starter.recorder))
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError> {
        self.all_reduce(values, Label::plain("values"))
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<(), CollectiveError> {
        self.all_reduce(values, Label::plain("statistics"))
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.all_reduce(&mut [0.0_f32], Label::plain("barrier"))
    }

    fn abort(&self, code: i32) -> ! {
        super::end_process(code)
    }
}

/// Result of an operation, once there is one.
#[derive(Debug, Default)]
struct Completion {
    result: Mutex<Option<Result<(), CollectiveError>>>,
    changed: Condvar,
}

impl Completion {
    fn set(&self, result: Result<(), CollectiveError>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.changed.notify_all();
    }
}

/// An operation that was started. It goes on when this is dropped.
#[derive(Debug)]
#[must_use = "an operation that nobody waits for may fail unseen"]
pub struct Pending(Arc<Completion>);

impl Pending {
    /// An operation that is complete already.
    pub fn done() -> Self {
        let done = Arc::new(Completion::default());
        done.set(Ok(()));
        Self(done)
    }

    /// Waits until the operation is complete.
    ///
    /// # Errors
    /// When it failed; the message names the operation.
    pub fn wait(self) -> Result<(), CollectiveError> {
        let mut result = self.0.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = result.take() {
                return result;
            }
            result = self.0.changed.wait(result).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
