//! From a store on disk to batches: split, order, pairing and loader together.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helper functions too")]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use syncyte_sharding::csr::Csr;
use syncyte_sharding::frame::Frame;
use syncyte_sharding::labels::{Labels, Perturbation};
use syncyte_sharding::loader::{BatchRequest, LoadedBatch, Loader, LoaderConfig, LoaderError};
use syncyte_sharding::order::{Order, OrderConfig};
use syncyte_sharding::pairing::Pairing;
use syncyte_sharding::philox::{Philox, Purpose};
use syncyte_sharding::split::{Fold, Scheme, Split, SplitOptions};
use syncyte_sharding::store::{CellStore, StoreInfo, StoreWriter, ValueKind, WriteOptions};

const CELLS: usize = 3000;
const GENES: usize = 40;

fn labels() -> Labels {
    let mut random = Philox::new(1, Purpose::Trial, 0, 0);
    let mut draw = |n: u64| (0..CELLS).map(|_| random.below(n) as u32).collect();
    let mut perturbations = vec![Perturbation::control()];
    perturbations.extend((0..9).map(|gene| Perturbation::of([format!("G{gene}")])));
    Labels {
        perturbations,
        perturbation: draw(10),
        contexts: vec!["K562".into(), "RPE1".into()],
        context: draw(2),
        batches: vec!["1".into(), "2".into(), "3".into()],
        batch: draw(3),
        kinds: vec!["CRISPRi".into()],
        kind: vec![0; CELLS],
    }
}

fn write_store(path: &Path, labels: &Labels) -> CellStore {
    let index =
        |n: usize, prefix: &str| Frame { index: (0..n).map(|i| format!("{prefix}{i}")).collect(), columns: vec![] };
    let options = WriteOptions { chunk_rows: 50, ..WriteOptions::default() };
    let mut writer = StoreWriter::create(path, index(GENES, "G"), options).unwrap();
    let mut random = Philox::new(2, Purpose::Trial, 0, 0);
    let mut cells = Csr::empty(GENES);
    for _ in 0..CELLS {
        let genes: Vec<u32> = (0..GENES as u32).filter(|_| random.below(3) == 0).collect();
        let counts: Vec<f32> = genes.iter().map(|_| 1.0 + random.below(20) as f32).collect();
        cells.push_row(&genes, &counts);
    }
    writer.append(&cells).unwrap();
    writer.finish(index(CELLS, "cell"), labels, StoreInfo::new(ValueKind::Counts)).unwrap()
}

fn wide<I: AsRef<[u32]>, V: AsRef<[f32]>>((indices, values): (I, V)) -> (Vec<u32>, Vec<f32>) {
    (indices.as_ref().to_vec(), values.as_ref().to_vec())
}

/// One epoch of a rank, through everything.
fn epoch(store: &Arc<CellStore>, split: &Split, rank: usize, world: usize) -> Vec<LoadedBatch> {
    let rows = split.rows(Fold::Train);
    let settings = OrderConfig { seed: 7, streams: 8, block_rows: 50, window_blocks: 2, batch: 64 };
    let order = Order::new(rows.len(), settings.clone()).unwrap();
    let pairing = Pairing::new(store.labels(), &rows, 7).unwrap();
    let config = LoaderConfig {
        cache_bytes: LoaderConfig::cache_for(&settings, world, rows.len(), &**store),
        hold: rows.iter().copied().filter(|&row| store.labels().is_control(row as usize)).collect(),
        ..LoaderConfig::default()
    };
    let requests = (0..order.steps_per_epoch()).map(move |step| {
        let positions = order.rank_batch(0, step, rank, world).unwrap();
        let cells: Vec<u64> = positions.iter().map(|&at| rows[at as usize]).collect();
        BatchRequest { step, partners: pairing.partners(0, &cells).unwrap(), rows: cells }
    });
    Loader::new(store, requests, &config).unwrap().map(Result::unwrap).collect()
}

#[test]
fn an_epoch_delivers_each_training_row_as_the_store_has_it_at_every_world_size() {
    let folder = tempfile::tempdir().unwrap();
    let (labels, path) = (labels(), folder.path().join("cells.zarr"));
    let store = Arc::new(write_store(&path, &labels));
    let split_path = folder.path().join("split.json");
    let options = SplitOptions::new(Scheme::Cells);
    Split::make(store.labels(), store.data_hash(), &options).unwrap().save(&split_path).unwrap();
    let split = Split::load(&split_path, &store).unwrap();
    let whole = store.read_rows(0..CELLS).unwrap();

    let mut of_one_rank: Vec<HashSet<(u64, u64)>> = Vec::new();
    for world in [1, 2, 4] {
        let mut pairs = vec![HashSet::new(); split.rows(Fold::Train).len() / 64];
        let mut seen = HashSet::new();
        for batch in (0..world).flat_map(|rank| epoch(&store, &split, rank, world)) {
            let partners = batch.partners.unwrap();
            for (at, (&row, &partner)) in batch.rows.iter().zip(&partners.rows).enumerate() {
                assert!(seen.insert(row), "row {row} came twice");
                assert_eq!(wide(batch.cells.row(at)), wide(whole.row(row as usize)));
                assert_eq!(wide(partners.cells.row(at)), wide(whole.row(partner as usize)));
                assert!(labels.is_control(partner as usize));
                assert!([row, partner].iter().all(|&cell| split.fold_of(cell as usize) == Fold::Train));
                assert_eq!(labels.context[row as usize], labels.context[partner as usize]);
                pairs[batch.step as usize].insert((row, partner));
            }
        }
        assert!(split.rows(Fold::Train).len() - seen.len() < 64);
        if world == 1 {
            of_one_rank = pairs;
        } else {
            assert_eq!(pairs, of_one_rank, "{world} ranks pair otherwise than one");
        }
    }
}

#[test]
fn a_split_of_another_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut labels = labels();
    let first = write_store(&folder.path().join("first.zarr"), &labels);
    labels.perturbation.swap(0, 1);
    labels.perturbation.rotate_left(1);
    let second = write_store(&folder.path().join("second.zarr"), &labels);
    let path = folder.path().join("split.json");
    let split = Split::make(first.labels(), first.data_hash(), &SplitOptions::new(Scheme::Cells)).unwrap();
    split.save(&path).unwrap();
    let message = Split::load(&path, &second).unwrap_err().to_string();
    assert!(message.contains(first.data_hash()) && message.contains(second.data_hash()), "{message}");
}

#[test]
fn a_damaged_chunk_ends_the_run_with_its_store_and_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cells.zarr");
    let store = Arc::new(write_store(&path, &labels()));
    damage_files(&path.join("X"));
    let requests: Vec<BatchRequest> =
        (0..60).map(|step| BatchRequest { step, rows: vec![step * 50], partners: Vec::new() }).collect();
    let outcomes: Vec<_> = Loader::new(&store, requests, &LoaderConfig::default()).unwrap().collect();
    let Some(Err(error @ LoaderError::Chunk { .. })) = outcomes.last() else { panic!("no chunk was refused") };
    let message = error.to_string();
    assert!(message.contains("cells.zarr") && message.contains("step") && message.contains("chunk"), "{message}");
}

/// Flips a byte in the middle of every large file.
fn damage_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage_files(&path);
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        if middle > 5000 {
            bytes[middle] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
        }
    }
}
