//! The training loop: the only one there is.
//!
//! Guarantee: every stage that trains has what this loop has: ranks, exact resume, checkpoints under way, signals that end in
//! a checkpoint, precision, sharded moments, micro-batches, the deterministic mode, overlap, GPUs, telemetry and watchdog.
//! A stage is a [`Task`]; what it minimises and how it computes it are its own.

pub mod data;
mod error;
mod folder;
mod observer;
mod progress;
mod record;
mod running;
mod setting;
mod shards;
mod task;
mod trainer;

pub use error::TaskError;
pub use progress::{Progress, Quiet};
pub use setting::Setting;
pub use shards::Shards;
pub use task::{Carried, Place, Start, Task};
pub use trainer::{TrainReport, train};
