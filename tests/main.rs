//! What Syncyte promises, checked from outside by driving the binary: one file per promise.
// Helpers of tests are not test functions to clippy, and a failed unwrap fails its test as it should.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod checkpoints;
mod damage;
mod demo;
mod ends;
mod engine;
mod event_file;
mod faults;
mod files;
mod fitted;
mod gene_mask;
mod hosts;
mod house;
mod labels;
mod launch;
mod parallelism;
mod python;
mod readme;
mod resume;
mod stages;
mod telemetry;
mod unlabelled;
mod verdict;
