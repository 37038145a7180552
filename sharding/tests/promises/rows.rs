//! The rows that come out of the loader, against those that a naive reader finds in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use syncyte_sharding::labels::Labels;
use syncyte_sharding::loader::{BatchRequest, Loader, LoaderConfig};
use syncyte_sharding::order::{Order, OrderConfig};
use syncyte_sharding::split::{Fold, Scheme, Split, SplitOptions};
use syncyte_sharding::store::CellStore;

use crate::cells::{Recipe, checksums};
use crate::naive::Naive;

fn recipes() -> impl Strategy<Value = Recipe> {
    let largest = prop::sample::select(vec![3_u64, 200, 1000, 70_000]);
    (any::<u64>(), 60_usize..500, 20_usize..200, largest, 1_usize..90, 1_usize..40_000).prop_map(
        |(seed, cells, genes, largest, chunk_rows, shard_bytes)| Recipe {
            seed,
            cells,
            genes,
            largest,
            chunk_rows,
            shard_bytes,
        },
    )
}

/// Labels of a cell: perturbation, context, batch and kind.
fn labels_of(labels: &Labels, cell: usize) -> [String; 4] {
    [
        labels.perturbations[labels.perturbation[cell] as usize].name.clone(),
        labels.contexts[labels.context[cell] as usize].clone(),
        labels.batches[labels.batch[cell] as usize].clone(),
        labels.kinds[labels.kind[cell] as usize].clone(),
    ]
}

/// Rows with their checksums, by step, as the ranks of a world load them from `start` on.
fn run(
    store: &Arc<CellStore>,
    rows: &[u64],
    settings: &OrderConfig,
    config: &LoaderConfig,
    world: usize,
    steps: std::ops::Range<u64>,
) -> BTreeMap<u64, Vec<(u64, u32)>> {
    let mut found: BTreeMap<u64, Vec<(u64, u32)>> = BTreeMap::new();
    for rank in 0..world {
        let order = Order::new(rows.len(), settings.clone()).unwrap();
        let fold = rows.to_vec();
        let requests = steps.clone().map(move |step| {
            let positions = order.rank_batch(0, step, rank, world).unwrap();
            let rows = positions.iter().map(|&at| fold[at as usize]).collect();
            BatchRequest { step, rows, partners: Vec::new() }
        });
        for batch in Loader::new(store, requests, config).unwrap() {
            let batch = batch.unwrap();
            found.entry(batch.step).or_default().extend(checksums(&batch));
        }
    }
    for rows in found.values_mut() {
        rows.sort_unstable();
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_row_of_a_fold_is_the_one_a_naive_reader_finds_at_every_rank_count_and_after_a_restart(
        recipe in recipes(),
        (log_streams, share, block_rows, window_blocks) in (0_u32..5, 1_usize..4, 1_usize..60, 1_usize..4),
        (threads, depth, cache_bytes) in (1_usize..4, 1_usize..5, prop::sample::select(vec![0, 5000, 1 << 22])),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.zarr");
        recipe.write(&path);
        let (store, naive) = (Arc::new(CellStore::open(&path).unwrap()), Naive::open(&path));
        let expected = naive.checksums();
        prop_assert_eq!(expected.len(), store.n_cells());
        let names = ["perturbation", "context", "batch", "perturbation_kind"].map(|column| naive.labels(column));
        for cell in 0..store.n_cells() {
            prop_assert_eq!(labels_of(store.labels(), cell), names.each_ref().map(|column| column[cell].clone()));
        }

        let split = Split::make(store.labels(), store.data_hash(), &SplitOptions::new(Scheme::Cells)).unwrap();
        let rows = split.rows(Fold::Train);
        let streams = 1 << log_streams;
        let seed = recipe.seed ^ 1;
        let batch = (streams * share).min(rows.len() / streams * streams).max(streams);
        let settings = OrderConfig { seed, streams, block_rows, window_blocks, batch };
        let config = LoaderConfig { threads, depth, cache_bytes, ..LoaderConfig::default() };
        let epoch = Order::new(rows.len(), settings.clone()).unwrap().steps_per_epoch();
        let whole = run(&store, &rows, &settings, &config, 1, 0..epoch);
        let mut seen: Vec<u64> = whole.values().flatten().map(|&(row, _)| row).collect();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len() as u64, epoch * batch as u64);
        prop_assert!(seen.iter().all(|row| split.fold_of(*row as usize) == Fold::Train));
        for &(row, sum) in whole.values().flatten() {
            prop_assert_eq!(sum, expected[row as usize], "row {}", row);
        }
        // A restart with another number of ranks, at any step, sees the rest of the same run.
        let start = cut.index(epoch as usize) as u64;
        let world = 1 << (recipe.seed % u64::from(log_streams + 1));
        let resumed = run(&store, &rows, &settings, &config, world, start..epoch);
        let rest: BTreeMap<_, _> = whole.into_iter().filter(|(step, _)| *step >= start).collect();
        prop_assert_eq!(resumed, rest, "from step {} on {} ranks", start, world);
    }
}

#[test]
fn the_store_of_these_tests_has_several_shards_and_chunks_that_do_not_divide() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cells.zarr");
    let recipe = Recipe::small();
    let store = recipe.write(&path);
    assert!(!store.n_cells().is_multiple_of(store.chunk_rows()));
    for array in ["X/data", "X/indices"] {
        let shards = std::fs::read_dir(path.join(array).join("c")).unwrap().count();
        assert!(shards > 2, "{array} has {shards} shards");
    }
    let (naive, store) = (Naive::open(&path), Arc::new(store));
    assert_eq!(crate::cells::all_checksums(&store), naive.checksums());
    let [first, last] = [0, store.n_cells() - 1].map(|row| naive.row(row));
    assert_ne!(first, last, "rows differ, so their checksums tell them apart");
}
