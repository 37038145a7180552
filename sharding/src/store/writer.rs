//! Writes a new cell store, row blocks first, tables last.
//!
//! Guarantee: memory holds some chunks of every array plus a few numbers per cell, whatever the size of shards; counts
//! are stored in the smallest type of whole numbers that holds all of them. Everything is written
//! into a hidden folder beside the target and renamed at the end, so a store is whole or absent; dropping the
//! writer, for whatever reason, removes the folder. Nothing that exists is written over.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::Value;

use super::digest::{BlockHasher, data_hash, row_sum};
use super::error::StoreError;
use super::info::{DIGESTS, FORMAT, RECORD, Record, StoreInfo, ValueKind};
use super::journal::{self, Journal};
use super::labels;
use super::matrix::{CsrStream, DenseStream};
use super::partial::Partial;
use super::reader::CellStore;
use crate::anndata::AnnDataError;
use crate::anndata::frame::{array_encoding, check_frame, encoding, write_frame, write_text};
use crate::anndata::zarr::ZarrWriter;
use crate::csr::{Csr, are_counts};
use crate::frame::Frame;
use crate::labels::Labels;

/// How long at least it takes until it is noted again how far a store is that can be gone on with, and how many times
/// as long as the noting took: it grows with the cells.
const NOTE_EVERY: (Duration, u32) = (Duration::from_secs(1), 20);

/// How a store is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Rows of a block: what is read at once, and what has a digest of its own.
    pub chunk_rows: usize,
    /// Bytes of a shard before compression: the size of a file. Memory is held for dense matrices only.
    pub shard_bytes: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { chunk_rows: 64, shard_bytes: 256 << 20 }
    }
}

/// Writes a cell store.
pub struct StoreWriter {
    path: PathBuf,
    partial: Partial,
    /// What is written, in words, where the writing can be gone on with after a kill.
    plan: Option<String>,
    /// When it is noted next how far this is.
    note_at: Instant,
    zarr: ZarrWriter,
    options: WriteOptions,
    genes: Frame,
    x: Option<CsrStream>,
    layers: BTreeMap<String, CsrStream>,
    dense: BTreeMap<String, DenseStream>,
    dense_columns: BTreeMap<String, Vec<String>>,
    hasher: BlockHasher,
    library_size: Vec<f32>,
    n_genes: Vec<u32>,
    no_count: Option<String>,
}

impl StoreWriter {
    /// Begins a store at `path`; the index of `genes` are the gene names.
    ///
    /// # Errors
    /// When `path` is taken, its folder is missing, a gene name occurs twice, or `options` hold a zero.
    pub fn create(path: &Path, genes: Frame, options: WriteOptions) -> Result<Self, StoreError> {
        Self::begin(path, genes, options, false)
    }

    /// Begins a store that can be gone on with after a kill: `plan` says in words what is written. With `resume`, goes
    /// on with what was left of a store of the same plan, if anything was; [`StoreWriter::n_cells`] tells from where.
    /// Only X comes back; layers and dense matrices are to be appended after it.
    ///
    /// # Errors
    /// As [`StoreWriter::create`], or when what was left has another plan or is damaged.
    pub fn resumable(
        path: &Path,
        genes: Frame,
        options: WriteOptions,
        plan: String,
        resume: bool,
    ) -> Result<Self, StoreError> {
        let mut writer = Self::begin(path, genes, options, resume)?;
        if resume {
            writer.go_on(&plan)?;
        }
        writer.plan = Some(plan);
        Ok(writer)
    }

    /// Takes up what an earlier process left, if it got as far as a journal.
    fn go_on(&mut self, plan: &str) -> Result<(), StoreError> {
        let folder = self.partial.folder().to_owned();
        let refuse = |problem: &str| StoreError::Input {
            path: self.path.clone(),
            problem: format!("{problem}; begin anew without --resume (what is left lies in {})", folder.display()),
        };
        let unread = |error: String| refuse(&format!("where the unfinished store stood cannot be read: {error}"));
        // Whatever is wrong with it, it is not ours to remove.
        self.partial.leave(true);
        let Some(journal) = Journal::load(&folder).map_err(unread)? else {
            self.partial.leave(false);
            return self.partial.clear();
        };
        if journal.plan != plan {
            return Err(refuse("the unfinished store was made from other inputs or with other options"));
        }
        (self.library_size, self.n_genes, self.no_count) = (journal.library_size, journal.n_genes, journal.no_count);
        self.hasher = BlockHasher::resume(self.options.chunk_rows, journal.hashed);
        let x = CsrStream::new(&self.zarr, "X", self.genes.index.len(), self.options.shard_bytes);
        self.x = Some(x.resume(journal.x)?);
        self.partial.leave(false);
        Ok(())
    }

