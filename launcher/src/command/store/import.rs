//! `syncyte store import`: files of cells become one cell store.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use syncyte_sharding::ingest::{self, ImportOptions, ImportReport, Keys, MatrixPath, QcOptions, Tally, Values};
use syncyte_sharding::store::{ValueKind, WriteOptions};

use crate::answer::Answer;

/// Arguments of `syncyte store import`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte store import norman.h5ad norman.zarr\n  \
    syncyte store import lane1.h5ad lane2.h5ad screen.zarr --perturbation-key guide --control NT --batch-key lane\n  \
    syncyte store import filtered_feature_bc_matrix/ cells.zarr")]
#[allow(clippy::struct_excessive_bools, reason = "they are switches, independent of each other")]
pub(crate) struct Arguments {
    /// Inputs, laid end to end on the genes they share, then the store to make
    #[arg(required = true, num_args = 2.., value_name = "IN… OUT.zarr")]
    paths: Vec<PathBuf>,
    /// Column of the perturbation labels
    #[arg(long, value_name = "COLUMN")]
    perturbation_key: Option<String>,
    /// A label that means control; may be repeated
    #[arg(long, value_name = "LABEL")]
    control: Vec<String>,
    /// Column of the batches
    #[arg(long, value_name = "COLUMN")]
    batch_key: Option<String>,
    /// Column of the contexts (cell line, patient)
    #[arg(long, value_name = "COLUMN")]
    context_key: Option<String>,
    /// Matrix of `obsm` to keep as protein
    #[arg(long, value_name = "NAME")]
    protein_key: Option<String>,
    /// Column of `var` that names the genes, in place of its index
    #[arg(long, value_name = "COLUMN")]
    gene_key: Option<String>,
    /// Kind of perturbation of all cells, e.g. CRISPRi
    #[arg(long)]
    kind: Option<String>,
    /// Matrix to import: X, raw/X or layers/NAME; found out if not given
    #[arg(long, value_name = "PATH", value_parser = parse_matrix)]
    matrix: Option<MatrixPath>,
    /// What the values are
    #[arg(long, value_enum, default_value_t = ValueChoice::Auto)]
    values: ValueChoice,
    /// Cut guide numbers off labels (`STAT1_g2` → `STAT1`)
    #[arg(long)]
    strip_guide_suffix: bool,
    /// Leave out cells without a label instead of refusing them
    #[arg(long)]
    drop_unlabelled: bool,
    /// Number repeated names (-1, -2, …): those of genes, which are refused otherwise, and of cells, which are kept
    #[arg(long)]
    make_unique: bool,
    /// Store the cells in a random order (of this seed); obs keeps their old place as `source_row`
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    shuffle: Option<u64>,
    /// Go on with an import into the same store that was killed
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    qc: Qc,
    /// Cells of a block
    #[arg(long, default_value_t = WriteOptions::default().chunk_rows, value_parser = positive)]
    chunk_rows: usize,
    /// Size of a shard before compression, MiB
    #[arg(long, default_value_t = WriteOptions::default().shard_bytes >> 20, value_parser = positive)]
    shard_mib: usize,
}

/// Quality control; what is not given follows the kind of data.
#[derive(Args)]
#[command(next_help_heading = "Quality control")]
struct Qc {
    /// Expressed genes that a cell needs
    #[arg(long, value_name = "N")]
    min_genes: Option<usize>,
    /// Mitochondrial percentage at which a cell goes; above 100 for no rule
    #[arg(long, value_name = "PERCENT")]
    max_pct_mt: Option<f64>,
    /// Cells in which a gene must be expressed
    #[arg(long, value_name = "N")]
    min_cells_per_gene: Option<usize>,
    /// Cells that a perturbation needs
    #[arg(long, value_name = "N")]
    min_cells_per_perturbation: Option<usize>,
    /// Most targets of a cell
    #[arg(long, value_name = "N")]
    max_targets: Option<usize>,
}

/// Kinds of values.
#[derive(Clone, Copy, ValueEnum)]
enum ValueChoice {
    /// Find out; counts are preferred
    Auto,
    /// Raw counts
    Counts,
    /// ln(1 + counts per 10,000)
    Log1p,
}

fn parse_matrix(text: &str) -> Result<MatrixPath, String> {
    text.parse()
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&value| value > 0).ok_or_else(|| "expected a whole number, at least 1".to_owned())
}

/// Imports.
pub(crate) fn run(mut arguments: Arguments) -> Result<Answer> {
    let out = arguments.paths.pop().unwrap_or_default();
    let inputs = std::mem::take(&mut arguments.paths);
    let report = ingest::import(&inputs, &out, &options(arguments))?;
    Ok(Answer::new(describe(&report), serde_json::to_value(&report)?))
}

fn options(arguments: Arguments) -> ImportOptions {
    let qc = arguments.qc;
    ImportOptions {
        keys: Keys {
            perturbation: arguments.perturbation_key,
            context: arguments.context_key,
            batch: arguments.batch_key,
        },
        control: arguments.control,
        strip_guide_suffix: arguments.strip_guide_suffix,
        drop_unlabelled: arguments.drop_unlabelled,
        kind: arguments.kind,
        gene_key: arguments.gene_key,
        make_unique: arguments.make_unique,
        matrix: arguments.matrix,
        values: match arguments.values {
            ValueChoice::Auto => Values::Auto,
            ValueChoice::Counts => Values::Counts,
            ValueChoice::Log1p => Values::Log1p,
        },
        protein_key: arguments.protein_key,
        shuffle: arguments.shuffle,
        resume: arguments.resume,
        qc: QcOptions {
            min_genes: qc.min_genes,
            max_pct_mt: qc.max_pct_mt,
            min_cells_per_gene: qc.min_cells_per_gene,
            min_cells_per_perturbation: qc.min_cells_per_perturbation,
            max_targets: qc.max_targets,
        },
        write: WriteOptions { chunk_rows: arguments.chunk_rows, shard_bytes: arguments.shard_mib << 20 },
    }
}

fn describe(report: &ImportReport) -> String {
    let mut lines = vec![format!("{}: {} cells × {} genes", report.store.display(), report.cells, report.genes)];
    lines.push(format!(
        "{} perturbations, {} control cells, {} contexts, {} batches, values {}",
        report.perturbations,
        report.controls,
        report.contexts.len(),
        report.batches,
        match report.values {
            ValueKind::Counts => "counts",
            ValueKind::Log1p => "log1p",
        }
    ));
    lines.extend(dropped("cells", &report.qc.cells));
    lines.extend(dropped("genes", &report.qc.genes));
    lines.extend(dropped("perturbations", &report.qc.perturbations));
    lines.extend(report.notices.iter().map(|notice| format!("note: {notice}")));
    lines.join("\n")
}

fn dropped<'a>(what: &'a str, tally: &'a Tally) -> impl Iterator<Item = String> + 'a {
    tally
        .dropped
        .iter()
        .filter(|dropped| dropped.count > 0)
        .map(move |dropped| format!("dropped {} {what}: {} ({})", dropped.count, dropped.rule, dropped.option))
}
