//! `syncyte store inspect`: what a store holds and how well it will mix.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use syncyte_sharding::labels::CONTROL;
use syncyte_sharding::order::OrderConfig;
use syncyte_sharding::store::{self, CellStore, Inspection};

use crate::answer::Answer;

/// Control labels listed, at most.
const MOST_LABELS: usize = 20;
/// Perturbations listed, at most.
const MOST_ROWS: usize = 30;

/// Arguments of `syncyte store inspect`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte store inspect norman.zarr\n  syncyte store inspect norman.zarr --json")]
pub(crate) struct Arguments {
    /// Store
    store: PathBuf,
    /// Cells of a global batch, to predict how well labels mix; 256 if not given
    #[arg(long)]
    batch_size: Option<usize>,
    /// Virtual streams of the order; 64 if not given
    #[arg(long)]
    streams: Option<usize>,
    /// Blocks that a stream shuffles together; 4 if not given
    #[arg(long)]
    window_blocks: Option<usize>,
}

/// Looks at a store.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let store = CellStore::open(&arguments.store)?;
    let usual = store::usual_order(&store, arguments.batch_size.unwrap_or(256));
    let order = OrderConfig {
        streams: arguments.streams.unwrap_or(usual.streams),
        window_blocks: arguments.window_blocks.unwrap_or(usual.window_blocks),
        ..usual
    };
    let found = store::inspect(&store, &order)?;
    let mut lines = vec![format!("{}", arguments.store.display())];
    lines.extend(describe(&found, &order));
    lines.push(String::new());
    lines.extend(table(&found));
    Ok(Answer::new(lines.join("\n"), serde_json::to_value(&found)?))
}

fn describe(found: &Inspection, order: &OrderConfig) -> Vec<String> {
    let layers = if found.layers.is_empty() { "none".to_owned() } else { found.layers.join(", ") };
    let mut lines = vec![
        format!("cells     {} × {} genes, {} stored values", found.cells, found.genes, found.nnz),
        format!("labels    {} perturbations, {} control cells", found.perturbations, found.controls),
        format!("controls  {}", controls(found)),
        format!("contexts  {}", found.contexts.join(", ")),
        format!("layers    {layers}"),
        format!("layout    blocks of {} cells, shards of {}", found.chunk_rows, mib(found.shard_bytes)),
        format!("on disk   {} in {} files", mib(found.bytes), found.files),
        format!("runs      {} cells of one perturbation stand together (median)", found.label_run_length_median),
    ];
    if let Some(ratio) = found.predicted_entropy_ratio {
        let share = 100.0 * ratio;
        lines.push(format!(
            "mixing    a batch of {} has {share:.1} % of the label entropy of a random one",
            order.batch
        ));
    }
    for (source, scale) in &found.converted_from {
        lines.push(format!("converted from {scale} ({source})"));
    }
    if let Some(rounding) = found.rounding {
        lines.push(format!("rounding  fractional counts were made whole ({rounding})"));
    }
    lines.extend(found.advice.iter().map(|advice| format!("advice    {advice}")));
    lines
}

/// How the controls were labelled.
fn controls(found: &Inspection) -> String {
    if found.control_labels.is_empty() {
        return "how they were labelled was not noted".into();
    }
    let mut labels: Vec<(&String, &u64)> = found.control_labels.iter().collect();
    labels.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let more = labels.len().saturating_sub(MOST_LABELS);
    let named = labels.iter().take(MOST_LABELS).map(|(label, cells)| format!("{label} ({cells})"));
    let rest = (more > 0).then(|| format!("{more} more labels (--json has them)"));
    named.chain(rest).collect::<Vec<_>>().join(", ")
}

/// Cells of the perturbations in every context: the control, then the most frequent.
fn table(found: &Inspection) -> Vec<String> {
    let mut rows: Vec<(&String, &Vec<u64>)> = found.cells_by_context.iter().collect();
    let total = |cells: &[u64]| cells.iter().sum::<u64>();
    rows.sort_by_key(|(name, cells)| (*name != CONTROL, std::cmp::Reverse(total(cells))));
    let more = rows.len().saturating_sub(MOST_ROWS);
    rows.truncate(MOST_ROWS);
    let several = found.contexts.len() > 1;
    let heads = found.contexts.iter().map(String::as_str).chain(several.then_some("all"));
    let heads: Vec<&str> = std::iter::once("cells").chain(heads).collect();
    let mut lines = vec![heads.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for (name, cells) in rows {
        let counts = cells.iter().copied().chain(several.then(|| total(cells)));
        lines.push(std::iter::once(name.clone()).chain(counts.map(|count| count.to_string())).collect());
    }
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let aligned = |line: &Vec<String>| {
        let first = format!("{:<1$}", line[0], widths[0]);
        line.iter().zip(&widths).skip(1).fold(first, |text, (cell, width)| format!("{text}  {cell:>width$}"))
    };
    let mut text: Vec<String> = lines.iter().map(aligned).collect();
    if more > 0 {
        text.push(format!("… and {more} more perturbations (--json has them)"));
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
