//! The import: inputs in, one cell store out.
//!
//! Guarantee: the inputs are read twice by row blocks (once to measure, once to write), so resident memory holds
//! one block, the tables and a few numbers a cell. The store appears whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cells::{self, Cells};
use super::columns::{InputOptions, Keys, PCT_MT, SOURCE_ROW, TakenColumns};
use super::error::IngestError;
use super::inputs::{self, Input};
use super::qc::{Kept, Metrics};
use super::rewrite::Rewriting;
use super::rules::{QcOptions, QcReport, QcRules};
use super::source::{MatrixPath, Source};
use super::values::Values;
use super::write::{Rows, Writing};
use super::{names, tables};
use crate::frame::{Column, ColumnData, Frame};
use crate::store::{CellStore, Rounding, StoreInfo, StoreWriter, ValueKind, WriteOptions};

/// What to import and how.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "they are the switches of a command, independent of each other")]
pub struct ImportOptions {
    /// Label columns.
    pub keys: Keys,
    /// What is said of single inputs, by their paths.
    pub of_inputs: BTreeMap<PathBuf, InputOptions>,
    /// Labels that mean control, in place of the built-in words.
    pub control: Vec<String>,
    /// Whether marks of guides (`sg`, `_1`, `g2`, `-1`) are cut off labels.
    pub strip_guide_suffix: bool,
    /// How labels are put into other words before they are read.
    pub rewriting: Rewriting,
    /// Whether an input without labels, or without perturbed cells, is taken for controls rather than refused.
    pub unlabelled: bool,
    /// Whether cells without a label are left out rather than refused.
    pub drop_unlabelled: bool,
    /// Kind of perturbation of all cells, in place of a column `perturbation_type`.
    pub kind: Option<String>,
    /// Column of `var` that names the genes, in place of its index.
    pub gene_key: Option<String>,
    /// Whether repeated names are numbered: those of genes, else refused, and those of cells, else kept.
    pub make_unique: bool,
    /// Matrix to import.
    pub matrix: Option<MatrixPath>,
    /// What its values are.
    pub values: Values,
    /// What the normalised counts of a cell sum to over all genes; found out, or 10,000, where it is not given.
    pub target_sum: Option<f64>,
    /// How fractional counts are made whole, where they may be fractional.
    pub round: Option<Rounding>,
    /// Entry of `obsm` that must be there and is kept as protein.
    pub protein_key: Option<String>,
    /// Quality control.
    pub qc: QcOptions,
    /// Seed of a random order in which the cells are stored; they keep theirs where there is none.
    pub shuffle: Option<u64>,
    /// Whether to go on with what an import that was killed left.
    pub resume: bool,
    /// Layout of the store.
    pub write: WriteOptions,
}

impl ImportOptions {
    /// What holds for one input.
    pub(super) fn of_input(&self, path: &Path) -> InputOptions {
        let all = InputOptions { keys: self.keys.clone(), kind: self.kind.clone(), unlabelled: self.unlabelled };
        all.with_own(self.of_inputs.get(path))
    }
}

/// One input, as it was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputReport {
    /// Its path.
    pub path: String,
    /// The matrix that was imported.
    pub matrix: String,
    /// Its cells.
    pub cells: usize,
    /// Its genes.
    pub genes: usize,
    /// Where the labels came from.
    pub columns: TakenColumns,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportReport {
    /// The new store.
    pub store: PathBuf,
    /// The inputs.
    pub inputs: Vec<InputReport>,
    /// What the values are.
    pub values: ValueKind,
    /// Cells of the store.
    pub cells: usize,
    /// Genes of the store.
    pub genes: usize,
    /// Stored values.
    pub nnz: u64,
    /// Perturbations, the control not counted.
    pub perturbations: usize,
    /// Control cells.
    pub controls: usize,
    /// How they are labelled in the data, with their numbers.
    pub control_labels: BTreeMap<String, u64>,
    /// Contexts.
    pub contexts: Vec<String>,
    /// Number of batches.
    pub batches: usize,
    /// Dense per-cell matrices that were kept.
    pub obsm: Vec<String>,
    /// Quality control.
    pub qc: QcReport,
    /// What was decided without being asked.
    pub notices: Vec<String>,
}

