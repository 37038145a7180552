//! Collectives over NCCL, which is opened while the program runs: a machine without a GPU needs none of it.
//!
//! Guarantee: every call either has its effect or says which rank failed in which function and why; none but an abort
//! waits without a limit. Sources are the sections of NVIDIA's NCCL User Guide that are named at each function.
//!
//! Checked without a GPU, by the tests of this module: NVIDIA's library (2.28.9, of the wheel that libtorch uses) is
//! found, has every function, tells its version and makes ids; a start without a driver fails in time, with NCCL's
//! reason, and leaves no group open; what is not NCCL is refused. With a stand-in for the library, in which time is
//! scripted: the order and the arguments of all calls, waiting, limits, groups, and how a communicator ends.
//!
//! Not checked without GPUs: that ranks find each other, that collectives compute what they should, that NCCL's own
//! abort returns when a rank is lost, and what it takes to put an operation on its stream.

mod communicator;
mod error;
mod group;
mod interface;
mod library;
mod operations;
#[cfg(test)]
mod tests;
mod version;

pub use communicator::{Communicator, Config, Progress};
pub use error::{Member, NcclError};
pub use interface::{DataType, DevicePointer, Op, Stream, UniqueId};
pub use library::Library;
pub use version::Version;
