//! Starting processes: ranks of a parallel run, and the programs that carry them.

pub(crate) mod attend;
pub(crate) mod hosts;
pub(crate) mod interrupt;
pub(crate) mod launch;
pub(crate) mod leash;
pub(crate) mod openmp;
pub(crate) mod program;
mod singletons;
pub(crate) mod words;
pub(crate) mod world;
