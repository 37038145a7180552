//! `syncyte store import`: files of cells become one cell store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use syncyte_sharding::ingest::{
    self, Base, ImportOptions, ImportReport, Keys, MatrixPath, QcOptions, Rewriting, Tally, Values,
};
use syncyte_sharding::store::{Rounding, ValueKind, WriteOptions};

use super::inputs;
use crate::answer::Answer;
use crate::exit::usage;

/// Control labels listed, at most.
const MOST_LABELS: usize = 20;

/// Arguments of `syncyte store import`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte store import norman.h5ad norman.zarr\n  \
    syncyte store import lane1.h5ad lane2.h5ad screen.zarr --perturbation-key guide --control NT --batch-key lane\n  \
    syncyte store import screen.h5ad unperturbed.h5ad:unlabelled screen.zarr\n  \
    syncyte store import adamson.h5ad adamson.zarr --label-map labels.tsv --exclude '*'\n  \
    syncyte store import soupx.h5ad cells.zarr --values counts --round stochastic\n  \
    syncyte store import filtered_feature_bc_matrix/ cells.zarr\n\n\
    What is decided without being asked is said in notes; docs/cell-stores.md tells how labels and values are read.")]
pub(crate) struct Arguments {
    /// Inputs, laid end to end on the genes they share, then the store to make. FILE:key=value,… says of one input alone
    /// what perturbation-key, context-key, batch-key, kind and unlabelled (without a value) say of all
    #[arg(required = true, num_args = 1.., value_name = "IN… OUT.zarr")]
    paths: Vec<PathBuf>,
    /// Go on with an import into the same store that was killed
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    options: ImportArguments,
}

/// How cells are imported.
#[derive(Args)]
#[allow(clippy::struct_excessive_bools, reason = "they are switches, independent of each other")]
pub(crate) struct ImportArguments {
    /// Table of inputs: sections `[[input]]` with path and, of each alone, perturbation-key, context-key, batch-key, kind,
    /// unlabelled
    #[arg(long, value_name = "TABLE.toml")]
    inputs: Option<PathBuf>,
    /// Column of the perturbation labels
    #[arg(long, value_name = "COLUMN")]
    perturbation_key: Option<String>,
    /// A label that means control, in place of the built-in words (control, NT, DMSO …); may be repeated
    #[arg(long, value_name = "LABEL")]
    control: Vec<String>,
    /// Take all cells of an input without labels for controls, and go on where no perturbed cell is left
    #[arg(long)]
    unlabelled: bool,
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
    /// What the normalised counts of a cell sum to over all genes; if not given, what its sums show, else 10,000
    #[arg(long, value_name = "N", value_parser = positive_number)]
    target_sum: Option<f64>,
    /// Make fractional counts whole (with --values counts), as SoupX, CellBender and alevin leave them
    #[arg(long, value_enum, value_name = "HOW")]
    round: Option<RoundingChoice>,
    /// Cut marks of guides off labels: `sgSTAT1`, `STAT1_1`, `STAT1_g2`, `STAT1-1`, `STAT1.2`, `STAT1_pDS032` → `STAT1`
    #[arg(long)]
    strip_guide_suffix: bool,
    /// Replace labels: a line of the file is a label, a tab, and its new name (genes joined by +, or control)
    #[arg(long, value_name = "FILE.tsv")]
    label_map: Option<PathBuf>,
    /// Keep of labels what the group in parentheses catches, e.g. '^([^_]+)_'; several groups are joined by +
    #[arg(long, value_name = "PATTERN")]
    label_regex: Option<String>,
    /// Leave out the cells of this label; may be repeated
    #[arg(long, value_name = "LABEL")]
    exclude: Vec<String>,
    /// Leave out cells without a label instead of refusing them
    #[arg(long)]
    drop_unlabelled: bool,
    /// Number repeated names (-1, -2, …): those of genes, which are refused otherwise, and of cells, which are kept
    #[arg(long)]
    make_unique: bool,
    /// Store the cells in a random order (of this seed); obs keeps their old place as `source_row`
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    shuffle: Option<u64>,
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
    /// ln(1 + counts per 10,000, or --target-sum)
    Log1p,
    /// log2(1 + counts per 10,000, or --target-sum)
    Log2,
    /// log10(1 + counts per 10,000, or --target-sum)
    Log10,
    /// Counts per 10,000 or --target-sum, without a logarithm
    #[value(alias = "normalized")]
    Normalised,
}

