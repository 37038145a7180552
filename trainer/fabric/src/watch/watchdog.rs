//! The watchdog: a thread that sees a collective operation that does not end.
//!
//! Guarantee: it calls back at most once, with a diagnosis, when one operation has been open for its limit, and never
//! for one that ended before. It waits for no lock that is held over I/O. Time in which the whole process was stopped
//! (`SIGSTOP`, a suspended job) does not count.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::diagnosis::{Diagnosis, diagnose};
use super::heartbeat::Heartbeat;
use super::progress::Phase;
use super::recorder::{Record, Recorder};

/// How long an operation may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the first operations, which build connections, and for those at start-up, during evaluation and around
    /// checkpoints, where one rank may work while the others wait.
    pub long: Duration,
    /// For all others.
    pub short: Duration,
    /// How many operations are the first.
    pub first: u64,
}

impl Default for Limits {
    /// 600 s, `PyTorch`'s limit for every operation of NCCL (`ProcessGroupNCCL.hpp`, 2.11), and half of it in training.
    fn default() -> Self {
        Self { long: Duration::from_mins(10), short: Duration::from_mins(5), first: 16 }
    }
}

impl Limits {
    /// The limit of an operation.
    pub fn of(&self, record: &Record) -> Duration {
        let patient = matches!(record.phase, Phase::StartUp | Phase::Evaluation | Phase::Checkpoint);
        if patient || record.sequence <= self.first { self.long } else { self.short }
    }

