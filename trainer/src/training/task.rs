//! What a stage trains.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Progress, TaskError};
use crate::batch::vocabulary::Vocabulary;
use crate::engine::{FlatState, Method, StepPlan};
use crate::model::ModelConfig;
use crate::monitor::Health;
use crate::params::{Layout, ParamSet};

/// A stage, in the terms of its method.
pub trait Task: Method {
    /// Layout of what is trained.
    fn layout(&self) -> Layout;

    /// Optimizer steps of the whole run.
    fn total(&self) -> u64;

    /// Place of a step, from 0, in the run.
    fn place(&self, step: u64) -> Place;

    /// What the update of a step, from 0, does.
    fn plan(&self, step: u64) -> StepPlan;

    /// Cells that a step reads, over all ranks.
    fn cells(&self, step: u64) -> u64;

    /// Model FLOPs of a step over all ranks, where they are known.
    fn flops(&self, step: u64) -> Option<u64>;

    /// Values that training starts from, in place of random ones, where a run is not resumed.
    ///
    /// # Errors
    /// When they do not fit.
    fn initialise(&self, _state: &FlatState) -> Result<(), TaskError> {
        Ok(())
    }

    /// Makes everything ready for the first step. Collective.
    ///
    /// # Errors
    /// When something cannot be read or made.
    fn prepare(&mut self, start: &Start<'_>, progress: &mut dyn Progress) -> Result<(), TaskError>;

    /// This rank's next micro-batch: number `shard` of those of a step, from 0.
    ///
    /// # Errors
    /// When cells cannot be read.
    fn batch(&mut self, step: u64, shard: usize) -> Result<Self::Batch, TaskError>;

    /// Monitors of the networks after a step, on the first rank alone; no communication.
    ///
    /// # Errors
    /// When cells cannot be read.
    fn health(&self, _state: &FlatState, _step: u64) -> Result<Health, TaskError> {
        Ok(Health::default())
    }

    /// What its checkpoints carry besides the training state.
    fn carried(&self) -> Carried<'_>;

    /// Bytes that the stage needs on the disk besides its checkpoints.
    fn scratch_bytes(&self) -> u64 {
        0
    }
}

/// Place of a step in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the phase, where the stage has phases.
    pub phase: Option<&'static str>,
    /// Epoch within the phase, from 0.
    pub epoch: u64,
}

/// How a run starts.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// First step, from 0.
    pub first: u64,
    /// Folder of the stage.
    pub folder: &'a Path,
}

/// What checkpoints of a stage carry.
#[derive(Debug, Default)]
pub struct Carried<'a> {
    /// Further parameter sets by file.
    pub sets: Vec<(&'static str, &'a ParamSet)>,
    /// Numbers by name.
    pub vectors: BTreeMap<String, Vec<f64>>,
    /// Parameter hash of the checkpoint that the stage started from.
    pub parent: Option<String>,
    /// Shape of the model and names that it knows, where they are those of that checkpoint.
    pub model: Option<(&'a ModelConfig, &'a Vocabulary)>,
}
