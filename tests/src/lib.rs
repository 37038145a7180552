//! What the end-to-end tests share: the binary, its runs, small data, and what is there to test with.
//!
//! Guarantee: a run that hangs is ended and fails its test; nothing is written outside a test's own folder.

mod binary;
mod demo;
mod hosts;
mod lab;
mod peers;
mod process;
mod rank;
mod turn;

pub use binary::{binary, workspace_root};
pub use demo::{demo, result_row};
pub use hosts::Cluster;
pub use lab::{Lab, losses, metrics};
pub use peers::{python, script, test_data};
pub use process::{Outcome, Running, run, start, start_in};
pub use rank::{signal, wait_until_gone};
pub use turn::{Turn, skip, turn};
