//! What keeps a distributed run from hanging silently.
//!
//! A rank that is gone, stopped or lost leaves the others in a collective operation that never ends. Here every rank
//! records its operations ([`Recorder`]), tells the others where it is without collectives ([`Heartbeat`]), notices an
//! operation that does not end ([`Watchdog`]) and says in one sentence which ranks are to blame ([`diagnose`]). Slow
//! ranks are found by their section times ([`stragglers`]), and signals that ask for an end are kept for the next step
//! ([`signal`]).
//!
//! Guarantee: none of it takes part in training. Results are the same with and without it, and none of its threads
//! holds a lock over I/O.

mod address;
mod diagnosis;
pub(crate) mod flight;
mod heartbeat;
mod packet;
mod progress;
mod recorder;
pub mod signal;
mod straggler;
mod watchdog;

pub use diagnosis::{Cause, Culprit, Diagnosis, diagnose};
pub use flight::dump;
pub use heartbeat::{Heard, Heartbeat, Peer};
pub use progress::{Member, Operation, Phase, Progress, Standing};
pub use recorder::{CAPACITY, Entered, Record, Recorder};
pub use straggler::{Losses, Score, Section, SectionTimes, Straggler, Summary, THRESHOLD, scores, stragglers};
pub use watchdog::{Limits, Watchdog};
