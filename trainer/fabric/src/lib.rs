//! What joins ranks: collective operations, and the watch over them.
//!
//! It knows bytes, processes and devices; no model, no cell and no configuration file.

pub mod collective;
pub mod guard;
pub mod hash;
pub mod watch;