/// Imports one input, or several laid end to end on the genes they share.
///
/// # Errors
/// When an input cannot be read, does not hold what the options say, or the store cannot be written.
pub fn import(paths: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportReport, IngestError> {
    let mut notices = Vec::new();
    refuse_taken(out)?;
    let mut inputs = Vec::with_capacity(paths.len());
    for path in paths {
        inputs.push(Input::open(path, paths.len() > 1, options, &mut notices)?);
    }
    if inputs.is_empty() {
        return Err(IngestError::Mismatch { what: "there is none".into(), fix: "name at least one".into() });
    }
    let kind = inputs::same_kind(&inputs)?;
    let var = inputs::share_genes(&mut inputs, &mut notices)?;
    let cells = Cells::parse(&inputs, options, &mut notices)?;
    let stores = inputs.iter().all(|input| input.source.as_store().is_some());
    let rules = if stores { options.qc.rules_again() } else { options.qc.rules(kind, var.index.len()) };
    let metrics = measure(&inputs, &var, &cells, kind, rules)?;
    let (metrics, kept) = metrics.decide(&cells.labels.perturbation, &cells.n_targets())?;
    require_perturbed(&inputs, &cells, &kept, options, &mut notices)?;
    let rows = Rows::new(&kept, options.shuffle);
    let obs = kept_cells(&inputs, &rows, &metrics, options, &mut notices);
    let dense = dense_names(&inputs, options, &mut notices)?;

    let mut genes = tables::take(&var, &kept.genes);
    names::settle(&mut genes, &[], "var", &mut notices);
    let mut writer = StoreWriter::resumable(out, genes, options.write, plan(paths, options)?, options.resume)?;
    if options.resume {
        notices.push(match writer.n_cells() {
            0 => "nothing to go on with was found; begun anew".into(),
            done => format!("gone on with at cell {done} of {}", rows.cells.len()),
        });
    }
    let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writing = Writing { inputs: &inputs, kept: &kept, rows: &rows, folder };
    writing.expression(var.index.len(), &metrics, &mut writer)?;
    for name in &dense {
        writing.dense(name, &mut writer)?;
        if let Some(columns) = inputs[0].source.dense_columns(name)? {
            writer.name_columns(name, columns);
        }
    }
    let labels = cells.labels_of(&rows.cells);
    let mut info = StoreInfo::new(kind);
    info.source = inputs.iter().map(|input| input.source.name()).collect();
    info.shuffled = options.shuffle;
    info.converted_from =
        inputs.iter().filter_map(|input| Some((input.source.name(), input.reading.converts_from()?))).collect();
    info.rounding = options.round;
    info.control_labels = cells.control_labels(&inputs, &rows.cells);
    for store in inputs.iter().filter_map(|input| input.source.as_store()) {
        info.converted_from.extend(store.info.converted_from.clone());
        info.rounding = info.rounding.or(store.info.rounding);
    }
    if let ([input], None) = (&inputs[..], options.shuffle)
        && let Some(store) = input.source.as_store()
    {
        info.shuffled = store.info.shuffled;
        info.synthetic.clone_from(&store.info.synthetic);
        // What the controls were called is known only of all of them.
        let recorded: u64 = store.info.control_labels.values().sum();
        if !input.labels.known.is_empty() && recorded == info.control_labels.values().sum::<u64>() {
            info.control_labels.clone_from(&store.info.control_labels);
        }
    }
    info.qc = serde_json::to_value(&kept.report).ok();
    let store = writer.finish(obs, &labels, info)?;
    let notices = gathered(notices, &inputs);
    Ok(report(&store, &inputs, kept.report, dense.into_iter().collect(), notices))
}

/// What decides the content of a store, so that an unfinished one is gone on with only where it is the same.
fn plan(paths: &[PathBuf], options: &ImportOptions) -> Result<String, IngestError> {
    let stamp = |path: &PathBuf| {
        let file = path.metadata().and_then(|meta| Ok((path.canonicalize()?, meta.len(), meta.modified()?)));
        file.map_err(|error| IngestError::io(path, error))
    };
    let stamps = paths.iter().map(stamp).collect::<Result<Vec<_>, _>>()?;
    let options = ImportOptions { resume: false, ..options.clone() };
    Ok(format!("{} {stamps:?} {options:?}", env!("CARGO_PKG_VERSION")))
}

fn refuse_taken(out: &Path) -> Result<(), IngestError> {
    match out.symlink_metadata() {
        Ok(_) => Err(crate::store::StoreError::Exists { path: out.into() }.into()),
        Err(_) => Ok(()),
    }
}

/// First pass: measures every cell and checks every value.
fn measure(
    inputs: &[Input],
    var: &Frame,
    cells: &Cells,
    kind: ValueKind,
    rules: QcRules,
) -> Result<Metrics, IngestError> {
    let is_mt = inputs::mitochondrial(var);
    let n_genes = var.index.len();
    let mut metrics = Metrics::new(rules, n_genes);
    let mut standings = cells.standing.iter();
    inputs::for_each_block(inputs, 0, |_, block| {
        for (row, &standing) in (0..block.n_rows()).zip(standings.by_ref()) {
            let (genes, values) = block.row(row);
            let amounts = values.iter().map(|&value| match kind {
                ValueKind::Counts => f64::from(value),
                ValueKind::Log1p => f64::from(value).exp_m1(),
            });
            metrics.push(genes, amounts, &is_mt, standing);
        }
        Ok(())
    })?;
    Ok(metrics)
}

/// Refuses labelled cells of which none that is perturbed stays, unless controls alone are wanted.
fn require_perturbed(
    inputs: &[Input],
    cells: &Cells,
    kept: &Kept,
    options: &ImportOptions,
    notices: &mut Vec<String>,
) -> Result<(), IngestError> {
    // A store of controls alone comes back as it was.
    let is_unlabelled =
        |input: &Input| input.labels.columns.perturbation.is_none() || input.source.as_store().is_some();
    let unlabelled = inputs.iter().all(is_unlabelled);
    let tally = &kept.report.perturbations;
    if tally.remaining > 0 {
        return Ok(());
    }
    if options.unlabelled || unlabelled {
        notices.push("the store has control cells alone: nothing about perturbations can be trained on it".into());
        return Ok(());
    }
    let controls: Vec<String> =
        cells.control_labels(inputs, &kept.cells).iter().map(|(label, cells)| format!("{label} ({cells})")).collect();
    let (why, fix) = match tally.dropped.iter().max_by_key(|dropped| dropped.count) {
        Some(worst) if tally.initial > 0 => (
            format!(
                "none of {} perturbations is left, {} dropped by the rule '{}' (the largest has {} cells)",
                tally.initial,
                worst.count,
                worst.rule,
                cells.largest()
            ),
            format!("relax it with {}", worst.option),
        ),
        _ => (
            format!("every cell is a control, labelled {}", controls.join(", ")),
            "name another column with --perturbation-key, or the control with --control".into(),
        ),
    };
    Err(IngestError::NothingToTrain { why, fix })
}

/// The table of the cells that stay, in the order of the store, with the mitochondrial percentage.
fn kept_cells(
    inputs: &[Input],
    rows: &Rows,
    metrics: &Metrics,
    options: &ImportOptions,
    notices: &mut Vec<String>,
) -> Frame {
    let mut obs = tables::take(&cells::table(inputs, options.make_unique, notices), &rows.cells);
    let ours: &[&str] = if rows.order.is_some() { &[PCT_MT, SOURCE_ROW] } else { &[PCT_MT] };
    names::settle(&mut obs, ours, "obs", notices);
    let measured = inputs.iter().flat_map(|input| {
        let recorded = input.pct_mt.iter().flatten().map(|&percent| Some(percent));
        recorded.chain(std::iter::repeat(None)).take(input.obs.index.len())
    });
    let pct_mt: Vec<f64> =
        measured.zip(&metrics.pct_mt).map(|(known, &percent)| known.unwrap_or(f64::from(percent))).collect();
    let pct_mt = rows.cells.iter().map(|&cell| pct_mt[cell]).collect();
    // Where a store had it, so that its columns keep their order.
    let place = obs.columns.iter().position(|column| column.name == SOURCE_ROW).unwrap_or(obs.columns.len());
    obs.columns.insert(place, Column { name: PCT_MT.into(), data: ColumnData::Float(pct_mt) });
    if rows.order.is_some() {
        let source = rows.cells.iter().map(|&cell| cell as i64).collect();
        obs.columns.push(Column { name: SOURCE_ROW.into(), data: ColumnData::Int(source) });
    }
    obs
}

/// Number of columns of a dense matrix, and their names where they have some.
type Columns = (usize, Option<Vec<String>>);

/// Dense matrices that all inputs have, of the same columns in all.
fn dense_names(
    inputs: &[Input],
    options: &ImportOptions,
    notices: &mut Vec<String>,
) -> Result<BTreeSet<String>, IngestError> {
    let mut widths: BTreeMap<String, Vec<Columns>> = BTreeMap::new();
    for input in inputs {
        for name in input.source.dense_names()? {
            let asked = options.protein_key.as_ref() == Some(&name);
            if let Some(columns) = dense_columns(&*input.source, &name, asked, notices)? {
                widths.entry(name).or_default().push(columns);
            }
        }
    }
    let agree = |of: &[Columns]| of.len() == inputs.len() && of.windows(2).all(|pair| pair[0] == pair[1]);
    for (name, _) in widths.iter().filter(|(_, of)| !agree(of)) {
        notices.push(format!("obsm/{name} is left out: not every input has it, with the same columns"));
    }
    let common: BTreeSet<String> = widths.into_iter().filter(|(_, of)| agree(of)).map(|(name, _)| name).collect();
    match &options.protein_key {
        Some(key) if !common.contains(key) => Err(IngestError::NotFound {
            option: "--protein-key",
            wanted: key.clone(),
            owner: "obsm, alike in all inputs,".into(),
            found: common.into_iter().collect(),
        }),
        _ => Ok(common),
    }
}

/// Columns of a dense matrix; none where it cannot be read and nobody asks for it.
fn dense_columns(
    source: &dyn Source,
    name: &str,
    asked: bool,
    notices: &mut Vec<String>,
) -> Result<Option<Columns>, IngestError> {
    let input = source.name();
    if !names::is_storable(name) {
        notices.push(format!("{input}: obsm/{name} is left out: a store holds no matrix of that name; rename it"));
        return Ok(None);
    }
    match source.read_dense(name).and_then(|(width, _)| Ok((width, source.dense_columns(name)?))) {
        Err(IngestError::Item { item, what, .. }) if !asked => {
            notices.push(format!("{input}: {item} is left out: {what}"));
            Ok(None)
        }
        Err(IngestError::AnnData(error)) if !asked => {
            notices.push(format!("{error}: it is left out"));
            Ok(None)
        }
        columns => columns.map(Some),
    }
}

/// Says once what was said of several inputs.
fn gathered(notices: Vec<String>, inputs: &[Input]) -> Vec<String> {
    let names: Vec<String> = inputs.iter().map(|input| format!("{}: ", input.source.name())).collect();
    let about = |notice: &str| names.iter().find_map(|name| notice.strip_prefix(name.as_str()).map(str::to_owned));
    let mut lines: Vec<(String, Option<String>, usize)> = Vec::new();
    for notice in notices {
        let said = about(&notice);
        match lines.iter_mut().find(|(_, other, _)| said.is_some() && *other == said) {
            Some((_, _, count)) => *count += 1,
            None => lines.push((notice, said, 1)),
        }
    }
    let line = |(notice, said, count): (String, Option<String>, usize)| match said {
        Some(said) if count > 1 => format!("{count} inputs: {said}"),
        _ => notice,
    };
    lines.into_iter().map(line).collect()
}

fn report(store: &CellStore, inputs: &[Input], qc: QcReport, obsm: Vec<String>, notices: Vec<String>) -> ImportReport {
    let labels = store.labels();
    ImportReport {
        store: store.path().into(),
        inputs: inputs
            .iter()
            .map(|input| InputReport {
                path: input.source.name(),
                matrix: input.matrix.to_string(),
                cells: input.obs.index.len(),
                genes: input.var.index.len(),
                columns: input.labels.columns.clone(),
            })
            .collect(),
        values: store.info().value_kind,
        cells: store.n_cells(),
        genes: store.n_genes(),
        nnz: store.nnz(),
        perturbations: labels.perturbations.len() - 1,
        control_labels: store.info().control_labels.clone(),
        controls: (0..labels.n_cells()).filter(|&cell| labels.is_control(cell)).count(),
        contexts: labels.contexts.clone(),
        batches: labels.batches.len(),
        obsm,
        qc,
        notices,
    }
}
