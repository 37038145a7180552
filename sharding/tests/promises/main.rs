//! The promises of the row order, the loader and the stores, against readers and servers that are not ours.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helper functions too")]

mod cells;
mod interop;
mod naive;
mod order;
mod remote;
mod rows;
