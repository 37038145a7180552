//! What a store holds and how well its rows will mix.
//!
//! The label entropy is not modelled but measured: batches of the very row order that training would use are
//! drawn and compared with batches drawn uniformly.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::error::StoreError;
use super::info::ValueKind;
use super::reader::CellStore;
use crate::loader::RowReader;
use crate::order::{Order, OrderConfig};
use crate::philox::{Philox, Purpose};

/// Batches drawn of each kind.
const BATCHES: u64 = 256;
/// A store that mixes this well is as good as uniform.
const GOOD_RATIO: f64 = 0.99;
/// Files smaller than this are mostly overhead once there are many.
const SMALL_FILE: u64 = 1 << 20;
const MANY_FILES: u64 = 10_000;

/// What [`inspect`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Number of cells.
    pub cells: usize,
    /// Number of genes.
    pub genes: usize,
    /// Number of stored values of X.
    pub nnz: u64,
    /// Number of perturbations, the control not among them.
    pub perturbations: usize,
    /// Number of control cells.
    pub controls: usize,
    /// Names of the contexts.
    pub contexts: Vec<String>,
    /// Names of the layers.
    pub layers: Vec<String>,
    /// What the values of X are.
    pub value_kind: ValueKind,
    /// Rows of a block.
    pub chunk_rows: usize,
    /// Bytes of a shard of X, decoded.
    pub shard_bytes: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Files on disk.
    pub files: u64,
    /// Median length of the runs of cells of one perturbation, in row order.
    pub label_run_length_median: usize,
    /// Mean entropy of the perturbation labels in a batch of the row order, over that of uniform batches;
    /// absent where there are fewer cells than a batch.
    pub predicted_entropy_ratio: Option<f64>,
    /// Hash of the content.
    pub data_hash: String,
    /// What to do about what is amiss.
    pub advice: Vec<String>,
}

/// The order that training uses where the configuration says nothing else but `batch`, cut down to a small store.
pub fn usual_order(store: &impl RowReader, batch: usize) -> OrderConfig {
    let batch = batch.min(store.n_cells());
    let streams = 64.min(1 << batch.max(1).ilog2());
    OrderConfig {
        seed: 0,
        streams,
        block_rows: store.chunk_rows(),
        window_blocks: 4,
        batch: (batch / streams * streams).max(streams),
    }
}

/// Looks at a store as it would be read in the order `config`.
///
/// # Errors
/// When the folder cannot be listed or the order cannot be made of `config`.
pub fn inspect(store: &CellStore, config: &OrderConfig) -> Result<Inspection, StoreError> {
    let labels = store.labels();
    let input = |problem: String| StoreError::Input { path: store.path().into(), problem };
    let (files, bytes) = size(store.path()).map_err(StoreError::io(store.path(), "listing its files"))?;
    let ratio = if store.n_cells() < config.batch {
        None
    } else {
        let order = Order::new(store.n_cells(), config.clone()).map_err(|error| input(error.to_string()))?;
        Some(entropy_ratio(&labels.perturbation, labels.perturbations.len(), &order))
    };
    let data = store.reader().array("X/data")?;
    let mut inspection = Inspection {
        cells: store.n_cells(),
        genes: store.n_genes(),
        nnz: store.nnz(),
        perturbations: labels.perturbations.len() - 1,
        controls: labels.perturbation.iter().filter(|&&code| code == 0).count(),
        contexts: labels.contexts.clone(),
        layers: store.layers()?,
        value_kind: store.info().value_kind,
        chunk_rows: store.chunk_rows(),
        shard_bytes: data.chunk_shape().iter().product::<u64>() * data.dtype().bytes(),
        bytes,
        files,
        label_run_length_median: median_run(&labels.perturbation),
        predicted_entropy_ratio: ratio,
        data_hash: store.data_hash().into(),
        advice: Vec::new(),
    };
    inspection.advice = advice(&inspection, config);
    Ok(inspection)
}

fn size(folder: &Path) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (more, larger) =
            if entry.file_type()?.is_dir() { size(&entry.path())? } else { (1, entry.metadata()?.len()) };
        files += more;
        bytes += larger;
    }
    Ok((files, bytes))
}

fn median_run(codes: &[u32]) -> usize {
    let mut runs: Vec<usize> = codes.chunk_by(|left, right| left == right).map(<[u32]>::len).collect();
    runs.sort_unstable();
    runs.get(runs.len() / 2).copied().unwrap_or(0)
}

/// Entropy, in nats, of the labels of `rows`.
fn entropy(codes: &[u32], rows: &[u64], counts: &mut [u32]) -> f64 {
    counts.fill(0);
    for &row in rows {
        counts[codes[row as usize] as usize] += 1;
    }
    let total = rows.len() as f64;
    let parts = counts.iter().filter(|&&count| count > 0).map(|&count| f64::from(count) / total);
    -parts.map(|part| part * part.ln()).sum::<f64>()
}

/// Mean label entropy of batches of `order` over that of uniform batches of the same size.
fn entropy_ratio(codes: &[u32], labels: usize, order: &Order) -> f64 {
    let mut counts = vec![0; labels];
    let (steps, batch) = (order.steps_per_epoch(), order.config().batch);
    let mut random = Philox::new(order.config().seed, Purpose::Subsample, 0, 0);
    let (mut ordered, mut uniform) = (0.0, 0.0);
    for draw in 0..BATCHES {
        // Evenly over the epoch; a short epoch is followed by the next ones.
        let step = if steps > BATCHES { draw * steps / BATCHES } else { draw };
        ordered += entropy(codes, &order.batch(0, step), &mut counts);
        uniform += entropy(codes, &distinct(&mut random, codes.len(), batch), &mut counts);
    }
    if uniform > 0.0 { ordered / uniform } else { 1.0 }
}

/// `count` distinct rows of `n`, by Floyd's method.
fn distinct(random: &mut Philox, n: usize, count: usize) -> Vec<u64> {
    let mut taken = std::collections::HashSet::with_capacity(count);
    let mut rows = Vec::with_capacity(count);
    for last in (n - count) as u64..n as u64 {
        let drawn = random.below(last + 1);
        let row = if taken.insert(drawn) { drawn } else { last };
        taken.insert(row);
        rows.push(row);
    }
    rows
}

fn advice(found: &Inspection, config: &OrderConfig) -> Vec<String> {
    let mut lines = Vec::new();
    match found.predicted_entropy_ratio {
        None => lines.push(format!("{} cells do not fill a batch of {}: take a smaller batch", found.cells, config.batch)),
        Some(ratio) if ratio < GOOD_RATIO => lines.push(format!(
            "batches hold {:.1} % of the label entropy of uniform ones: take smaller blocks than {} rows, wider windows than {} blocks, or more streams than {}",
            100.0 * ratio, config.block_rows, config.window_blocks, config.streams
        )),
        Some(_) => {}
    }
    if found.label_run_length_median >= config.block_rows && found.perturbations > 0 {
        lines.push(format!(
            "runs of one perturbation are {} rows long, blocks {}: blocks are pure, so diversity comes from streams and windows alone",
            found.label_run_length_median, config.block_rows
        ));
    }
    if found.files > MANY_FILES && found.bytes / found.files < SMALL_FILE {
        lines.push(format!(
            "{} files of {} bytes on average: write larger shards",
            found.files,
            found.bytes / found.files
        ));
    }
    if found.controls == 0 {
        lines.push("there are no control cells: give the control's label on import".into());
    }
    lines
}