/// How fractional counts become whole ones.
#[derive(Clone, Copy, ValueEnum)]
enum RoundingChoice {
    /// Up with the probability of the fraction, the same on every run: sums keep their expectation
    Stochastic,
    /// To the nearest whole number
    Nearest,
}

fn positive_number(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|&value: &f64| value > 0.0 && value.is_finite())
        .ok_or_else(|| "expected a number above 0".to_owned())
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
    let (inputs, mut options) = arguments.options.read(&arguments.paths)?;
    if inputs.is_empty() {
        return Err(usage(format!("there is no input for the store {}; name at least one before it", out.display())));
    }
    options.resume = arguments.resume;
    let report = ingest::import(&inputs, &out, &options)?;
    Ok(Answer::new(describe(&report).join("\n"), serde_json::to_value(&report)?))
}

impl ImportArguments {
    /// The inputs, those of the table before those named here, and how to import them.
    ///
    /// # Errors
    /// When the table of inputs cannot be read, or options exclude each other.
    pub(crate) fn read(self, named: &[PathBuf]) -> Result<(Vec<PathBuf>, ImportOptions)> {
        let (paths, of_inputs) = inputs::read(self.inputs.as_deref(), named)?;
        if self.round.is_some() && !matches!(self.values, ValueChoice::Counts) {
            return Err(usage(
                "--round makes fractional counts whole; say that the values are counts with --values counts",
            ));
        }
        if self.target_sum.is_some() && matches!(self.values, ValueChoice::Counts) {
            return Err(usage("--target-sum tells of normalised values, and --values says counts; leave one out"));
        }
        Ok((paths, ImportOptions { of_inputs, ..options(self) }))
    }
}

fn options(arguments: ImportArguments) -> ImportOptions {
    let qc = arguments.qc;
    ImportOptions {
        keys: Keys {
            perturbation: arguments.perturbation_key,
            context: arguments.context_key,
            batch: arguments.batch_key,
        },
        of_inputs: BTreeMap::new(),
        control: arguments.control,
        strip_guide_suffix: arguments.strip_guide_suffix,
        rewriting: Rewriting { map: arguments.label_map, regex: arguments.label_regex, exclude: arguments.exclude },
        unlabelled: arguments.unlabelled,
        drop_unlabelled: arguments.drop_unlabelled,
        kind: arguments.kind,
        gene_key: arguments.gene_key,
        make_unique: arguments.make_unique,
        matrix: arguments.matrix,
        values: match arguments.values {
            ValueChoice::Auto => Values::Auto,
            ValueChoice::Counts => Values::Counts,
            ValueChoice::Log1p => Values::Normalised(Base::E),
            ValueChoice::Log2 => Values::Normalised(Base::Two),
            ValueChoice::Log10 => Values::Normalised(Base::Ten),
            ValueChoice::Normalised => Values::Normalised(Base::Linear),
        },
        target_sum: arguments.target_sum,
        round: arguments.round.map(|round| match round {
            RoundingChoice::Stochastic => Rounding::Stochastic,
            RoundingChoice::Nearest => Rounding::Nearest,
        }),
        protein_key: arguments.protein_key,
        shuffle: arguments.shuffle,
        resume: false,
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

/// What an import did, line by line.
pub(crate) fn describe(report: &ImportReport) -> Vec<String> {
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
    lines.extend(controls(report));
    lines.extend(dropped("cells", &report.qc.cells));
    lines.extend(dropped("genes", &report.qc.genes));
    lines.extend(dropped("perturbations", &report.qc.perturbations));
    lines.extend(report.notices.iter().map(|notice| format!("note: {notice}")));
    lines
}

/// How the controls are labelled in the data.
fn controls(report: &ImportReport) -> Option<String> {
    let labels = &report.control_labels;
    let more = labels.len().saturating_sub(MOST_LABELS);
    let named = labels.iter().take(MOST_LABELS).map(|(label, cells)| format!("{label} ({cells})"));
    let rest = (more > 0).then(|| format!("{more} more labels (--json has them)"));
    let named: Vec<String> = named.chain(rest).collect();
    (!named.is_empty()).then(|| format!("controls are labelled {}", named.join(", ")))
}

fn dropped<'a>(what: &'a str, tally: &'a Tally) -> impl Iterator<Item = String> + 'a {
    tally
        .dropped
        .iter()
        .filter(|dropped| dropped.count > 0)
        .map(move |dropped| format!("dropped {} {what}: {} ({})", dropped.count, dropped.rule, dropped.option))
}
