//! Models, objectives, the training engine, checkpoints, tasks, baselines, metrics and reports of Syncyte.

pub mod baseline;
pub mod benchmark;
pub mod collective;
pub mod config;
pub mod engine;
pub mod hash;
pub mod model;
pub mod objective;
pub mod params;
pub mod shim;
pub mod linalg;
pub mod metric;
pub mod profile;
mod random;
