//! Inputs opened, their matrices chosen, and their genes brought onto one list.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::columns::{self, Labelling, RawLabels};
use super::error::{BadValue, IngestError};
use super::open::open;
use super::source::{MatrixPath, Source, push_canonical};
use super::values::{self, Chosen, Reading};
use super::{ImportOptions, again, names, tables};
use crate::csr::Csr;
use crate::frame::{Column, ColumnData, Frame};
use crate::genes;
use crate::store::ValueKind;
use crate::text::as_text;

/// Values of a row block when dense, at most.
const BLOCK_VALUES: usize = 8 << 20;
/// Rows of a block, at most.
pub(super) const BLOCK_ROWS: usize = 8192;

/// One input, with what the import needs of it.
pub(super) struct Input {
    pub(super) source: Box<dyn Source>,
    /// Short name, for batches and names of cells.
    pub(super) stem: String,
    pub(super) matrix: MatrixPath,
    pub(super) reading: Reading,
    pub(super) obs: Frame,
    pub(super) var: Frame,
    pub(super) labels: RawLabels,
    /// Mitochondrial percentages on record, of a store.
    pub(super) pct_mt: Option<Vec<f64>>,
    /// Place of every column on the common gene list.
    place: Vec<Option<u32>>,
    /// Genes of the common list.
    n_genes: usize,
    /// Whether the columns are the common list as they are.
    in_place: bool,
}

/// Hands the row blocks of all inputs over in order, each with the number of its first cell among all inputs; the
/// next block is read while one is worked on. Blocks that end before the cell `from` are left out.
pub(super) fn for_each_block(
    inputs: &[Input],
    from: usize,
    mut work: impl FnMut(usize, &Csr) -> Result<(), IngestError> + Send,
) -> Result<(), IngestError> {
    let mut end = 0;
    let numbered = inputs.iter().map(|input| {
        let first = end;
        end += input.obs.index.len();
        (first, input)
    });
    let mut blocks = numbered
        .flat_map(|(first, input)| input.blocks().map(move |rows| (first + rows.start, input, rows)))
        .filter(|(first, _, rows)| first + rows.len() > from);
    let (mut block, mut next) = (Csr::default(), Csr::default());
    let mut read = |block: &mut Csr| match blocks.next() {
        Some((first, input, rows)) => input.read(first, rows, block).map(|()| Some(first)),
        None => Ok(None),
    };
    let mut current = read(&mut block)?;
    while let Some(first) = current {
        let (worked, follows) = rayon::join(|| work(first, &block), || read(&mut next));
        worked?;
        std::mem::swap(&mut block, &mut next);
        current = follows?;
    }
    Ok(())
}

impl Input {
    /// Opens one of the inputs and says what was decided about it.
    pub(super) fn open(
        path: &Path,
        one_of_several: bool,
        options: &ImportOptions,
        notices: &mut Vec<String>,
    ) -> Result<Self, IngestError> {
        let source = open(path)?;
        let name = source.name();
        let store = source.as_store();
        let asked = options.of_input(path);
        let keys = [
            ("--perturbation-key", asked.keys.perturbation.as_deref()),
            ("--context-key", asked.keys.context.as_deref()),
            ("--batch-key", asked.keys.batch.as_deref()),
        ];
        let mut obs = tables::told(source.obs()?, "obs", path, &keys, notices)?;
        if obs.index.is_empty() {
            return Err(empty(path, "cells"));
        }
        if source.matrices()?.is_empty() {
            return Err(empty(path, "values: there is neither X nor a layer nor raw/X, or they are null"));
        }
        let chosen = match store.and_then(|store| again::chosen(store, options)) {
            Some(chosen) => chosen,
            None => values::choose(&*source, &obs, options, notices)?,
        };
        let others: Vec<String> =
            source.matrices()?.iter().filter(|&other| *other != chosen.matrix).map(ToString::to_string).collect();
        if !others.is_empty() {
            notices.push(format!(
                "{name}: {} is imported, {} stays behind (--matrix chooses)",
                chosen.matrix,
                others.join(", ")
            ));
        }
        let gene_key = [("--gene-key", options.gene_key.as_deref())];
        let var = tables::told(source.var(&chosen.matrix)?, "var", path, &gene_key, notices)?;
        let var = name_genes(var, &name, options, notices)?;
        if var.index.is_empty() {
            return Err(empty(path, "genes"));
        }
        let mut labelling =
            Labelling { input: &name, obs: &obs, genes: &var.index, options: asked.clone(), one_of_several };
        if store.is_some() {
            labelling.options.keys = again::keys(&asked.keys);
        }
        let mut labels = columns::take(&labelling, notices)?;
        let mut pct_mt = None;
        if let Some(store) = store {
            again::restore(&mut labels, store, &asked, options);
            pct_mt = again::strip(&mut obs, &asked, options);
            notices.push(format!("{name}: a cell store; its labels, values and quality control are taken as they are"));
        }
        let place = (0..var.index.len()).map(|at| Some(at as u32)).collect();
        let stem = path.file_stem().map_or_else(|| name.clone(), |stem| stem.to_string_lossy().into_owned());
        let (n_genes, in_place) = (var.index.len(), true);
        let Chosen { matrix, reading } = chosen;
        Ok(Self { source, stem, matrix, reading, obs, var, labels, pct_mt, place, n_genes, in_place })
    }

