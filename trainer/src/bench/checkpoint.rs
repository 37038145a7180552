//! What a checkpoint costs: the time that training stands still, and the time until it is whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use syncyte_sharding::store::ValueKind;

use super::step::{slowest_rank, vocabulary};
use crate::checkpoint::{Checkpointer, FORMAT, Snapshot, Stage, State};
use crate::config::{CheckpointConfig, Config};
use crate::engine::{FlatState, Place, StateOptions};
use crate::model::Jepa;
use crate::training::TaskError;
use syncyte_evaluation::quantile::quantile;
use syncyte_fabric::collective::{Collective, agree};

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointBench {
    /// Genes of a cell.
    pub genes: usize,
    /// Target genes that the model knows.
    pub targets: usize,
    /// Checkpoints that are written.
    pub count: u64,
}

/// `syncyte bench checkpoint --json`. Times are those of the slowest rank for each checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointReport {
    /// Ranks.
    pub ranks: usize,
    /// Trainable parameters.
    pub parameters: usize,
    /// Bytes of a checkpoint.
    pub bytes: u64,
    /// Median time to check that all ranks hold the same parameters.
    pub compare_ms_median: f64,
    /// Time that the first checkpoint holds training up, without the comparison.
    pub stall_ms_first: f64,
    /// Median of the others.
    pub stall_ms_median: f64,
    /// Median time from the beginning of a checkpoint until it is whole.
    pub whole_ms_median: f64,
}

/// Writes `bench.count` checkpoints into `folder`, which must not exist and is removed, one after the other.
///
/// # Errors
/// When the folder exists or a checkpoint cannot be written.
pub fn measure(
    config: &Config,
    bench: &CheckpointBench,
    folder: &Path,
    collective: &dyn Collective,
) -> Result<CheckpointReport, TaskError> {
    let first = collective.rank() == 0;
    agree(collective, || if first { fs::create_dir(folder).map_err(TaskError::io(folder)) } else { Ok(()) })?;
    let report = write_all(config, bench, folder, collective);
    // All ranks are done with it, or will be told by what the measurement says.
    let removed = if first { fs::remove_dir_all(folder).map_err(TaskError::io(folder)) } else { Ok(()) };
    report.and_then(|report| removed.map(|()| report))
}

fn write_all(
    config: &Config,
    bench: &CheckpointBench,
    folder: &Path,
    collective: &dyn Collective,
) -> Result<CheckpointReport, TaskError> {
    let vocabulary = vocabulary(bench.genes, bench.targets);
    let model = Jepa::new(&config.model, &vocabulary).map_err(TaskError::Invalid)?;
    let options = StateOptions::of(config, Place::default());
    let trained = FlatState::new(model.layout(), config.run.seed, options, collective)?;
    let retention = CheckpointConfig { keep: 1, ..CheckpointConfig::default() };
    let mut checkpointer = Checkpointer::new(folder, &retention, config.engine.limits().long, collective);
    checkpointer.reserve(&trained)?;
    let (mut compare, mut stall, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for step in 0..bench.count {
        let state = State {
            format: FORMAT,
            stage: Stage::Pretrain,
            step,
            total_steps: bench.count,
            epoch: 0,
            world: collective.size(),
            config: config.clone(),
            config_hash: config.hash()?,
            data_hash: String::new(),
            split_hash: String::new(),
            value_kind: ValueKind::Counts,
            vocabulary: vocabulary.clone(),
            parameter_hash: String::new(),
            flat_len: trained.params.layout().len(),
            loss_scale: None,
            parent: None,
            seconds: 0.0,
            vectors: BTreeMap::new(),
        };
        let snapshot = Snapshot { trained: &trained, extra: Vec::new(), state, metrics: BTreeMap::new() };
        collective.barrier()?;
        compare.push(timed(|| trained.ranks_agree(collective))?);
        let began = Instant::now();
        stall.push(timed(|| checkpointer.begin(snapshot, collective))?);
        if let Some(written) = checkpointer.finish(collective)? {
            whole.push(milliseconds(began.elapsed()));
            bytes = size_of(&written.folder)?;
        }
    }
    let median = |times: &[f64]| -> Result<f64, TaskError> {
        let mut slowest = slowest_rank(times, collective)?;
        slowest.sort_by(f64::total_cmp);
        Ok(quantile(&slowest, 0.5))
    };
    Ok(CheckpointReport {
        ranks: collective.size(),
        parameters: model.layout().n_parameters(),
        bytes,
        compare_ms_median: median(&compare)?,
        stall_ms_first: median(&stall[..1])?,
        stall_ms_median: median(&stall[1..])?,
        whole_ms_median: median(&whole)?,
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Milliseconds that something takes.
fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<f64, E> {
    let began = Instant::now();
    work()?;
    Ok(milliseconds(began.elapsed()))
}

fn size_of(folder: &Path) -> Result<u64, TaskError> {
    let sizes = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.metadata()?.len())).sum::<std::io::Result<u64>>());
    sizes.map_err(TaskError::io(folder))
}
