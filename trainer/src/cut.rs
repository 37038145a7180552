//! A graph that is cut in two, so that gradients of its end can be exchanged while those of its beginning are computed.

use tch::Tensor;

use crate::params::Group;

/// Backward goes through the second segment, which begins with `leaf`, then from `output` through the first.
#[derive(Debug)]
pub struct Cut {
    /// Last tensor of the first segment.
    pub output: Tensor,
    /// The same numbers as a leaf of the second.
    pub leaf: Tensor,
    /// Parameters of the first segment; all others are complete before it.
    pub group: Group,
}