    /// What the values are, once read.
    pub(super) fn kind(&self) -> ValueKind {
        self.reading.kind()
    }

    /// Row blocks whose size does not depend on the number of cells.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let n_rows = self.obs.index.len();
        let step = (BLOCK_VALUES / self.place.len().max(1)).clamp(64, BLOCK_ROWS);
        (0..n_rows).step_by(step).map(move |from| from..n_rows.min(from + step))
    }

    /// Reads rows on the common gene list into a block, every value checked to be of its kind.
    /// `first` is the number of the first cell among those of all inputs.
    fn read(&self, first: usize, rows: Range<usize>, block: &mut Csr) -> Result<(), IngestError> {
        let start = rows.start;
        self.source.read_into(&self.matrix, rows, block)?;
        if !self.reading.are_sound(&block.values) {
            self.check(start, block)?;
        }
        self.reading.apply(first, block);
        if !self.in_place {
            *block = self.mapped(block);
        }
        Ok(())
    }

    fn check(&self, first: usize, block: &Csr) -> Result<(), IngestError> {
        for row in 0..block.n_rows() {
            let (columns, values) = block.row(row);
            for (&column, &value) in columns.iter().zip(values) {
                if let Some(problem) = self.reading.problem(value) {
                    return Err(self.bad_value(first + row, column, value, problem));
                }
            }
        }
        Ok(())
    }

    fn mapped(&self, block: &Csr) -> Csr {
        let mut mapped = Csr::empty(self.n_genes);
        let mut entries = Vec::new();
        for row in 0..block.n_rows() {
            let (columns, values) = block.row(row);
            let places = columns.iter().map(|&column| self.place[column as usize]);
            entries.extend(places.zip(values).filter_map(|(place, &value)| Some((place?, value))));
            push_canonical(&mut mapped, &mut entries);
        }
        mapped
    }

    fn bad_value(&self, row: usize, column: u32, value: f32, problem: &'static str) -> IngestError {
        Box::new(BadValue {
            input: self.source.name(),
            matrix: self.matrix.to_string(),
            cell: self.obs.index[row].clone(),
            row,
            gene: self.var.index[column as usize].clone(),
            value,
            problem,
            fix: values::fix(self.kind()),
        })
        .into()
    }
}

fn empty(path: &Path, what: &str) -> IngestError {
    IngestError::Unrecognised {
        path: PathBuf::from(path),
        what: format!("it has no {what}"),
        fix: "give an input with cells and genes".into(),
    }
}

/// Takes the gene names from the index or the column asked for, and makes sure that they are unique.
fn name_genes(
    mut var: Frame,
    input: &str,
    options: &ImportOptions,
    notices: &mut Vec<String>,
) -> Result<Frame, IngestError> {
    if let Some(key) = &options.gene_key {
        rename(&mut var, key, input)?;
    } else if mostly_ensembl(&var.index)
        && let Some(column) = symbol_column(&var)
    {
        notices.push(format!(
            "{input}: genes are named by Ensembl identifiers; --gene-key {column} names them by symbol, as gene sets do"
        ));
    }
    let repeated = genes::duplicates(&var.index);
    if !repeated.is_empty() {
        if !options.make_unique {
            let count = repeated.len();
            let examples = repeated.into_iter().take(5).collect();
            return Err(IngestError::DuplicateGenes { input: input.into(), count, examples });
        }
        genes::make_unique(&mut var.index);
        notices.push(format!("{input}: {} repeated gene names were numbered", repeated.len()));
    }
    Ok(var)
}

