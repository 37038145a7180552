//! What Syncyte promises, checked from outside by driving the binary: one file per promise.
#![allow(missing_docs)]

mod bad_input;
mod checkpoints;
mod demo;
mod event_file;
mod parallelism;
mod python;
mod readme;
mod resume;
