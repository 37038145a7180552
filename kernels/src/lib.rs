//! The numeric inner loops of Syncyte on plain slices, each with a reference it is tested against.
//!
//! This crate knows no torch, no files and no MPI.

#![allow(clippy::inline_always, reason = "a loop is compiled for vector instructions only if all of it is inlined")]

pub mod attention;
pub mod blosc;
pub mod cuda;
pub mod expression;
pub mod layer;
mod logarithm;
pub mod matmul;
pub mod moments;
pub mod number;
pub mod optim;
pub mod rows;
mod simd;
