//! Models, objectives, the training engine, checkpoints, tasks, baselines, metrics and reports of Syncyte.

pub mod benchmark;
pub mod report;
