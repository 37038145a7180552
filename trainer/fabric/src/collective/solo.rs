//! The world of one rank.

use std::ops::Range;

use super::communicator::Starter;
use super::region::Region;
use super::{Collective, CollectiveError};

/// A single process: every collective is the identity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Collective for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn allocate(&self, len: usize) -> Result<Region, CollectiveError> {
        Ok(Region::private(len * size_of::<f32>()))
    }

    fn owned(&self, range: &Range<usize>) -> Range<usize> {
        range.clone()
    }

    fn starter(&self) -> Starter {
        Starter::alone()
    }

    fn all_reduce_sum(&self, _values: &mut [f32]) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn all_reduce_sum_f64(&self, _values: &mut [f64]) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