fn mostly_ensembl(names: &[String]) -> bool {
    2 * names.iter().filter(|name| genes::is_ensembl(name)).count() > names.len()
}

fn rename(var: &mut Frame, key: &str, input: &str) -> Result<(), IngestError> {
    let Some(at) = var.columns.iter().position(|column| column.name == key) else {
        return Err(IngestError::NotFound {
            option: "--gene-key",
            wanted: key.into(),
            owner: format!("var of {input}"),
            found: var.columns.iter().map(|c| c.name.clone()).collect(),
        });
    };
    let names = as_text(&var.columns.remove(at).data);
    // A gene without a symbol keeps its identifier.
    let names = names.into_iter().zip(&var.index).map(|(name, old)| name.unwrap_or_else(|| old.clone())).collect();
    let old = std::mem::replace(&mut var.index, names);
    let taken = var.columns.iter().map(|column| column.name.clone()).collect();
    let name = names::free("source_index", &taken);
    var.columns.insert(0, Column { name, data: ColumnData::Text(old) });
    Ok(())
}

/// The column of `var` that holds symbols, if there is one.
fn symbol_column(var: &Frame) -> Option<&str> {
    ["symbol", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name"]
        .into_iter()
        .find(|name| var.column(name).is_some())
}

/// Which genes are mitochondrial, by name or by symbol.
pub(super) fn mitochondrial(var: &Frame) -> Vec<bool> {
    let symbols = symbol_column(var).and_then(|name| var.column(name)).map(as_text);
    let by_symbol = |at: usize| symbols.as_ref().and_then(|s| s[at].as_deref()).is_some_and(genes::is_mitochondrial);
    var.index.iter().enumerate().map(|(at, name)| genes::is_mitochondrial(name) || by_symbol(at)).collect()
}

/// Puts all inputs on the genes they share, in the order of the first, and returns the gene table.
pub(super) fn share_genes(inputs: &mut [Input], notices: &mut Vec<String>) -> Result<Frame, IngestError> {
    let Some((first, others)) = inputs.split_first() else { return Ok(Frame::default()) };
    let mut shared: Vec<usize> = (0..first.var.index.len()).collect();
    for other in others {
        let names: HashSet<&str> = other.var.index.iter().map(String::as_str).collect();
        shared.retain(|&at| names.contains(first.var.index[at].as_str()));
    }
    if shared.is_empty() {
        return Err(IngestError::Mismatch {
            what: "they have no gene in common".into(),
            fix: "name genes alike with --gene-key, or import the inputs by themselves".into(),
        });
    }
    let genes = tables::take(&first.var, &shared);
    let place: HashMap<&str, u32> =
        genes.index.iter().enumerate().map(|(at, name)| (name.as_str(), at as u32)).collect();
    for input in inputs {
        let n = input.var.index.len();
        if n != genes.index.len() {
            notices.push(format!(
                "{}: {} of {n} genes are shared by all inputs and kept",
                input.source.name(),
                genes.index.len()
            ));
        }
        input.place = input.var.index.iter().map(|name| place.get(name.as_str()).copied()).collect();
        input.n_genes = genes.index.len();
        input.in_place = input.place.iter().zip(0..).all(|(&place, at)| place == Some(at)) && n == input.n_genes;
    }
    Ok(genes)
}

/// Makes sure that all inputs hold the same kind of values.
pub(super) fn same_kind(inputs: &[Input]) -> Result<ValueKind, IngestError> {
    let kind = inputs.first().map_or(ValueKind::Counts, Input::kind);
    match inputs.iter().find(|input| input.kind() != kind) {
        None => Ok(kind),
        Some(other) => Err(IngestError::Mismatch {
            what: format!(
                "{} holds {} and {} holds {}",
                inputs[0].source.name(),
                spelled(kind),
                other.source.name(),
                spelled(other.kind())
            ),
            fix: "choose like matrices with --matrix, or import the inputs by themselves".into(),
        }),
    }
}

fn spelled(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Counts => "counts",
        ValueKind::Log1p => "log1p values",
    }
}
