//! Records of a run: JSON lines, TensorBoard event files, times of steps, traces, memory, and the metrics endpoint.

mod jsonl;
mod memory;
pub mod mfu;
mod phases;
pub mod prometheus;
mod tensorboard;
mod trace;

pub use jsonl::JsonLines;
pub use memory::Memory;
pub use phases::{Phase, PhaseTimes, StepClock, StepSummary, StepTimes};
pub use tensorboard::EventFile;
pub use trace::{MAX_EVENTS, Span, Trace, Track};
