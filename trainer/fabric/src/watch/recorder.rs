//! The flight recorder: the last collective operations of this rank.
//!
//! Guarantee: an operation stays in the record while it is open, and for as long afterwards as fewer than the ring's
//! capacity have ended since. No call does I/O or waits for more than another call's few memory writes, so any thread
//! may use the recorder, the watchdog's too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::progress::{Operation, Phase, Progress, Standing};

/// Operations that a recorder keeps unless told otherwise.
pub const CAPACITY: usize = 256;

/// One collective operation. Times are microseconds since the recorder was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Place in the order of calls, from 1, the same on all ranks.
    pub sequence: u64,
    /// Kind.
    pub operation: Operation,
    /// What is exchanged, e.g. `gradients bucket 3`.
    pub label: Arc<str>,
    /// Step in which it was queued.
    pub step: u64,
    /// Phase in which it was queued.
    pub phase: Phase,
    /// Bytes that this rank contributes.
    pub bytes: u64,
    /// When it was queued.
    pub queued_us: u64,
    /// When its thread entered it.
    pub started_us: Option<u64>,
    /// When it ended.
    pub ended_us: Option<u64>,
}

/// Records collective operations. All methods may be called from any thread, [`Recorder::begin`] in the order that is
/// the same on all ranks: in practice from one thread.
#[derive(Debug)]
pub struct Recorder {
    origin: Instant,
    unix: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    capacity: usize,
    begun: u64,
    progress: Progress,
    open: VecDeque<Record>,
    ended: VecDeque<Record>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Recorder {
    /// A recorder that keeps the last `capacity` ended operations (at least one) besides the open ones.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let progress = Progress::default();
        let (open, ended) = (VecDeque::new(), VecDeque::with_capacity(capacity + 1));
        Self {
            origin: Instant::now(),
            unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            state: Mutex::new(State { capacity, begun: 0, progress, open, ended }),
        }
    }

    /// Says where the rank is; later operations belong to this step and phase.
    pub fn at(&self, step: u64, phase: Phase) {
        let mut state = self.lock();
        (state.progress.step, state.progress.phase) = (step, phase);
    }

    /// Records that an operation was queued, and gives its number.
    pub fn begin(&self, operation: Operation, label: impl Into<Arc<str>>, bytes: u64) -> u64 {
        let (label, queued_us) = (label.into(), self.now_us());
        let mut state = self.lock();
        state.begun += 1;
        let (sequence, Progress { step, phase, .. }) = (state.begun, state.progress);
        let (started_us, ended_us) = (None, None);
        state.open.push_back(Record {
            sequence,
            operation,
            label,
            step,
            phase,
            bytes,
            queued_us,
            started_us,
            ended_us,
        });
        sequence
    }

    /// Records that a thread entered the operation. Nothing happens when it is not open.
    pub fn start(&self, sequence: u64) {
        let now = self.now_us();
        let mut state = self.lock();
        let Some(at) = state.find(sequence) else { return };
        state.open[at].started_us.get_or_insert(now);
        state.enter(at);
    }

    /// Records that the operation ended. Nothing happens when it is not open.
    pub fn end(&self, sequence: u64) {
        let now = self.now_us();
        let mut state = self.lock();
        let Some(at) = state.find(sequence) else { return };
        state.enter(at);
        let Some(mut record) = state.open.remove(at) else { return };
        record.started_us.get_or_insert(record.queued_us);
        record.ended_us = Some(now);
        state.ended.push_back(record);
        if state.ended.len() > state.capacity {
            state.ended.pop_front();
        }
    }

