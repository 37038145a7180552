//! Gradients that are summed over ranks while backward goes on.
//!
//! Guarantee: buckets are started in the order of the plan on every rank, each as soon as all of its gradients and all
//! buckets before it are complete, and every bucket is reduced once a step whether or not its gradients came.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bucket::{Bucket, BucketPlan, BucketSizes, assumed_arrival};
use super::buffer::{Buffer, Started};
use crate::params::{Layout, ParamSet};
use crate::shim::{ShimError, on_gradient};
use syncyte_fabric::collective::{CollectiveError, Label, Operation};

/// The flat gradient's buckets and what is under way.
pub(super) struct Reducer {
    shared: Arc<Shared>,
}

impl fmt::Debug for Reducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reducer({} buckets)", self.shared.round().plan.buckets.len())
    }
}

struct Shared {
    round: Mutex<Round>,
}

struct Round {
    gradients: Buffer,
    plan: BucketPlan,
    operation: Option<Operation>,
    /// Whether single gradients report that they are complete.
    listening: bool,
    /// Elements that are left out: those of frozen groups.
    frozen: Vec<Range<usize>>,
    /// Gradients of each bucket that have not come.
    missing: Vec<usize>,
    /// The next bucket to start.
    next: usize,
    started: Vec<Started>,
    /// Parameters in the order in which their gradients came, where that is being measured.
    arrival: Vec<usize>,
}

impl Reducer {
    /// Listens to the gradients of all parameters, which come in `gradients`.
    pub(super) fn new(params: &ParamSet, gradients: Buffer, sizes: BucketSizes) -> Result<Self, ShimError> {
        let round = Round {
            gradients,
            plan: BucketPlan::new(params.layout(), &assumed_arrival(params.layout()), sizes),
            operation: None,
            listening: false,
            frozen: Vec::new(),
            missing: Vec::new(),
            next: 0,
            started: Vec::new(),
            arrival: Vec::new(),
        };
        let shared = Arc::new(Shared { round: Mutex::new(round) });
        for (index, (_, param)) in params.named().enumerate() {
            let shared = Arc::clone(&shared);
            on_gradient(param, index, Arc::new(move |index| shared.ready(index)))?;
        }
        Ok(Self { shared })
    }

    /// The buckets as they are now.
    pub(super) fn plan(&self) -> BucketPlan {
        self.shared.round().plan.clone()
    }

    /// Plans anew from the order in which the gradients of the last round came, if any did.
    pub(super) fn replan(&self, layout: &Layout, arrival: &[usize], sizes: BucketSizes) {
        self.shared.round().plan = BucketPlan::new(layout, arrival, sizes);
    }

    /// The order in which gradients came since [`Reducer::arm`].
    pub(super) fn arrival(&self) -> Vec<usize> {
        self.shared.round().arrival.clone()
    }

    /// From now on complete buckets are reduced, but `frozen` ones, until [`Reducer::finish`]. `listening` hears of every
    /// gradient; without it only [`Reducer::complete`] tells.
    pub(super) fn arm(&self, operation: Operation, frozen: Vec<Range<usize>>, listening: bool) {
        let mut round = self.shared.round();
        round.missing = round.plan.buckets.iter().map(|bucket| bucket.params.len()).collect();
        (round.operation, round.frozen, round.next, round.listening) = (Some(operation), frozen, 0, listening);
        round.arrival.clear();
    }

    /// All gradients of a part of the buffer are complete.
    pub(super) fn complete(&self, part: &Range<usize>) {
        let mut round = self.shared.round();
        let Round { plan, missing, .. } = &mut *round;
        for (bucket, missing) in plan.buckets.iter().zip(missing) {
            if part.start <= bucket.range.start && bucket.range.end <= part.end {
                *missing = 0;
            }
        }
        round.start_complete();
    }

    /// Starts whatever has not been started and waits for all.
    pub(super) fn finish(&self, operation: Operation, frozen: Vec<Range<usize>>) -> Result<(), CollectiveError> {
        if self.shared.round().operation.is_none() {
            self.arm(operation, frozen, false);
        }
        // Hooks of the backward pass come no more, so the buffer stays with this thread.
        let mut round = self.shared.round();
        round.missing.fill(0);
        round.start_complete();
        round.operation = None;
        let started = std::mem::take(&mut round.started);
        wait_for(started, &round.gradients)
    }

    /// Gathers the parts that ranks own of another buffer of the same layout, bucket by bucket, but `frozen` ones.
    pub(super) fn gather(&self, buffer: &Buffer, frozen: &[Range<usize>]) -> Result<(), CollectiveError> {
        let plan = self.plan();
        let wanted = plan.buckets.iter().enumerate().filter(|(_, bucket)| !is_in(&bucket.range, frozen));
        let start = |(index, bucket): (usize, &Bucket)| {
            let label = Label::numbered("parameters bucket", index);
            buffer.start(Operation::AllGather, bucket.range.clone(), label)
        };
        wait_for(wanted.map(start).collect(), buffer)
    }
}

/// Whether a bucket, which is of one group, lies in one of some groups.
fn is_in(bucket: &Range<usize>, groups: &[Range<usize>]) -> bool {
    groups.iter().any(|group| group.contains(&bucket.start))
}

fn wait_for(started: Vec<Started>, buffer: &Buffer) -> Result<(), CollectiveError> {
    started.into_iter().try_for_each(|one| one.wait().map(|range| buffer.finish(&range)))
}

impl Shared {
    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gradient of a parameter is complete.
    fn ready(&self, param: usize) {
        let mut round = self.round();
        if round.operation.is_none() || !round.listening {
            return;
        }
        round.arrival.push(param);
        let bucket = round.plan.of_param[param];
        round.missing[bucket] = round.missing[bucket].saturating_sub(1);
        round.start_complete();
    }
}

impl Round {
    fn start_complete(&mut self) {
        let Some(operation) = self.operation else { return };
        while self.missing.get(self.next) == Some(&0) {
            let range = self.plan.buckets[self.next].range.clone();
            if !is_in(&range, &self.frozen) {
                let label = Label::numbered("gradients bucket", self.next);
                self.started.push(self.gradients.start(operation, range, label));
            }
            self.next += 1;
        }
    }
}
