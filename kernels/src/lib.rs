//! The numeric inner loops of Syncyte on plain slices, each with a reference it is tested against.
//!
//! This crate knows no torch, no files and no MPI.

pub mod blosc;
pub mod expression;
pub mod optim;
