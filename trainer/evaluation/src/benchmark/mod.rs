//! Methods × splits × metrics on held-out conditions, with ceilings and bootstrap intervals.
//!
//! Guarantee: every method gets the same held-out control cells and is measured against the same held-out perturbed cells;
//! means are those of all cells; truth and prediction share no noise (they are referred to disjoint halves of the controls);
//! the condition is the unit of every mean and interval; an undefined value is counted and flagged, never averaged in;
//! what was fitted under another split is refused.

mod admission;
mod bootstrap;
mod ceiling;
mod contrast;
mod draws;
mod error;
mod evaluation;
mod exchange;
mod figure;
mod harness;
mod measured;
pub mod method;
mod predict;
mod redraw;
mod resample;
pub mod results;
mod score;
mod space;
mod strata;
mod table;
mod threads;
mod trial;
mod warning;

pub use bootstrap::{Bootstrap, Sampled};
pub use error::BenchmarkError;
pub use evaluation::{Evaluation, EvaluationConfig};
pub use exchange::{Exchange, Share};
pub use space::{Encode, EncodeError, Encoder};
