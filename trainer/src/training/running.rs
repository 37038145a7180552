//! A stage that is being trained: everything that a step needs.

use std::collections::BTreeMap;
use std::time::Instant;

use syncyte_fabric::guard::Guard;

use super::folder::RunFolder;
use super::observer::Observer;
use super::{Setting, Task};
use crate::checkpoint::Checkpointer;
use crate::engine::{FlatState, Spans};
use crate::log::Trace;

/// Everything that a step needs.
pub(super) struct Trainer<'a, T: Task> {
    pub(super) setting: Setting<'a>,
    pub(super) task: T,
    pub(super) state: FlatState,
    pub(super) spans: Spans,
    pub(super) folder: RunFolder,
    pub(super) observer: Observer,
    pub(super) guard: Option<Guard>,
    /// Newest values of what the first rank logs, by tag.
    pub(super) measured: BTreeMap<String, f64>,
    pub(super) trace: Trace,
    pub(super) checkpointer: Checkpointer,
    pub(super) loss: f64,
    pub(super) seconds_before: f64,
    pub(super) started: Instant,
}
