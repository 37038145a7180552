//! Models, objectives, the training engine, checkpoints, tasks, baselines, metrics and reports of Syncyte.

pub mod baseline;
pub mod benchmark;
pub mod linalg;
pub mod metric;
pub mod profile;
