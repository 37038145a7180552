//! The prefetch ring: deals requests to the threads and puts their batches back in order.
//!
//! Guarantee: at most `depth` batches are in work or waiting; results leave in the order of the requests;
//! after a failure or [`Ring::stop`] no request is dealt any more and every waiting thread wakes.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{BatchRequest, LoadedBatch, LoaderError};

type Outcome = Result<LoadedBatch, LoaderError>;
type Requests = Box<dyn Iterator<Item = BatchRequest> + Send>;

pub(super) struct Ring {
    /// Held while a request is dealt, so requests are numbered in the order they are drawn.
    requests: Mutex<Requests>,
    depth: u64,
    state: Mutex<State>,
    /// A place in the ring has become free, or everything stops.
    space: Condvar,
    /// A batch has been put in, or the requests have ended.
    filled: Condvar,
}

#[derive(Default)]
struct State {
    dealt: u64,
    taken: u64,
    outcomes: BTreeMap<u64, Outcome>,
    /// No request is dealt any more: they have ended, or one failed.
    closed: bool,
    stopped: bool,
}

/// Batch `batch` did not come in time.
pub(super) struct Late {
    pub(super) batch: u64,
}

impl Ring {
    pub(super) fn new(requests: Requests, depth: usize) -> Self {
        let state = Mutex::default();
        Self {
            requests: Mutex::new(requests),
            depth: depth as u64,
            state,
            space: Condvar::new(),
            filled: Condvar::new(),
        }
    }

    /// The next request with its number, once there is space for its batch; nothing when it is time to end.
    pub(super) fn deal(&self) -> Option<(u64, BatchRequest)> {
        // Poisoned means that drawing a request panicked: that thread reports it, and no more are drawn.
        let mut requests = self.requests.lock().ok()?;
        let full = |state: &mut State| !state.closed && !state.stopped && state.dealt - state.taken >= self.depth;
        let state = self.space.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if state.closed || state.stopped {
            return None;
        }
        // Drawing a request may take its time; the consumer need not wait for it.
        drop(state);
        let request = requests.next();
        let mut state = self.lock();
        if request.is_some() {
            state.dealt += 1;
        } else {
            state.closed = true;
            self.wake_all();
        }
        request.map(|request| (state.dealt - 1, request))
    }

    /// Number of the request that would be dealt next.
    pub(super) fn dealt(&self) -> u64 {
        self.lock().dealt
    }

    /// Puts in the outcome of request `number`. A failure closes the ring behind it.
    pub(super) fn put(&self, number: u64, outcome: Outcome) {
        let mut state = self.lock();
        state.closed |= outcome.is_err();
        state.dealt = state.dealt.max(number + 1);
        state.outcomes.insert(number, outcome);
        self.wake_all();
    }

    /// The next outcome in order, or nothing when all are taken.
    pub(super) fn take(&self, timeout: Duration) -> Result<Option<Outcome>, Late> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            let next = state.taken;
            if let Some(outcome) = state.outcomes.remove(&next) {
                state.taken += 1;
                self.wake_all();
                return Ok(Some(outcome));
            }
            if state.stopped || state.closed && state.taken == state.dealt {
                return Ok(None);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Late { batch: next });
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends everything; batches not yet taken are dropped.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.outcomes.clear();
        self.wake_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn wake_all(&self) {
        self.space.notify_all();
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs while the state is half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
