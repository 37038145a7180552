//! Small stores for the tests.

use std::path::Path;
use std::sync::Arc;

use syncyte_sharding::csr::Csr;
use syncyte_sharding::frame::Frame;
use syncyte_sharding::labels::{Labels, Perturbation};
use syncyte_sharding::loader::{LoadedBatch, RowReader};
use syncyte_sharding::philox::{Philox, Purpose};
use syncyte_sharding::store::{CellStore, StoreInfo, StoreWriter, ValueKind, WriteOptions};

/// What a store is made of.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) seed: u64,
    pub(crate) cells: usize,
    pub(crate) genes: usize,
    pub(crate) largest: u64,
    pub(crate) chunk_rows: usize,
    pub(crate) shard_bytes: usize,
}

impl Recipe {
    /// Some shards of each array, and chunks that do not divide them.
    pub(crate) fn small() -> Self {
        Self { seed: 5, cells: 331, genes: 173, largest: 40, chunk_rows: 23, shard_bytes: 1 << 13 }
    }

    pub(crate) fn write(&self, path: &Path) -> CellStore {
        let names =
            |prefix: &str, n: usize| Frame { index: (0..n).map(|i| format!("{prefix}{i}")).collect(), columns: vec![] };
        let options = WriteOptions { chunk_rows: self.chunk_rows, shard_bytes: self.shard_bytes };
        let mut writer = StoreWriter::create(path, names("G", self.genes), options).unwrap();
        for start in (0..self.cells).step_by(100) {
            writer.append(&self.rows(start, self.cells.min(start + 100))).unwrap();
        }
        writer.finish(names("cell", self.cells), &self.labels(), StoreInfo::new(ValueKind::Counts)).unwrap()
    }

    fn rows(&self, start: usize, end: usize) -> Csr {
        let mut rows = Csr::empty(self.genes);
        for row in start..end {
            let mut random = Philox::new(self.seed, Purpose::Trial, 1, row as u64);
            let kept = random.below(100);
            let columns: Vec<u32> = (0..self.genes as u32).filter(|_| random.below(100) < kept).collect();
            let values: Vec<f32> = columns.iter().map(|_| 1.0 + random.below(self.largest) as f32).collect();
            rows.push_row(&columns, &values);
        }
        rows
    }

    fn labels(&self) -> Labels {
        let mut random = Philox::new(self.seed, Purpose::Trial, 2, 0);
        let mut draw = |n: u64| (0..self.cells).map(|_| random.below(n) as u32).collect();
        let mut perturbations = vec![Perturbation::control()];
        perturbations.extend((0..9).map(|gene| Perturbation::of([format!("G{gene}")])));
        Labels {
            perturbations,
            perturbation: draw(10),
            contexts: vec!["K562".into(), "RPE1".into()],
            context: draw(2),
            batches: vec!["1".into(), "2".into(), "3".into()],
            batch: draw(3),
            kinds: vec!["CRISPRi".into(), "CRISPRa".into()],
            kind: draw(2),
        }
    }
}

/// Checksum of a row: columns as `u32` and values as `f32`, little-endian.
pub(crate) fn checksum(columns: &[u32], values: &[f32]) -> u32 {
    let columns: Vec<u8> = columns.iter().flat_map(|column| column.to_le_bytes()).collect();
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    crc32c::crc32c_append(crc32c::crc32c(&columns), &values)
}

/// Checksums of the rows of a batch, with the rows.
pub(crate) fn checksums(batch: &LoadedBatch) -> Vec<(u64, u32)> {
    let sum = |(at, &row): (usize, &u64)| {
        let (columns, values) = batch.cells.row(at);
        (row, checksum(&columns, &values))
    };
    batch.rows.iter().enumerate().map(sum).collect()
}

/// Checksums of all rows through the loader.
pub(crate) fn all_checksums<R: RowReader>(reader: &Arc<R>) -> Vec<u32> {
    use syncyte_sharding::loader::{BatchRequest, Loader, LoaderConfig};
    let rows: Vec<u64> = (0..reader.n_cells() as u64).collect();
    let requests: Vec<BatchRequest> = (0..)
        .zip(rows.chunks(37))
        .map(|(step, rows)| BatchRequest { step, rows: rows.to_vec(), partners: Vec::new() })
        .collect();
    let loader = Loader::new(reader, requests, &LoaderConfig::default()).unwrap();
    loader.flat_map(|batch| checksums(&batch.unwrap())).map(|(_, sum)| sum).collect()
}
