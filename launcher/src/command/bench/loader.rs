//! `syncyte bench loader`: shuffled batches of a store, as fast as they come.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::json;
use syncyte_sharding::collection::AnnDataRows;
use syncyte_sharding::loader::{BatchRequest, CachedRows, Form, Loader, LoaderConfig, RowReader};
use syncyte_sharding::order::{Order, OrderConfig};
use syncyte_sharding::store::{self, CellStore, LabelEntropy};

use crate::answer::Answer;

/// Batches of the first epoch whose labels are looked at.
const MIXING_BATCHES: u64 = 4096;

/// Arguments of `syncyte bench loader`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte bench loader --store cells.zarr --seconds 10\n  \
    syncyte bench loader --store cells.zarr --output dense --genes 5000 --epochs 3 --cold --json")]
pub(crate) struct Arguments {
    /// Cell store, or any AnnData zarr, or a collection of them
    #[arg(long)]
    store: PathBuf,
    /// Cells of a batch
    #[arg(long, default_value_t = 256)]
    batch_size: usize,
    /// What a batch is
    #[arg(long, value_enum, default_value_t = Output::Csr)]
    output: Output,
    /// Genes of a dense row, spread evenly over those of the store; all if not given
    #[arg(long)]
    genes: Option<usize>,
    /// Seconds to run for, at least
    #[arg(long, default_value_t = 5.0, conflicts_with = "epochs")]
    seconds: f64,
    /// Passes over the store
    #[arg(long)]
    epochs: Option<u64>,
    /// Decoding threads; as many as there are cores if not given
    #[arg(long)]
    threads: Option<usize>,
    /// Virtual streams of the order
    #[arg(long)]
    streams: Option<usize>,
    /// Blocks that a stream shuffles together
    #[arg(long)]
    window_blocks: Option<usize>,
    /// Seed of the order
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of a cache of decoded chunks, filled in the first epoch
    #[arg(long)]
    cache_dir: Option<PathBuf>,
    /// Have the system forget the files of the store first, so that they are read from the disk
    #[arg(long)]
    cold: bool,
}

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Rows as stored
    Csr,
    /// Log-normalised expression in single precision
    Dense,
    /// Log-normalised expression in bfloat16
    DenseBf16,
    /// Ragged tokens
    Tokens,
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    if arguments.cold {
        anyhow::ensure!(arguments.store.exists(), "--cold: {} is not on this machine", arguments.store.display());
        forget(&arguments.store).with_context(|| format!("forgetting {}", arguments.store.display()))?;
    }
    let began = Instant::now();
    if store::is_store(&arguments.store) {
        let store = Arc::new(CellStore::open(&arguments.store)?);
        let labels = Some((store.labels().perturbation.as_slice(), store.labels().perturbations.len()));
        match &arguments.cache_dir {
            Some(folder) => measure(arguments, Arc::new(CachedRows::open(&store, folder)?), labels, None, began),
            None => measure(arguments, Arc::clone(&store), labels, None, began),
        }
    } else {
        anyhow::ensure!(arguments.cache_dir.is_none(), "--cache-dir: only cell stores are cached; leave it out");
        // Its blocks are larger, and so are its values.
        measure(arguments, Arc::new(AnnDataRows::open(&arguments.store)?), None, Some(1), began)
    }
}

fn measure<R: RowReader>(
    arguments: &Arguments,
    reader: Arc<R>,
    labels: Option<(&[u32], usize)>,
    window_blocks: Option<usize>,
    began: Instant,
) -> Result<Answer> {
    let open_seconds = began.elapsed().as_secs_f64();
    let settings = order_of(arguments, window_blocks, &*reader);
    let order = Order::new(reader.n_cells(), settings.clone())?;
    let config = LoaderConfig {
        form: form(arguments, reader.n_genes()),
        threads: arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        cache_bytes: LoaderConfig::cache_for(&settings, 1, reader.n_cells(), &*reader),
        ..LoaderConfig::default()
    };
    let steps = order.steps_per_epoch();
    let end = arguments.epochs.map_or(u64::MAX, |epochs| epochs.saturating_mul(steps));
    let requests = (0..end).map(move |step| BatchRequest { step, rows: order.batch(0, step), partners: Vec::new() });
    let start = Instant::now();
    let mut loader = Loader::new(&reader, requests, &config)?;
    let (mut cells, mut first) = (0_u64, None);
    // Looked at afterwards: it is not what is measured.
    let mut drawn = Vec::new();
    for batch in loader.by_ref() {
        let batch = batch?;
        cells += batch.rows.len() as u64;
        if labels.is_some() && batch.step < steps.min(MIXING_BATCHES) {
            drawn.push(batch.rows.clone());
        }
        first.get_or_insert_with(|| began.elapsed().as_secs_f64());
        if arguments.epochs.is_none() && start.elapsed().as_secs_f64() >= arguments.seconds {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let stats = loader.stats();
    let entropy = labels.map(|(codes, labels)| {
        let mut entropy = LabelEntropy::new(codes, labels);
        for rows in &drawn {
            entropy.add(rows);
        }
        entropy.ratio(settings.batch, arguments.seed)
    });
    let output = arguments.output.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let answer = json!({
        "cells": cells,
        "seconds": seconds,
        "cells_per_s": cells as f64 / seconds,
        "decoded_bytes_per_s": stats.bytes_decoded as f64 / seconds,
        "rss_peak_bytes": peak_rss()?,
        "output": output,
        "open_seconds": open_seconds,
        "first_batch_seconds": first,
        "chunks_decoded": stats.chunks_decoded,
        "buffers": stats.buffers,
        "label_entropy_ratio": entropy,
        "threads": config.threads,
        "batch_size": settings.batch,
        "streams": settings.streams,
        "block_rows": settings.block_rows,
        "window_blocks": settings.window_blocks,
        "cold": arguments.cold,
    });
    let text = format!(
        "{:.0} cells/s ({output}, batches of {}, {} threads); first batch after {:.2} s; {:.0} MiB of memory at most",
        cells as f64 / seconds,
        settings.batch,
        config.threads,
        first.unwrap_or(f64::NAN),
        peak_rss()? as f64 / f64::from(1 << 20),
    );
    Ok(Answer::new(text, answer))
}

fn order_of(arguments: &Arguments, window_blocks: Option<usize>, reader: &impl RowReader) -> OrderConfig {
    let usual = store::usual_order(reader, arguments.batch_size);
    OrderConfig {
        seed: arguments.seed,
        streams: arguments.streams.unwrap_or(usual.streams),
        window_blocks: arguments.window_blocks.or(window_blocks).unwrap_or(usual.window_blocks),
        ..usual
    }
}

fn form(arguments: &Arguments, n_genes: usize) -> Form {
    let genes = arguments.genes.map(|wanted| {
        let wanted = wanted.clamp(1, n_genes);
        (0..wanted).map(|gene| (gene * n_genes / wanted) as u32).collect()
    });
    match arguments.output {
        Output::Csr => Form::Csr,
        Output::Dense => Form::Dense { genes, half: false },
        Output::DenseBf16 => Form::Dense { genes, half: true },
        Output::Tokens => Form::Tokens { mean: 0.0, sd: 1.0, raw: false },
    }
}

/// Largest memory this process has held, in bytes.
fn peak_rss() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("reading VmHWM")?;
    Ok(kib << 10)
}

/// Asks the system to forget the content of all files below a path.
fn forget(path: &Path) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            forget(&entry?.path())?;
        }
        return Ok(());
    }
    let file = File::open(path)?;
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}
