//! Moments on their way into a checkpoint.

use std::ops::Range;

use tch::{Device, Tensor};

use super::EngineError;
use super::owned::Run;
use crate::shim::flat;

/// Moments in the memory of the processor.
#[derive(Debug)]
pub struct HostMoments {
    m: Tensor,
    v: Tensor,
    /// The first of all moments that is here.
    first: usize,
    runs: Vec<Run>,
}

/// Moments of a run of elements, as a checkpoint keeps them.
#[derive(Debug)]
pub struct MomentsRun<'a> {
    /// Elements of the flat state.
    pub range: Range<usize>,
    /// First moments.
    pub m: &'a [f32],
    /// Second moments.
    pub v: &'a [f32],
}

impl HostMoments {
    /// Moments of ascending runs, themselves or copies of what lies on a GPU.
    pub(super) fn new(m: &Tensor, v: &Tensor, runs: Vec<Run>) -> Self {
        let first = runs.first().map_or(0, |run| run.moments.start);
        let len = runs.last().map_or(0, |run| run.moments.end - first);
        let host = |all: &Tensor| all.narrow(0, first as i64, len as i64).to_device(Device::Cpu);
        Self { m: host(m), v: host(v), first, runs }
    }

    /// The moments, run by run.
    ///
    /// # Errors
    /// When they are not flat.
    pub fn runs(&self) -> Result<Vec<MomentsRun<'_>>, EngineError> {
        let (m, v) = (flat(&self.m)?, flat(&self.v)?);
        let run = |Run { range, moments }: &Run| {
            let own = moments.start - self.first..moments.end - self.first;
            MomentsRun { range: range.clone(), m: &m[own.clone()], v: &v[own] }
        };
        Ok(self.runs.iter().map(run).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_their_own_moments_wherever_the_first_of_them_lies() {
        let m = Tensor::from_slice(&[0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let runs = vec![Run { range: 20..22, moments: 1..3 }, Run { range: 40..41, moments: 4..5 }];
        let moments = HostMoments::new(&m, &(&m * 10.0), runs);
        let found: Vec<_> =
            moments.runs().unwrap().into_iter().map(|run| (run.range, run.m.to_vec(), run.v.to_vec())).collect();
        assert_eq!(found, [(20..22, vec![1.0, 2.0], vec![10.0, 20.0]), (40..41, vec![4.0], vec![40.0])]);
        assert!(HostMoments::new(&m, &m, Vec::new()).runs().unwrap().is_empty());
    }
}
