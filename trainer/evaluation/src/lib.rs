//! Evaluation: statistics of the folds, closed-form baselines, metrics, statistics, and the results of comparing methods.
//!
//! It knows cells and numbers; no network, no ranks and no page.

pub mod baseline;
pub mod benchmark;
pub mod fold;
pub mod linalg;
pub mod metric;
pub mod quantile;