    /// Time between looks: limits are kept to a twentieth, or to a second.
    fn interval(&self) -> Duration {
        (self.long.min(self.short) / 20).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

/// Watches until it has called back or is dropped.
#[derive(Debug)]
pub struct Watchdog {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts watching the operations of `recorder`.
    ///
    /// When one is stuck, peers are told that this rank gives up, then `on_stuck` is called on the watchdog's thread.
    /// It should dump the flight recorder, say the sentence and end the process; it should wait for nothing else.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        limits: Limits,
        recorder: Arc<Recorder>,
        heartbeat: Arc<Heartbeat>,
        on_stuck: impl FnOnce(Diagnosis) + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            let Some((record, open_for)) = watch(limits, &recorder, &seen) else { return };
            let diagnosis = diagnose(heartbeat.own(), &record, open_for, &heartbeat.peers(), heartbeat.silence());
            recorder.give_up();
            heartbeat.announce();
            on_stuck(diagnosis);
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    /// Waits for `on_stuck` where it has been called.
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The first operation that is open for too long, or nothing when told to stop before.
fn watch(limits: Limits, recorder: &Recorder, stop: &Stop) -> Option<(Record, Duration)> {
    let interval = limits.interval();
    let mut timer = Timer::default();
    let mut last = Instant::now();
    while !stop.wait(interval) {
        let elapsed = last.elapsed();
        last = Instant::now();
        let open = recorder.oldest_open();
        // A look that comes late was held up with the whole process, and so perhaps was the operation.
        timer.look(open.as_ref().map(|record| record.sequence), elapsed.min(2 * interval));
        if let Some(record) = open.filter(|record| timer.waited >= limits.of(record)) {
            return Some((record, timer.waited));
        }
    }
    None
}

/// For how long the same operation has been the oldest open one.
#[derive(Debug, Default)]
struct Timer {
    sequence: Option<u64>,
    waited: Duration,
}

impl Timer {
    fn look(&mut self, open: Option<u64>, elapsed: Duration) {
        let same = open.is_some() && open == self.sequence;
        self.waited = if same { self.waited + elapsed } else { Duration::ZERO };
        self.sequence = open;
    }
}

/// Ends a thread that looks now and then. Only the two threads concerned touch its lock.
#[derive(Debug, Default)]
struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for this time, or until set. Says whether it is set.
    fn wait(&self, time: Duration) -> bool {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(set, time, |set| !*set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::super::progress::{Member, Operation, Standing};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn alone(recorder: &Arc<Recorder>) -> Arc<Heartbeat> {
        let own = Member { rank: 0, host: "n1".into() };
        let exchange = |text: &str| Ok::<_, Infallible>(vec![text.to_owned()]);
        Arc::new(Heartbeat::start(own, Duration::from_secs(1), Arc::clone(recorder), exchange).unwrap())
    }

    fn limits(ms: u64) -> Limits {
        Limits { long: Duration::from_millis(ms), short: Duration::from_millis(ms), first: 0 }
    }

    #[test]
    fn a_stuck_operation_is_reported_once() {
        let recorder = Arc::new(Recorder::default());
        let (send, receive) = mpsc::channel();
        let watchdog = Watchdog::start(limits(100), Arc::clone(&recorder), alone(&recorder), move |diagnosis| {
            send.send(diagnosis).unwrap();
        });
        drop(recorder.enter(Operation::Barrier, "agreement", 0));
        let _stuck = recorder.enter(Operation::AllReduce, "gradients bucket 2", 8);
        let diagnosis = receive.recv_timeout(PATIENCE).unwrap();
        assert_eq!((diagnosis.record.sequence, &*diagnosis.record.label), (2, "gradients bucket 2"));
        assert!(diagnosis.open_for >= Duration::from_millis(100));
        assert_eq!(recorder.progress().standing, Standing::GivenUp);
        // The thread ended, and with it the only sender, so nothing more can come though the operation is still open.
        assert_eq!(receive.recv_timeout(PATIENCE).unwrap_err(), mpsc::RecvTimeoutError::Disconnected);
        drop(watchdog);
    }

    #[test]
    fn operations_that_end_in_time_are_not_reported_however_many_there_are() {
        let recorder = Arc::new(Recorder::default());
        let (send, receive) = mpsc::channel();
        let on_stuck = move |diagnosis| send.send(diagnosis).unwrap();
        let watchdog = Watchdog::start(limits(100), Arc::clone(&recorder), alone(&recorder), on_stuck).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            drop(recorder.enter(Operation::AllReduce, "gradients bucket 2", 8));
        }
        drop(watchdog);
        assert_eq!(receive.try_recv().unwrap_err(), mpsc::TryRecvError::Disconnected);
    }

    #[test]
    fn a_watchdog_that_is_dropped_in_time_says_nothing() {
        let recorder = Arc::new(Recorder::default());
        let (send, receive) = mpsc::channel();
        let on_stuck = move |diagnosis| send.send(diagnosis).unwrap();
        let watchdog = Watchdog::start(limits(600_000), Arc::clone(&recorder), alone(&recorder), on_stuck).unwrap();
        let _open = recorder.enter(Operation::AllReduce, "gradients bucket 2", 8);
        drop(watchdog);
        assert_eq!(receive.try_recv().unwrap_err(), mpsc::TryRecvError::Disconnected);
    }

    #[test]
    fn first_operations_and_phases_with_waiting_ranks_have_the_long_limit() {
        let recorder = Recorder::default();
        let limits = Limits { first: 2, ..Limits::default() };
        let steps = [Phase::Backward, Phase::Backward, Phase::Backward, Phase::Checkpoint, Phase::Data];
        for phase in steps {
            recorder.at(1, phase);
            drop(recorder.enter(Operation::Barrier, "b", 0));
        }
        let long: Vec<_> = recorder.records().iter().map(|record| limits.of(record) == limits.long).collect();
        assert_eq!(long, [true, true, false, true, false]);
    }

    proptest! {
        /// Operations one after the other; `looks` are the numbers seen open at looks a millisecond apart.
        #[test]
        fn waiting_counts_only_the_looks_at_one_operation(looks in prop::collection::vec(prop::option::of(1_u64..4), 0..50)) {
            let mut timer = Timer::default();
            for (at, open) in looks.iter().enumerate() {
                timer.look(*open, Duration::from_millis(1));
                let run = looks[..=at].iter().rev().take_while(|seen| *seen == open).count();
                let expected = if open.is_some() { run as u64 - 1 } else { 0 };
                prop_assert_eq!(timer.waited, Duration::from_millis(expected));
            }
        }
    }
}
