//! Methods × splits × metrics on held-out conditions, with bootstrap intervals.
//!
//! Guarantee: every method gets the same held-out control cells and is measured against the same held-out perturbed cells; the
//! condition is the unit of every mean and interval; an undefined value is counted and flagged, never averaged in;
//! what was fitted under another split is refused.

mod admission;
mod bootstrap;
mod catalog;
mod error;
mod figure;
mod harness;
pub mod method;
pub mod results;
mod retrieval;
mod score;
mod strata;
mod table;
mod view;

pub use bootstrap::Bootstrap;
pub use catalog::catalog;
pub use error::BenchmarkError;
pub use harness::{Evaluation, EvaluationConfig};
pub use view::{Encode, EncodeError};
