//! What a store holds and how well its rows will mix.
//!
//! The label entropy is not modelled but measured: batches of the very row order that training would use are
//! drawn and compared with batches drawn uniformly.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::error::StoreError;
use super::info::{Rounding, ValueKind};
use super::reader::CellStore;
use super::rows::RowReader;
use crate::labels::Labels;
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
    /// How the controls were labelled in the inputs, with their numbers of cells; empty where nobody noted it.
    pub control_labels: BTreeMap<String, u64>,
    /// Names of the contexts.
    pub contexts: Vec<String>,
    /// Cells of every perturbation in every context, in the order of `contexts`.
    pub cells_by_context: BTreeMap<String, Vec<u64>>,
    /// Names of the layers.
    pub layers: Vec<String>,
    /// What the values of X are.
    pub value_kind: ValueKind,
    /// Scales that normalised values were converted from, by source.
    pub converted_from: BTreeMap<String, String>,
    /// How fractional counts were made whole, if they were.
    pub rounding: Option<Rounding>,
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
        control_labels: store.info().control_labels.clone(),
        contexts: labels.contexts.clone(),
        cells_by_context: cells_by_context(labels),
        layers: store.layers()?,
        value_kind: store.info().value_kind,
        converted_from: store.info().converted_from.clone(),
        rounding: store.info().rounding,
        chunk_rows: store.chunk_rows(),
        shard_bytes: data.chunk_shape().iter().product::<u64>() * data.dtype().bytes(),
        bytes,
        files,
        label_run_length_median: median_run(&labels.perturbation),
        predicted_entropy_ratio: ratio,
        data_hash: store.data_hash().into(),
        advice: Vec::new(),
    };
    inspection.advice = advice(&inspection, &labels.perturbation, config);
    Ok(inspection)
}

/// Cells of every perturbation, by context.
fn cells_by_context(labels: &Labels) -> BTreeMap<String, Vec<u64>> {
    let mut counts = vec![vec![0; labels.contexts.len()]; labels.perturbations.len()];
    for (&perturbation, &context) in labels.perturbation.iter().zip(&labels.context) {
        counts[perturbation as usize][context as usize] += 1;
    }
    labels.perturbations.iter().map(|perturbation| perturbation.name.clone()).zip(counts).collect()
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

/// Mean label entropy of batches, set beside that of batches drawn uniformly.
pub struct LabelEntropy<'a> {
    codes: &'a [u32],
    counts: Vec<u32>,
    sum: f64,
    batches: u64,
}

impl<'a> LabelEntropy<'a> {
    /// For rows whose labels are `codes`, below `labels`.
    pub fn new(codes: &'a [u32], labels: usize) -> Self {
        Self { codes, counts: vec![0; labels], sum: 0.0, batches: 0 }
    }

    /// Takes the rows of a batch.
    pub fn add(&mut self, rows: &[u64]) {
        self.counts.fill(0);
        for &row in rows {
            self.counts[self.codes[row as usize] as usize] += 1;
        }
        let total = rows.len() as f64;
        let parts = self.counts.iter().filter(|&&count| count > 0).map(|&count| f64::from(count) / total);
        self.sum -= parts.map(|part| part * part.ln()).sum::<f64>();
        self.batches += 1;
    }

    /// Mean entropy of the batches so far, in nats.
    pub fn mean(&self) -> f64 {
        self.sum / self.batches.max(1) as f64
    }

    /// Mean entropy of the batches so far, over that of as large batches drawn uniformly; 1 where there is one label.
    pub fn ratio(&self, batch: usize, seed: u64) -> f64 {
        let mut random = Philox::new(seed, Purpose::Subsample, 0, 0);
        let mut uniform = Self::new(self.codes, self.counts.len());
        for _ in 0..BATCHES {
            uniform.add(&distinct(&mut random, self.codes.len(), batch));
        }
        if uniform.mean() > 0.0 { self.mean() / uniform.mean() } else { 1.0 }
    }
}

/// Label entropy of batches of `order`, as [`LabelEntropy::ratio`].
fn entropy_ratio(codes: &[u32], labels: usize, order: &Order) -> f64 {
    let mut drawn = LabelEntropy::new(codes, labels);
    let steps = order.steps_per_epoch();
    for draw in 0..BATCHES {
        // Evenly over the epoch; a short epoch is followed by the next ones.
        let step = if steps > BATCHES { draw * steps / BATCHES } else { draw };
        drawn.add(&order.batch(0, step));
    }
    drawn.ratio(order.config().batch, order.config().seed)
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

/// The cheapest order that mixes well, or what else to do.
fn remedy(codes: &[u32], labels: usize, config: &OrderConfig) -> String {
    let OrderConfig { streams, window_blocks, batch, .. } = *config;
    let more_streams = [2, 4].map(|factor| (factor * streams, window_blocks.div_ceil(factor)));
    let wider = [2, 4, 8, 16].map(|factor| (streams, factor * window_blocks));
    let mut tried = more_streams.into_iter().filter(|(streams, _)| batch.is_multiple_of(*streams)).chain(wider);
    let found = tried.find_map(|(streams, window_blocks)| {
        let order = Order::new(codes.len(), OrderConfig { streams, window_blocks, ..config.clone() }).ok()?;
        let ratio = entropy_ratio(codes, labels, &order);
        (ratio >= GOOD_RATIO).then_some((streams, window_blocks, ratio))
    });
    match found {
        Some((new_streams, new_window, ratio)) => format!(
            "streams = {new_streams} and window_blocks = {new_window} (now {streams} and {window_blocks}) give {:.1} % with {:.1} \
             times the decoded cells in memory; or shuffle the cells once, with `syncyte store import --shuffle`",
            100.0 * ratio,
            (new_streams * new_window) as f64 / (streams * window_blocks) as f64
        ),
        None => "neither more streams nor a wider window mends it: shuffle the cells once, with `syncyte store import --shuffle`".into(),
    }
}

fn advice(found: &Inspection, codes: &[u32], config: &OrderConfig) -> Vec<String> {
    let mut lines = Vec::new();
    match found.predicted_entropy_ratio {
        None => {
            lines.push(format!("{} cells do not fill a batch of {}: take a smaller batch", found.cells, config.batch));
        }
        Some(ratio) if ratio < GOOD_RATIO => lines.push(format!(
            "batches hold {:.1} % of the label entropy of uniform ones: {}",
            100.0 * ratio,
            remedy(codes, found.perturbations + 1, config)
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
