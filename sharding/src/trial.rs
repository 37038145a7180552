//! What the tests of this crate share: rows in memory, and small stores.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use crate::csr::Csr;
use crate::frame::Frame;
use crate::labels::{Labels, Perturbation};
use crate::store::{CellStore, StoreInfo, StoreWriter, ValueKind, WriteOptions};
use crate::sweep::Rows;

/// Rows held in memory.
pub(crate) struct Memory {
    pub(crate) cells: Csr,
    pub(crate) chunk_rows: usize,
}

impl Rows for Memory {
    fn name(&self) -> String {
        "rows in memory".into()
    }

    fn n_cells(&self) -> usize {
        self.cells.n_rows()
    }

    fn n_genes(&self) -> usize {
        self.cells.n_cols
    }

    fn chunk_rows(&self) -> usize {
        self.chunk_rows
    }

    fn read(&self, rows: Range<usize>) -> Result<Csr, Box<dyn Error + Send + Sync>> {
        let mut block = Csr::empty(self.cells.n_cols);
        for row in rows {
            let (columns, values) = self.cells.row(row);
            block.push_row(columns, values);
        }
        Ok(block)
    }
}

/// The block of dense rows, zeros left out.
pub(crate) fn csr(rows: &[Vec<f32>]) -> Csr {
    let mut block = Csr::empty(rows.first().map_or(0, Vec::len));
    for row in rows {
        let stored = (0_u32..).zip(row).filter(|(_, value)| **value != 0.0);
        let (columns, values): (Vec<u32>, Vec<f32>) = stored.map(|(column, value)| (column, *value)).unzip();
        block.push_row(&columns, &values);
    }
    block
}

/// Labels of cells of one context and batch: `perturbation[cell]` is an index into the control and `conditions`.
pub(crate) fn labels(conditions: &[&str], perturbation: Vec<u32>) -> Labels {
    let of = |name: &&str| Perturbation::of(name.split('+').map(str::to_owned));
    let n = perturbation.len();
    Labels {
        perturbations: std::iter::once(Perturbation::control()).chain(conditions.iter().map(of)).collect(),
        perturbation,
        contexts: vec!["all".into()],
        context: vec![0; n],
        batches: vec!["all".into()],
        batch: vec![0; n],
        kinds: vec!["unknown".into()],
        kind: vec![0; n],
    }
}

/// A table of `count` rows named `prefix` and a number.
pub(crate) fn names(prefix: &str, count: usize) -> Frame {
    Frame { index: (0..count).map(|at| format!("{prefix}{at}")).collect(), columns: Vec::new() }
}

/// A store of `cells` with genes named `g0`, `g1` …
pub(crate) fn store(path: &Path, cells: &Csr, labels: &Labels, kind: ValueKind) -> CellStore {
    let options = WriteOptions { chunk_rows: 16, shard_bytes: 1 << 14 };
    let mut writer = StoreWriter::create(path, names("g", cells.n_cols), options).unwrap();
    writer.append(cells).unwrap();
    writer.finish(names("cell", cells.n_rows()), labels, StoreInfo::new(kind)).unwrap()
}
