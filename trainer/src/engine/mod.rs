//! The engine: flat optimizer state, one reduction and one update a step, schedules.

pub mod schedule;
pub mod state;

pub use state::{EngineError, FlatState, StepPlan};