    /// Records an operation that starts now and ends when the guard is dropped.
    pub fn enter(&self, operation: Operation, label: impl Into<Arc<str>>, bytes: u64) -> Entered<'_> {
        let sequence = self.begin(operation, label, bytes);
        self.start(sequence);
        Entered { recorder: self, sequence }
    }

    /// Where the rank is.
    pub fn progress(&self) -> Progress {
        let state = self.lock();
        let completed = state.open.front().map_or(state.begun, |record| record.sequence - 1);
        Progress { completed, ..state.progress }
    }

    /// The open operation with the smallest number.
    pub fn oldest_open(&self) -> Option<Record> {
        self.lock().open.front().cloned()
    }

    /// All recorded operations by number.
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<_> = {
            let state = self.lock();
            state.ended.iter().chain(&state.open).cloned().collect()
        };
        records.sort_unstable_by_key(|record| record.sequence);
        records
    }

    /// Microseconds since the recorder was made.
    pub fn now_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    /// The moment of a time of a record.
    pub fn instant(&self, us: u64) -> Instant {
        self.origin + Duration::from_micros(us)
    }

    /// Seconds since 1970 of a time of a record. Derived from one reading of the wall clock, so that times of one rank
    /// keep their order when the clock is set.
    pub fn unix_seconds(&self, us: u64) -> f64 {
        (self.unix + Duration::from_micros(us)).as_secs_f64()
    }

    /// Tells the other ranks, with the next heartbeat, that this one gives up.
    pub(super) fn give_up(&self) {
        self.lock().progress.standing = Standing::GivenUp;
    }

    /// A panic elsewhere leaves whole records: the lock is held over single writes only.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Index of an open operation. Few are open at once.
    fn find(&self, sequence: u64) -> Option<usize> {
        self.open.iter().position(|record| record.sequence == sequence)
    }

    fn enter(&mut self, at: usize) {
        let record = &self.open[at];
        if record.sequence > self.progress.entered {
            (self.progress.entered, self.progress.operation) = (record.sequence, Some(record.operation));
        }
    }
}

/// An operation that ends when this is dropped.
#[derive(Debug)]
#[must_use = "the operation ends when the guard is dropped"]
pub struct Entered<'a> {
    recorder: &'a Recorder,
    sequence: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.recorder.end(self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_open_operation_outlives_the_ring() {
        let recorder = Recorder::new(3);
        let stuck = recorder.begin(Operation::AllReduce, "gradients bucket 0", 8);
        recorder.start(stuck);
        for _ in 0..10 {
            drop(recorder.enter(Operation::Barrier, "agreement", 0));
        }
        let sequences: Vec<_> = recorder.records().iter().map(|record| record.sequence).collect();
        assert_eq!(sequences, [1, 9, 10, 11]);
        assert_eq!(recorder.oldest_open().map(|record| record.sequence), Some(stuck));
        assert_eq!(recorder.progress().completed, 0);
    }

    #[test]
    fn two_threads_record_every_operation_once() {
        let recorder = Recorder::new(1000);
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for sequence in receive {
                    recorder.start(sequence);
                    recorder.end(sequence);
                }
            });
            for step in 0..500 {
                recorder.at(step, Phase::Backward);
                send.send(recorder.begin(Operation::AllReduce, "bucket", step)).unwrap();
            }
            drop(send);
        });
        let records = recorder.records();
        assert_eq!(records.len(), 500);
        for (step, record) in records.iter().enumerate() {
            assert_eq!((record.sequence, record.step, record.bytes), (step as u64 + 1, step as u64, step as u64));
            let times = (record.started_us.unwrap(), record.ended_us.unwrap());
            assert!(record.queued_us <= times.0 && times.0 <= times.1);
        }
    }

    proptest! {
        /// Calls in any order, with wrong numbers too, against a plain list of what was called.
        #[test]
        fn progress_counts_what_was_entered_and_completed(calls in prop::collection::vec((0_u8..3, 0_u64..12), 0..60)) {
            let recorder = Recorder::new(4);
            let (mut entered, mut ended, mut begun) = (vec![], vec![], 0);
            for (call, sequence) in calls {
                match call {
                    0 => begun = recorder.begin(Operation::Barrier, "b", 0),
                    1 => recorder.start(sequence),
                    _ => recorder.end(sequence),
                }
                let open = (1..=begun).contains(&sequence) && !ended.contains(&sequence);
                if call > 0 && open {
                    entered.push(sequence);
                }
                if call == 2 && open {
                    ended.push(sequence);
                }
                let progress = recorder.progress();
                prop_assert_eq!(progress.entered, entered.iter().copied().max().unwrap_or(0));
                prop_assert_eq!(progress.completed, (1..=begun).take_while(|n| ended.contains(n)).count() as u64);
                prop_assert!(progress.completed <= progress.entered);
                prop_assert!(recorder.records().iter().filter(|record| record.ended_us.is_some()).count() <= 4);
            }
        }
    }
}