    /// Cells so far.
    pub fn n_cells(&self) -> usize {
        self.library_size.len()
    }

    /// Notes where the writing stands, if it can be gone on with.
    fn note_progress(&mut self) -> Result<(), StoreError> {
        let (Some(plan), Some(x)) = (&self.plan, &mut self.x) else { return Ok(()) };
        let begun = Instant::now();
        let journal = Journal {
            plan: plan.clone(),
            library_size: self.library_size.clone(),
            n_genes: self.n_genes.clone(),
            no_count: self.no_count.clone(),
            hashed: self.hasher.so_far().clone(),
            x: x.so_far()?,
        };
        journal.save(self.partial.folder()).map_err(|error| StoreError::Input {
            path: self.path.clone(),
            problem: format!("how far it is cannot be noted: {error}"),
        })?;
        self.note_at = Instant::now() + NOTE_EVERY.0.max(begun.elapsed() * NOTE_EVERY.1);
        Ok(())
    }

    fn begin(path: &Path, genes: Frame, options: WriteOptions, keep: bool) -> Result<Self, StoreError> {
        let input = |problem: String| StoreError::Input { path: path.into(), problem };
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.into() });
        }
        if options.chunk_rows == 0 || options.shard_bytes == 0 {
            return Err(input("chunk_rows and shard_bytes must be above zero".into()));
        }
        if genes.index.is_empty() {
            return Err(input("a store needs at least one gene".into()));
        }
        check_frame(&genes, genes.index.len()).map_err(|problem| input(format!("var: {problem}")))?;
        let mut seen = HashSet::new();
        if let Some(twice) = genes.index.iter().find(|gene| !seen.insert(*gene)) {
            return Err(input(format!("gene {twice:?} occurs twice; gene names must be unique")));
        }
        let partial = Partial::take(path, keep)?;
        let zarr = ZarrWriter::new(partial.folder(), &path.display().to_string())?;
        Ok(Self {
            path: path.into(),
            partial,
            plan: None,
            note_at: Instant::now() + NOTE_EVERY.0,
            zarr,
            options,
            genes,
            x: None,
            layers: BTreeMap::new(),
            dense: BTreeMap::new(),
            dense_columns: BTreeMap::new(),
            hasher: BlockHasher::new(options.chunk_rows),
            library_size: Vec::new(),
            n_genes: Vec::new(),
            no_count: None,
        })
    }

    /// Appends cells to X.
    ///
    /// # Errors
    /// When the block is not sound, has another number of genes or a value that is not finite, or writing fails.
    pub fn append(&mut self, rows: &Csr) -> Result<(), StoreError> {
        self.check_block("X", rows)?;
        self.note(rows);
        if rows.n_rows() == 0 {
            return Ok(());
        }
        let shard_bytes = self.options.shard_bytes;
        let written = |error| StoreError::written(&self.path, AnnDataError::Zarr(error));
        let x = match &mut self.x {
            Some(x) => x,
            None => self.x.insert(CsrStream::new(&self.zarr, "X", rows.n_cols, shard_bytes)),
        };
        let widens = x.will_widen(rows);
        if widens && self.plan.is_some() {
            // What is noted would speak of files that are about to go.
            journal::remove(self.partial.folder()).map_err(StoreError::io(&self.path, "removing the journal"))?;
        }
        x.append(rows).map_err(written)?;
        self.hasher.update(rows);
        if widens || Instant::now() > self.note_at { self.note_progress() } else { Ok(()) }
    }

    /// Appends cells to the layer `name`, of as many columns as X.
    ///
    /// # Errors
    /// As [`StoreWriter::append`], or when the name cannot be a node.
    pub fn append_layer(&mut self, name: &str, rows: &Csr) -> Result<(), StoreError> {
        let node = self.node("layers", name)?;
        self.check_block(&node, rows)?;
        let shard_bytes = self.options.shard_bytes;
        let written = |error| StoreError::written(&self.path, AnnDataError::Zarr(error));
        if !self.layers.contains_key(name) {
            let layer = CsrStream::new(&self.zarr, &node, rows.n_cols, shard_bytes);
            self.layers.insert(name.into(), layer);
        }
        match self.layers.get_mut(name) {
            Some(layer) => layer.append(rows).map_err(written),
            None => Ok(()),
        }
    }

    /// Appends rows of `n_cols` values to the dense matrix `name` of `obsm`.
    ///
    /// # Errors
    /// When the values are no whole rows, `n_cols` changes between calls, or writing fails.
    pub fn append_obsm(&mut self, name: &str, n_cols: usize, values: &[f32]) -> Result<(), StoreError> {
        let node = self.node("obsm", name)?;
        let WriteOptions { chunk_rows, shard_bytes } = self.options;
        let dense = self
            .dense
            .entry(name.into())
            .or_insert_with(|| DenseStream::new(&self.zarr, &node, n_cols, chunk_rows, shard_bytes));
        if n_cols == 0 || dense.n_cols != n_cols || !values.len().is_multiple_of(n_cols) {
            let problem = format!(
                "{node}: {} values are no rows of {n_cols} columns, or it began with {} columns",
                values.len(),
                dense.n_cols
            );
            return Err(StoreError::Input { path: self.path.clone(), problem });
        }
        dense.append(values).map_err(|error| StoreError::written(&self.path, error))
    }

    /// Names the columns of the dense matrix `name` of `obsm`; they are kept as `uns/<name>_names`.
    pub fn name_columns(&mut self, name: &str, columns: Vec<String>) {
        self.dense_columns.insert(name.into(), columns);
    }

    /// Writes the tables and makes the store visible. The store's own columns (labels, `library_size`,
    /// `n_genes`) come first in `obs`; columns of `obs` of the same name are kept as `source_<name>`.
    ///
    /// # Errors
    /// When tables, labels, layers and X do not have the same cells, counts are not counts, or writing fails.
    pub fn finish(mut self, obs: Frame, labels: &Labels, info: StoreInfo) -> Result<CellStore, StoreError> {
        let info = StoreInfo { format: FORMAT, ..info };
        let obs = self.check_whole(obs, labels, info.value_kind)?;
        let nnz = self.x.as_ref().map_or(0, CsrStream::nnz);
        let blocks = std::mem::replace(&mut self.hasher, BlockHasher::new(1)).finish();
        let record = Record {
            chunk_rows: self.options.chunk_rows,
            targets: labels.perturbations.iter().map(|perturbation| perturbation.targets.clone()).collect(),
            data_hash: data_hash(info.value_kind, &self.genes.index, labels, nnz, &blocks),
            written_by: concat!("syncyte ", env!("CARGO_PKG_VERSION")).into(),
            info,
        };
        journal::remove(self.partial.folder()).map_err(StoreError::io(&self.path, "removing the journal"))?;
        self.write_rest(&obs, &record, blocks.as_flattened())
            .map_err(|error| StoreError::written(&self.path, error))?;
        CellStore::open(&self.partial.publish()?)
    }

    fn check_block(&self, node: &str, rows: &Csr) -> Result<(), StoreError> {
        let input = |problem: String| StoreError::Input { path: self.path.clone(), problem };
        rows.validate().map_err(|problem| input(format!("{node}: {problem}")))?;
        if rows.n_cols != self.genes.index.len() {
            return Err(input(format!("{node}: {} columns for {} genes", rows.n_cols, self.genes.index.len())));
        }
        let finite = |part: &[f32]| part.iter().fold(true, |so_far, value| so_far.min(value.is_finite()));
        if !rows.values.par_chunks(1 << 14).all(finite)
            && let Some(at) = rows.values.iter().position(|value| !value.is_finite())
        {
            let (row, gene) = self.place(rows, at);
            return Err(input(format!(
                "{node}: cell {row} of the block, gene {gene}: {} is not finite",
                rows.values[at]
            )));
        }
        Ok(())
    }

    fn place(&self, rows: &Csr, at: usize) -> (usize, &str) {
        let row = rows.indptr.partition_point(|&start| start <= at) - 1;
        (row, &self.genes.index[rows.indices[at] as usize])
    }

    /// Keeps what `obs` needs of the rows, and the first value that is no count.
    fn note(&mut self, rows: &Csr) {
        if self.no_count.is_none()
            && !rows.values.par_chunks(1 << 14).all(are_counts)
            && let Some(at) = rows.values.iter().position(|&value| value < 0.0 || value.fract() != 0.0)
        {
            let (row, gene) = self.place(rows, at);
            let cell = self.library_size.len() + row;
            self.no_count = Some(format!("cell {cell}, gene {gene}: {}", rows.values[at]));
        }
        let measured = (0..rows.n_rows()).into_par_iter().map(|row| {
            let (_, values) = rows.row(row);
            (row_sum(values), values.iter().filter(|&&value| value != 0.0).count() as u32)
        });
        let (sums, counts): (Vec<f32>, Vec<u32>) = measured.unzip();
        self.library_size.extend(sums);
        self.n_genes.extend(counts);
    }

    fn node(&self, group: &str, name: &str) -> Result<String, StoreError> {
        if name.is_empty() || name.contains('/') || name.starts_with("__") || name.starts_with('.') {
            let problem = format!("{group}: {name:?} cannot be the name of a node; rename it");
            return Err(StoreError::Input { path: self.path.clone(), problem });
        }
        Ok(format!("{group}/{name}"))
    }

    fn check_whole(&mut self, obs: Frame, labels: &Labels, kind: ValueKind) -> Result<Frame, StoreError> {
        let input = |problem: String| StoreError::Input { path: self.path.clone(), problem };
        let cells = self.library_size.len();
        if cells == 0 {
            return Err(input("no cells were appended; a store holds at least one".into()));
        }
        labels::check(labels, cells).map_err(input)?;
        let lengths = self.layers.iter().map(|(name, layer)| (name, layer.n_rows()));
        let lengths = lengths.chain(self.dense.iter().map(|(name, dense)| (name, dense.n_rows())));
        for (name, rows) in lengths {
            if rows != cells as u64 {
                return Err(input(format!("{name} has {rows} rows, X has {cells}")));
            }
        }
        match kind {
            ValueKind::Counts => {
                if let Some(place) = &self.no_count {
                    return Err(input(format!("{place} is no count; import raw counts, or declare the values log1p")));
                }
            }
            ValueKind::Log1p => self.library_size.fill(0.0),
        }
        let obs = labels::with_labels(obs, labels, &self.library_size, &self.n_genes);
        check_frame(&obs, cells)
            .map_err(|problem| StoreError::Input { path: self.path.clone(), problem: format!("obs: {problem}") })?;
        Ok(obs)
    }

    fn write_rest(&mut self, obs: &Frame, record: &Record, digests: &[u8]) -> Result<(), AnnDataError> {
        let dict = || encoding("dict", "0.1.0", Value::Null);
        if let Some(x) = self.x.take() {
            x.finish()?;
        }
        for group in ["layers", "obsm", "obsp", "varm", "varp", "uns"] {
            self.zarr.group(group, dict())?;
        }
        for (_, layer) in std::mem::take(&mut self.layers) {
            layer.finish()?;
        }
        for (_, dense) in std::mem::take(&mut self.dense) {
            dense.finish()?;
        }
        for (name, columns) in &self.dense_columns {
            write_text(&self.zarr, &format!("uns/{name}_names"), columns)?;
        }
        write_frame(&self.zarr, "obs", obs)?;
        write_frame(&self.zarr, "var", &self.genes)?;
        self.zarr.array(DIGESTS, &[(digests.len() / 32) as u64, 32], digests, array_encoding())?;
        let text = serde_json::to_string(record)
            .map_err(|error| AnnDataError::encoding(&self.path.display().to_string(), RECORD, error.to_string()))?;
        self.zarr.scalar(RECORD, &text, encoding("string", "0.2.0", Value::Null))?;
        Ok(self.zarr.group("", encoding("anndata", "0.1.0", Value::Null))?)
    }
}

#[cfg(test)]
impl StoreWriter {
    /// Ends as a kill would, some rows after the last note.
    pub(super) fn die(mut self, after: &Csr) {
        self.note_progress().unwrap();
        self.note_at = Instant::now() + Duration::from_hours(1);
        self.append(after).unwrap();
        self.partial.leave(true);
    }
}
