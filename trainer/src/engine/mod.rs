//! The engine: flat optimizer state, gradients reduced by buckets while backward runs, one update a step, schedules.

pub mod bucket;
mod digest;
mod owned;
mod reducer;
mod scaler;
pub mod schedule;
pub mod state;
mod tree;

pub use bucket::{Bucket, BucketPlan};
pub use digest::{digest_of, joint_digest};
pub use scaler::LossScaler;
pub use state::{EngineError, FlatState, MomentsRun, StateOptions, StepPlan, Updated};
pub use tree::GradientTree;
