//! Where a rank is in its step: one call tells the clock, the trace and the watchdog.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::log::{Phase, StepClock, StepSummary, StepTimes};
use syncyte_fabric::collective::{Collective, CollectiveError, Region, Starter};
use syncyte_fabric::watch::{self, Recorder};

/// The clock of a rank, and what its watchdog is told.
#[derive(Debug)]
pub struct Spans {
    clock: StepClock,
    recorder: Option<Arc<Recorder>>,
    step: u64,
}

impl Spans {
    /// Of a rank before step `step`, from 1.
    pub fn new(clock: StepClock, collective: &dyn Collective, step: u64) -> Self {
        Self { clock, recorder: collective.recorder(), step }
    }

    /// A step begins, from 1.
    pub fn begin(&mut self, step: u64) {
        self.step = step;
    }

    /// Goes on in `phase`; returns the phase that it leaves, for whoever must go back to it.
    pub fn enter(&mut self, phase: Phase) -> Phase {
        let doing = match phase {
            Phase::Data => Some(watch::Phase::Data),
            Phase::Forward => Some(watch::Phase::Forward),
            Phase::Backward => Some(watch::Phase::Backward),
            Phase::Optimizer => Some(watch::Phase::Optimizer),
            Phase::Checkpoint => Some(watch::Phase::Checkpoint),
            // A rank that waits is still at what it waits in.
            Phase::ExposedCommunication | Phase::Other => None,
        };
        if let (Some(recorder), Some(doing)) = (&self.recorder, doing) {
            recorder.at(self.step, doing);
        }
        self.clock.enter(phase)
    }

    /// The step ends.
    pub fn finish(&mut self) -> StepTimes {
        self.clock.finish()
    }

    /// Medians over the newest steps; `None` before the first has ended.
    pub fn summary(&self) -> Option<StepSummary> {
        self.clock.summary()
    }
}

/// A collective whose waits are booked as exposed communication.
pub struct Clocked<'a> {
    inner: &'a dyn Collective,
    spans: Mutex<&'a mut Spans>,
}

impl<'a> Clocked<'a> {
    /// Passes everything on to `inner`.
    pub fn new(inner: &'a dyn Collective, spans: &'a mut Spans) -> Self {
        Self { inner, spans: Mutex::new(spans) }
    }

    fn enter(&self, phase: Phase) -> Phase {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).enter(phase)
    }

    fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        let before = self.enter(Phase::ExposedCommunication);
        let result = wait();
        self.enter(before);
        result
    }
}

impl Collective for Clocked<'_> {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn allocate(&self, len: usize) -> Result<Region, CollectiveError> {
        self.inner.allocate(len)
    }

    fn owned(&self, range: &Range<usize>) -> Range<usize> {
        self.inner.owned(range)
    }

    fn starter(&self) -> Starter {
        self.inner.starter()
    }

    fn recorder(&self) -> Option<Arc<Recorder>> {
        self.inner.recorder()
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError> {
        self.waiting(|| self.inner.all_reduce_sum(values))
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<(), CollectiveError> {
        self.waiting(|| self.inner.all_reduce_sum_f64(values))
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.waiting(|| self.inner.barrier())
    }

    fn abort(&self, code: i32) -> ! {
        self.inner.abort(code)
    }
}
