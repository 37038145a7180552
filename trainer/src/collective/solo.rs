//! The world of one rank.

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

    fn all_reduce_sum(&self, _values: &mut [f32]) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn all_reduce_sum_f64(&self, _values: &mut [f64]) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn all_reduce_max_u64(&self, _values: &mut [u64]) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn all_gather_text(&self, text: &str) -> Result<Vec<String>, CollectiveError> {
        Ok(vec![text.to_owned()])
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
