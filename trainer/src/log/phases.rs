//! Where the time of a step goes.
//!
//! Guarantee: the clock never stands still. Every moment since it was made belongs to one phase of one step, so the
//! phases of a step add up to its total and the totals of all steps to the time gone by. What no call claimed is in
//! [`Phase::Other`]. A switch costs a reading of the monotonic clock.

use std::collections::VecDeque;
use std::ops::Index;
use std::time::{Duration, Instant};

use serde::ser::{Serialize, Serializer};

use super::trace::{Trace, Track};
use syncyte_evaluation::quantile::quantile;

/// Phases of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waiting for a batch and making tensors of it.
    Data,
    /// Teacher, student and loss.
    Forward,
    /// Gradients.
    Backward,
    /// Waiting for other ranks: communication that hides behind no computation.
    ExposedCommunication,
    /// Update of parameters and teacher.
    Optimizer,
    /// What a checkpoint holds up.
    Checkpoint,
    /// Everything else: logs, monitors, progress.
    Other,
}

impl Phase {
    /// Number of phases.
    pub const COUNT: usize = 7;

    /// All phases, in the order of a step.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Data,
        Self::Forward,
        Self::Backward,
        Self::ExposedCommunication,
        Self::Optimizer,
        Self::Checkpoint,
        Self::Other,
    ];

    /// Name in logs, traces and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::ExposedCommunication => "exposed_communication",
            Self::Optimizer => "optimizer",
            Self::Checkpoint => "checkpoint",
            Self::Other => "other",
        }
    }
}

/// A number of milliseconds for each phase, in the order of [`Phase::ALL`]; serialises to an object by name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhaseTimes(pub [f64; Phase::COUNT]);

impl PhaseTimes {
    /// Phases with their milliseconds.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, f64)> {
        Phase::ALL.into_iter().zip(self.0)
    }
}

impl Index<Phase> for PhaseTimes {
    type Output = f64;

    fn index(&self, phase: Phase) -> &f64 {
        &self.0[phase as usize]
    }
}

impl Serialize for PhaseTimes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(phase, ms)| (phase.name(), ms)))
    }
}

/// Times of one step, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct StepTimes {
    /// Number of the step.
    pub step: u64,
    /// The whole step.
    pub step_ms: f64,
    /// By phase; they add up to `step_ms`.
    pub phases_ms: PhaseTimes,
}

/// Times over the newest steps, milliseconds. Medians of phases need not add up to the median step.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct StepSummary {
    /// Steps that it covers.
    pub steps: usize,
    /// Median step.
    pub step_ms_median: f64,
    /// Step that 95 % are not slower than.
    pub step_ms_p95: f64,
    /// Median of each phase.
    pub phases_ms: PhaseTimes,
    /// 95th percentile of each phase.
    pub phases_ms_p95: PhaseTimes,
}

/// A stopwatch that is always in one phase of one step.
#[derive(Debug)]
pub struct StepClock {
    trace: Trace,
    window: usize,
    history: VecDeque<StepTimes>,
    step: u64,
    began: Instant,
    phase: Phase,
    entered: Instant,
    spent: [Duration; Phase::COUNT],
}

impl StepClock {
    /// Starts in [`Phase::Other`] of step `step`; [`StepClock::summary`] covers the newest `window` steps.
    pub fn new(step: u64, window: usize, trace: Trace) -> Self {
        Self::new_at(Instant::now(), step, window, trace)
    }

    /// Goes on in `phase`; returns the phase that it leaves, for whoever must go back to it.
    pub fn enter(&mut self, phase: Phase) -> Phase {
        self.enter_at(Instant::now(), phase)
    }

    /// Ends the step; the next one begins at the same moment in [`Phase::Other`].
    pub fn finish(&mut self) -> StepTimes {
        self.finish_at(Instant::now())
    }

    /// Medians and 95th percentiles over the newest steps; `None` before the first has ended.
    pub fn summary(&self) -> Option<StepSummary> {
        let over = |share: f64, of: &dyn Fn(&StepTimes) -> f64| {
            let mut values: Vec<f64> = self.history.iter().map(of).collect();
            values.sort_unstable_by(f64::total_cmp);
            quantile(&values, share)
        };
        let phases = |share: f64| PhaseTimes(Phase::ALL.map(|phase| over(share, &|times| times.phases_ms[phase])));
        (!self.history.is_empty()).then(|| StepSummary {
            steps: self.history.len(),
            step_ms_median: over(0.5, &|times| times.step_ms),
            step_ms_p95: over(0.95, &|times| times.step_ms),
            phases_ms: phases(0.5),
            phases_ms_p95: phases(0.95),
        })
    }

    fn new_at(now: Instant, step: u64, window: usize, trace: Trace) -> Self {
        let window = window.max(1);
        let clock = Self {
            trace,
            window,
            history: VecDeque::with_capacity(window),
            step,
            began: now,
            phase: Phase::Other,
            entered: now,
            spent: [Duration::ZERO; Phase::COUNT],
        };
        clock.tell_trace();
        clock
    }

    fn enter_at(&mut self, now: Instant, phase: Phase) -> Phase {
        let left = self.phase;
        if phase != left {
            self.leave(now);
            (self.phase, self.entered) = (phase, now);
        }
        left
    }

    fn leave(&mut self, now: Instant) {
        self.spent[self.phase as usize] += now.saturating_duration_since(self.entered);
        self.trace.complete(Track::Main, self.phase.name(), self.entered, now, &[]);
    }

    fn finish_at(&mut self, now: Instant) -> StepTimes {
        self.leave(now);
        self.trace.complete(Track::Main, "step", self.began, now, &[("step", self.step)]);
        let spent = std::mem::take(&mut self.spent);
        let times = StepTimes {
            step: self.step,
            step_ms: milliseconds(spent.iter().sum()),
            phases_ms: PhaseTimes(spent.map(milliseconds)),
        };
        if self.history.len() == self.window {
            self.history.pop_front();
        }
        self.history.push_back(times);
        (self.step, self.began, self.phase, self.entered) = (self.step + 1, now, Phase::Other, now);
        self.tell_trace();
        times
    }

    /// A trace that cannot be written is no reason to end the run.
    fn tell_trace(&self) {
        if let Err(error) = self.trace.begin_step(self.step) {
            tracing::warn!("the trace was not written: {error}");
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests;
