//! The engine: flat optimizer state, gradients reduced by buckets while backward runs, one update a step, schedules.

mod arithmetic;
pub mod bucket;
mod buffer;
mod digest;
mod error;
mod moments;
mod owned;
mod place;
mod reducer;
mod scaler;
pub mod schedule;
mod spans;
pub mod state;
mod step;
mod tree;

pub use bucket::{Bucket, BucketPlan};
pub use digest::{digest_of, joint_digest};
pub use error::EngineError;
pub use moments::{HostMoments, MomentsRun};
pub use place::{Place, Sums};
pub use scaler::LossScaler;
pub use spans::{Clocked, Spans};
pub use state::{FlatState, StateOptions, StepPlan, Updated};
pub use step::{Method, Pass, Stepped, Stepper};
pub use tree::GradientTree;
