//! Models, objectives, the training engine, checkpoints, tasks, baselines, metrics and reports of Syncyte.

pub mod baseline;
pub mod bench;
pub mod benchmark;
pub mod cells;
pub mod checkpoint;
pub mod collective;
pub mod config;
pub mod cores;
pub mod decoder;
pub mod device;
pub mod diffusion;
pub mod engine;
pub mod environment;
pub mod hash;
pub mod linalg;
pub mod log;
pub mod metric;
pub mod model;
pub mod monitor;
pub mod objective;
pub mod params;
pub mod profile;
mod quantile;
pub mod report;
pub mod shim;
pub mod task;
pub mod watch;
