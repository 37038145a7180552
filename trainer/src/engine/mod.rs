//! The engine: flat optimizer state, gradients reduced by buckets while backward runs, one update a step, schedules.

pub mod bucket;
mod reducer;
pub mod schedule;
pub mod state;
mod tree;

pub use bucket::{Bucket, BucketPlan};
pub use state::{EngineError, FlatState, StepPlan};
pub use tree::GradientTree;
