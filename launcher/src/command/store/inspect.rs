//! `syncyte store inspect`: what a store holds and how well it will mix.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use syncyte_sharding::order::OrderConfig;
use syncyte_sharding::store::{self, CellStore, Inspection};

use crate::answer::Answer;

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
    Ok(Answer::new(lines.join("\n"), serde_json::to_value(&found)?))
}

fn describe(found: &Inspection, order: &OrderConfig) -> Vec<String> {
    let layers = if found.layers.is_empty() { "none".to_owned() } else { found.layers.join(", ") };
    let mut lines = vec![
        format!("cells     {} × {} genes, {} stored values", found.cells, found.genes, found.nnz),
        format!("labels    {} perturbations, {} control cells", found.perturbations, found.controls),
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
    lines.extend(found.advice.iter().map(|advice| format!("advice    {advice}")));
    lines
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
