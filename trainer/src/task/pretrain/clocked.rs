//! A collective whose waits are booked as exposed communication.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::collective::{Collective, CollectiveError, Region, Starter};
use crate::log::{Phase, StepClock};
use crate::watch::Recorder;

/// Passes everything on, and switches the clock while the program waits for other ranks.
pub(super) struct Clocked<'a> {
    inner: &'a dyn Collective,
    clock: Mutex<&'a mut StepClock>,
}

impl<'a> Clocked<'a> {
    pub(super) fn new(inner: &'a dyn Collective, clock: &'a mut StepClock) -> Self {
        Self { inner, clock: Mutex::new(clock) }
    }

    fn enter(&self, phase: Phase) -> Phase {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).enter(phase)
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
