//! Measurements of the engine's parts, on data of their own.
//!
//! Guarantee: what is timed is what training runs: the same step, the same collectives, the same kernels.

pub mod allreduce;
pub mod checkpoint;
pub mod device_kernels;
pub mod kernels;
pub mod step;
