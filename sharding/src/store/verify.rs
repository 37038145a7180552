//! Checks a whole store.
//!
//! Guarantee: every chunk of every array is decoded; a missing or damaged file is found and named, and so is
//! content that passes its checksums but is not what was written: the digest of every block of rows, the hash
//! over genes and labels, and the columns that follow from X are taken anew. Memory holds one shard.

use std::path::Path;

use serde::Serialize;

use super::digest::{BlockHasher, data_hash, hex, row_sum};
use super::error::StoreError;
use super::info::ValueKind;
use super::reader::CellStore;
use crate::anndata::zarr::{NodeKind, ZarrReader};
use crate::csr::Csr;
use crate::frame::{ColumnData, Frame};

/// One thing that is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The array, and the file of the chunk where one is at fault.
    pub node: String,
    /// What is wrong.
    pub problem: String,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Chunks decoded.
    pub chunks: u64,
    /// Blocks of rows whose digest was taken.
    pub blocks: u64,
    /// Cells read.
    pub cells: u64,
    /// Everything that is wrong; empty for a sound store.
    pub faults: Vec<Fault>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, node: impl Into<String>, problem: impl ToString) {
        self.faults.push(Fault { node: node.into(), problem: problem.to_string() });
    }
}

/// Decodes and checks all of the store at `path`.
///
/// # Errors
/// When there is no folder at `path` or its folders cannot be listed. Damage is no error: it is in the faults.
pub fn verify(path: &Path) -> Result<Verification, StoreError> {
    if !path.is_dir() {
        return Err(StoreError::NotAStore { path: path.into(), problem: "there is no such folder".into() });
    }
    let reader = ZarrReader::open(path)?;
    let mut found = Verification::default();
    walk(&reader, "", &mut found)?;
    // Content is only worth comparing once every chunk decodes.
    if found.is_sound() {
        match CellStore::open(path) {
            Ok(store) => check_content(&store, &mut found),
            Err(error) => found.fault("/", error),
        }
    }
    Ok(found)
}

fn walk(reader: &ZarrReader, node: &str, found: &mut Verification) -> Result<(), StoreError> {
    match reader.kind(node) {
        Err(error) => found.fault(error.node(), error.cause()),
        Ok(None) => found.fault(if node.is_empty() { "/" } else { node }, "the metadata (zarr.json) is missing"),
        Ok(Some(NodeKind::Array)) => match reader.array(node) {
            Err(error) => found.fault(error.node(), error.cause()),
            Ok(array) => {
                let (chunks, faults) = array.check_all();
                found.chunks += chunks;
                found.faults.extend(
                    faults.iter().map(|error| Fault { node: error.node().into(), problem: error.cause().into() }),
                );
            }
        },
        Ok(Some(NodeKind::Group)) => {
            for child in reader.children(node)? {
                let child = if node.is_empty() { child } else { format!("{node}/{child}") };
                walk(reader, &child, found)?;
            }
        }
    }
    Ok(())
}

fn check_content(store: &CellStore, found: &mut Verification) {
    let recorded = match store.block_digests() {
        Ok(recorded) => recorded,
        Err(error) => return found.fault("uns/syncyte_block_sha256", error),
    };
    let rows = store.chunk_rows();
    let blocks = store.n_cells().div_ceil(rows);
    if recorded.len() != blocks {
        found.fault("uns/syncyte_block_sha256", format!("{} digests for {blocks} blocks of rows", recorded.len()));
        return;
    }
    let mut library_size = Vec::with_capacity(store.n_cells());
    for (block, digest) in recorded.iter().enumerate() {
        let span = block * rows..((block + 1) * rows).min(store.n_cells());
        let node = format!("X (rows {} to {})", span.start, span.end - 1);
        match store.read_rows(span) {
            Err(error) => found.fault(node, error),
            Ok(cells) => {
                check_block(store, &cells, digest, &node, found);
                library_size.extend((0..cells.n_rows()).map(|row| row_sum(cells.row(row).1)));
            }
        }
        found.blocks += 1;
    }
    found.cells = library_size.len() as u64;
    check_tables(store, &library_size, found);
    let kind = store.info().value_kind;
    if data_hash(kind, store.genes(), store.labels(), store.nnz(), &recorded) != store.data_hash() {
        found.fault("uns/syncyte", "genes, labels and digests do not have the recorded data hash");
    }
}

fn check_block(store: &CellStore, cells: &Csr, digest: &[u8; 32], node: &str, found: &mut Verification) {
    let mut hasher = BlockHasher::new(cells.n_rows());
    hasher.update(cells);
    if let [taken] = hasher.finish().as_slice()
        && taken != digest
    {
        found.fault(node, format!("SHA-256 {} is not the recorded {}", hex(taken), hex(digest)));
    }
    if let Some(value) = cells.values.iter().find(|value| !value.is_finite()) {
        found.fault(node, format!("there is a value {value}"));
    }
    let counts = store.info().value_kind == ValueKind::Counts;
    if let Some(value) = cells.values.iter().find(|&&value| counts && (value < 0.0 || value.fract() != 0.0)) {
        found.fault(node, format!("{value} is no count"));
    }
}

fn check_tables(store: &CellStore, row_sums: &[f32], found: &mut Verification) {
    let counts = store.info().value_kind == ValueKind::Counts;
    let wrong = store
        .library_size()
        .iter()
        .zip(row_sums)
        .position(|(kept, sum)| kept.to_bits() != if counts { sum.to_bits() } else { 0 });
    if let Some(cell) = wrong {
        let problem = format!("cell {cell} has {}, its row sums to {}", store.library_size()[cell], row_sums[cell]);
        found.fault("obs/library_size", problem);
    }
    match store.obs() {
        Err(error) => found.fault("obs", error),
        Ok(obs) => check_controls(store, obs, found),
    }
    if let Err(error) = store.var() {
        found.fault("var", error);
    }
}

fn check_controls(store: &CellStore, obs: &Frame, found: &mut Verification) {
    let Some(ColumnData::Bool(is_control)) = obs.column("is_control") else {
        return found.fault("obs/is_control", "the column is missing or not boolean");
    };
    if let Some(cell) = (0..store.n_cells()).find(|&cell| is_control[cell] != store.labels().is_control(cell)) {
        found.fault("obs/is_control", format!("cell {cell} is {}, its perturbation says otherwise", is_control[cell]));
    }
}
