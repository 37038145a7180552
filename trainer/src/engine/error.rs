//! Why the engine cannot go on.

use syncyte_kernels::cuda::CudaError;

use crate::shim::{NotFlat, ShimError};
use syncyte_fabric::collective::CollectiveError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A collective operation failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// A buffer is not where it should be.
    #[error(transparent)]
    Memory(#[from] NotFlat),
    /// A GPU refused.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// Torch does not report gradients.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// Too many gradients in a row were not finite.
    #[error(
        "the gradient of step {step} is not finite{}; lower optimizer.lr or look at the data of this step",
        after(*.skipped)
    )]
    NotFinite {
        /// Step, from 1.
        step: u64,
        /// Steps before it that were skipped for the same reason.
        skipped: u32,
    },
}

fn after(skipped: u32) -> String {
    if skipped == 0 { String::new() } else { format!(", like those of the {skipped} steps before, which were skipped") }
}
