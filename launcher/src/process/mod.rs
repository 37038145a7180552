//! Starting processes: ranks of a parallel run, and the programs that carry them.

pub(crate) mod hosts;
pub(crate) mod launch;
pub(crate) mod leash;
pub(crate) mod program;
pub(crate) mod world;
