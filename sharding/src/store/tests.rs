//! Promises of the store: what is written is read, a store is whole or absent, damage is named.

use std::path::Path;

use proptest::prelude::*;

use super::{
    CellStore, LabelEntropy, StoreError, StoreInfo, StoreWriter, ValueKind, WriteOptions, inspect, usual_order, verify,
};
use crate::csr::Csr;
use crate::frame::{Column, ColumnData, Frame};
use crate::labels::{Labels, Perturbation};
use crate::order::Order;
use crate::philox::{Philox, Purpose};

/// Cells × genes of counts in some pattern, with empty rows among them.
pub(super) fn counts(cells: usize, genes: usize) -> Csr {
    let mut block = Csr::empty(genes);
    for cell in 0..cells {
        let columns: Vec<u32> =
            (0..genes as u32).filter(|gene| (cell as u32 * 7 + gene * 3) % 5 < 2 && cell % 9 != 4).collect();
        let values: Vec<f32> = columns.iter().map(|gene| ((cell as u32 + gene) % 11 + 1) as f32).collect();
        block.push_row(&columns, &values);
    }
    block
}

pub(super) fn names(prefix: &str, count: usize) -> Frame {
    Frame { index: (0..count).map(|at| format!("{prefix}{at}")).collect(), columns: Vec::new() }
}

/// Labels that change every `run` cells.
pub(super) fn labels(cells: usize, run: usize) -> Labels {
    let targets = ["A", "B", "A+B"].map(|name| Perturbation::of(name.split('+').map(str::to_owned)));
    let mut perturbations = vec![Perturbation::control()];
    perturbations.extend(targets);
    perturbations[1..].sort();
    Labels {
        perturbation: (0..cells).map(|cell| (cell / run % 4) as u32).collect(),
        perturbations,
        contexts: vec!["K562".into(), "RPE1".into()],
        context: (0..cells).map(|cell| (cell % 2) as u32).collect(),
        batches: vec!["all".into()],
        batch: vec![0; cells],
        kinds: vec!["CRISPRi".into()],
        kind: vec![0; cells],
    }
}

/// A small store of several blocks and shards.
pub(super) fn small_store(path: &Path, cells: usize, genes: usize) -> CellStore {
    let options = WriteOptions { chunk_rows: 8, shard_bytes: 1 << 13 };
    let mut writer = StoreWriter::create(path, names("gene", genes), options).unwrap();
    writer.append(&counts(cells, genes)).unwrap();
    writer.append_layer("again", &counts(cells, genes)).unwrap();
    writer.append_obsm("X_pca", 2, &vec![0.5; 2 * cells]).unwrap();
    writer.finish(names("cell", cells), &labels(cells, 5), StoreInfo::new(ValueKind::Counts)).unwrap()
}

fn column(rows: usize) -> impl Strategy<Value = ColumnData> {
    let text = "[a-zäλ ]{0,6}";
    prop_oneof![
        prop::collection::vec(-1_i32..3, rows).prop_map(|codes| ColumnData::Categorical {
            codes,
            categories: ["b", "a", ""].map(String::from).to_vec(),
            ordered: true
        }),
        prop::collection::vec(-1e9_f64..1e9, rows).prop_map(ColumnData::Float),
        prop::collection::vec(any::<i64>(), rows).prop_map(ColumnData::Int),
        prop::collection::vec(prop::option::of(1_i64..99), rows).prop_map(ColumnData::NullableInt),
        prop::collection::vec(any::<bool>(), rows).prop_map(ColumnData::Bool),
        prop::collection::vec(prop::option::of(Just(true)), rows).prop_map(ColumnData::NullableBool),
        prop::collection::vec(text, rows).prop_map(ColumnData::Text),
        prop::collection::vec(prop::option::of("[a-z]{1,6}"), rows).prop_map(ColumnData::NullableText),
    ]
}

fn frame(rows: usize) -> impl Strategy<Value = Frame> {
    prop::collection::vec(column(rows), 0..4).prop_map(move |columns| Frame {
        index: (0..rows).map(|row| format!("row{row}")).collect(),
        columns: columns
            .into_iter()
            .enumerate()
            .map(|(at, data)| Column { name: format!("column {at}"), data })
            .collect(),
    })
}

fn block(rows: usize, genes: usize) -> impl Strategy<Value = Csr> {
    let value = prop_oneof![Just(0.0_f32), any::<f32>().prop_filter("finite", |value| value.is_finite())];
    prop::collection::vec(prop::collection::btree_map(0..genes as u32, value, 0..=genes), rows).prop_map(move |rows| {
        let mut block = Csr::empty(genes);
        for row in rows {
            let (columns, values): (Vec<u32>, Vec<f32>) = row.into_iter().unzip();
            block.push_row(&columns, &values);
        }
        block
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn what_is_written_is_read_bit_for_bit(
        (x, obs, var) in (1_usize..40, 1_usize..20).prop_flat_map(|(cells, genes)| (block(cells, genes), frame(cells), frame(genes))),
        cut in 0_usize..40,
        chunk_rows in 1_usize..9,
        run in 1_usize..9,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.zarr");
        let (cells, cut) = (x.n_rows(), cut.min(x.n_rows()));
        let mut writer = StoreWriter::create(&path, var.clone(), WriteOptions { chunk_rows, shard_bytes: 4096 }).unwrap();
        for rows in [0..cut, cut..cells] {
            let mut part = Csr::empty(x.n_cols);
            for row in rows {
                let (columns, values) = x.row(row);
                part.push_row(columns, values);
            }
            writer.append(&part).unwrap();
        }
        let written = labels(cells, run);
        let store = writer.finish(obs.clone(), &written, StoreInfo::new(ValueKind::Log1p)).unwrap();
        prop_assert_eq!(store.read_rows(0..cells).unwrap(), x.clone());
        let middle = store.read_rows(cut / 2..cut).unwrap();
        for row in cut / 2..cut {
            prop_assert_eq!(middle.row(row - cut / 2), x.row(row));
        }
        prop_assert_eq!(store.labels(), &written);
        prop_assert_eq!(store.genes(), &var.index);
        prop_assert_eq!(store.var().unwrap(), &var);
        let read = store.obs().unwrap();
        prop_assert_eq!(&read.index, &obs.index);
        prop_assert_eq!(&read.columns[7..], &obs.columns);
        prop_assert_eq!(store.nnz(), x.nnz() as u64);
    }
}

#[test]
fn library_sizes_are_row_sums_and_columns_of_the_source_keep_their_values_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.zarr");
    let mut writer = StoreWriter::create(&path, names("gene", 3), WriteOptions::default()).unwrap();
    let mut x = Csr::empty(3);
    x.push_row(&[0, 2], &[2.0, 5.0]);
    x.push_row(&[], &[]);
    writer.append(&x).unwrap();
    let mut obs = names("cell", 2);
    obs.columns.push(Column { name: "batch".into(), data: ColumnData::Int(vec![7, 8]) });
    let store = writer.finish(obs, &labels(2, 1), StoreInfo::new(ValueKind::Counts)).unwrap();
    assert_eq!(store.library_size(), [7.0, 0.0]);
    assert_eq!(store.obs().unwrap().column("source_batch"), Some(&ColumnData::Int(vec![7, 8])));
    assert_eq!(store.obs().unwrap().column("n_genes"), Some(&ColumnData::Int(vec![2, 0])));
}

#[test]
fn nothing_is_left_when_a_writer_is_dropped_and_what_is_there_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.zarr");
    let mut writer = StoreWriter::create(&path, names("gene", 4), WriteOptions::default()).unwrap();
    writer.append(&counts(9, 4)).unwrap();
    let hidden = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    assert!(matches!(CellStore::open(&path), Err(StoreError::NotAStore { .. })));
    assert!(matches!(CellStore::open(&hidden), Err(StoreError::NotAStore { .. })));
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    small_store(&path, 20, 6);
    let error = StoreWriter::create(&path, names("gene", 4), WriteOptions::default()).err().unwrap();
    assert!(error.to_string().contains("choose another path"), "{error}");
}

#[test]
fn input_that_makes_no_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.zarr");
    let begin = || {
        let mut writer = StoreWriter::create(&path, names("gene", 4), WriteOptions::default()).unwrap();
        writer.append(&counts(9, 4)).unwrap();
        writer
    };
    let mut half = Csr::empty(4);
    half.push_row(&[2], &[1.5]);
    let mut writer = begin();
    writer.append(&half).unwrap();
    let error = writer.finish(names("cell", 10), &labels(10, 2), StoreInfo::new(ValueKind::Counts)).err().unwrap();
    assert!(error.to_string().contains("cell 9, gene gene2: 1.5 is no count"), "{error}");

    half.values[0] = f32::NAN;
    let error = begin().append(&half).unwrap_err();
    assert!(error.to_string().contains("gene gene2: NaN is not finite"), "{error}");

    let error = begin().append(&counts(1, 5)).unwrap_err();
    assert!(error.to_string().contains("5 columns for 4 genes"), "{error}");

    let error = begin().finish(names("cell", 8), &labels(9, 2), StoreInfo::new(ValueKind::Counts)).err().unwrap();
    assert!(error.to_string().contains("8 names for 9 rows"), "{error}");

    let mut twice = names("gene", 4);
    twice.index[3] = "gene1".into();
    let error = StoreWriter::create(&path, twice, WriteOptions::default()).err().unwrap();
    assert!(error.to_string().contains("gene \"gene1\" occurs twice"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn many_threads_read_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = small_store(&folder.path().join("store.zarr"), 300, 40);
    let whole = counts(300, 40);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, whole) = (&store, &whole);
            scope.spawn(move || {
                for start in (thread..290).step_by(7) {
                    let block = store.read_rows(start..start + 10).unwrap();
                    for row in 0..10 {
                        assert_eq!(block.row(row), whole.row(start + row));
                    }
                }
            });
        }
    });
    let layer = store.layer("again").unwrap();
    assert_eq!(layer.read_rows(0..300).unwrap(), whole);
    assert_eq!(store.read_obsm("X_pca", 3..5).unwrap(), (2, vec![0.5; 4]));
}

#[test]
fn equal_content_has_an_equal_hash_and_equal_files() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["a.zarr", "b.zarr"].map(|name| small_store(&folder.path().join(name), 60, 12));
    assert_eq!(first.data_hash(), second.data_hash());
    assert_eq!(first.data_hash().len(), 64);
    let other = small_store(&folder.path().join("c.zarr"), 61, 12);
    assert_ne!(first.data_hash(), other.data_hash());
    let shard = "X/data/c/0";
    let [left, right] = [&first, &second].map(|store| std::fs::read(store.path().join(shard)).unwrap());
    assert_eq!(left, right);
}

/// Every file of a store that holds a chunk.
fn chunk_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(chunk_files(&path));
        } else if path.file_name().unwrap() != "zarr.json" {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn a_flipped_byte_in_any_chunk_file_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.zarr");
    small_store(&path, 90, 60);
    let sound = verify(&path).unwrap();
    assert!(sound.is_sound(), "{:?}", sound.faults);
    assert_eq!((sound.blocks, sound.cells), (12, 90));
    let files = chunk_files(&path);
    assert_eq!(sound.chunks, files.len() as u64);
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(&path).unwrap().to_str().unwrap();
        for at in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&file, damaged).unwrap();
            let found = verify(&path).unwrap();
            assert!(found.faults.iter().any(|fault| fault.node.contains(name)), "{name} byte {at}: {:?}", found.faults);
        }
        std::fs::remove_file(&file).unwrap();
        let found = verify(&path).unwrap();
        assert!(found.faults.iter().any(|fault| fault.node.contains(name)), "{name} missing: {:?}", found.faults);
        if ["obs/perturbation/", "obs/library_size", "var/", "X/indptr", "uns/syncyte/"]
            .iter()
            .any(|n| name.contains(n))
        {
            let error = CellStore::open(&path).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(name) && error.contains("missing"), "{name}: {error}");
        }
        std::fs::write(&file, whole).unwrap();
    }
    assert!(verify(&path).unwrap().is_sound());
}

#[test]
fn a_read_of_a_damaged_chunk_names_array_and_file_and_the_other_rows_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.zarr");
    let cells = 400;
    small_store(&path, cells, 60);
    let shard = path.join("X/data/c/1");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let store = CellStore::open(&path).unwrap();
    let error = store.read_rows(0..cells).unwrap_err().to_string();
    assert!(error.contains("store.zarr") && error.contains("X/data/c/1") && error.contains("checksum"), "{error}");
    let error = store.read_rows(390..cells + 1).unwrap_err().to_string();
    assert!(error.contains("rows 390 to 401 were asked for, there are 400"), "{error}");
    assert_eq!(store.read_rows(0..20).unwrap().n_rows(), 20);
}

#[test]
fn content_that_was_swapped_is_found_although_its_checksums_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.zarr");
    small_store(&path, 400, 60);
    let [first, second] = ["c/0", "c/1"].map(|chunk| path.join("X/indices").join(chunk));
    let bytes = std::fs::read(&first).unwrap();
    std::fs::copy(&second, &first).unwrap();
    std::fs::write(&second, bytes).unwrap();
    let found = verify(&path).unwrap();
    assert!(found.faults.iter().any(|fault| fault.node.starts_with("X (rows 0 to 7)")), "{:?}", found.faults);
}

#[test]
fn sorted_labels_mix_worse_than_shuffled_ones() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, run: usize| {
        let path = folder.path().join(name);
        let cells = 2048;
        let mut writer = StoreWriter::create(&path, names("gene", 4), WriteOptions::default()).unwrap();
        writer.append(&counts(cells, 4)).unwrap();
        writer.finish(names("cell", cells), &labels(cells, run), StoreInfo::new(ValueKind::Counts)).unwrap()
    };
    let look = |store: &CellStore, streams: usize| {
        let order = crate::order::OrderConfig { streams, batch: 64, window_blocks: 1, ..usual_order(store, 64) };
        inspect(store, &order).unwrap()
    };
    let (mixed, sorted) = (write("mixed.zarr", 1), write("sorted.zarr", 512));
    let (good, bad) = (look(&mixed, 2), look(&sorted, 2));
    assert_eq!((good.label_run_length_median, bad.label_run_length_median), (1, 512));
    assert_eq!((good.cells, good.genes, good.perturbations, good.controls), (2048, 4, 3, 512));
    let labels = mixed.labels();
    assert_eq!(good.cells_by_context.len(), 4);
    for (code, perturbation) in labels.perturbations.iter().enumerate() {
        for (context, &cells) in good.cells_by_context[&perturbation.name].iter().enumerate() {
            let here =
                |cell: &usize| labels.perturbation[*cell] as usize == code && labels.context[*cell] as usize == context;
            assert_eq!(cells, (0..2048).filter(here).count() as u64, "{} in {context}", perturbation.name);
        }
    }
    let [good_ratio, bad_ratio] = [&good, &bad].map(|found| found.predicted_entropy_ratio.unwrap());
    assert!((good_ratio - 1.0).abs() < 0.02, "{good_ratio}");
    // Two streams over pure windows: two labels at most of four.
    assert!(bad_ratio < 0.6, "{bad_ratio}");
    assert!(bad.advice.iter().any(|line| line.contains("label entropy")), "{:?}", bad.advice);
    assert!(look(&sorted, 32).predicted_entropy_ratio.unwrap() > 0.9);
}

#[test]
fn the_predicted_mixing_is_that_of_a_whole_epoch_and_a_shuffled_store_mixes_as_well_as_chance() {
    let folder = tempfile::tempdir().unwrap();
    let cells = 60_000;
    let write = |name: &str, labels: Labels| {
        let path = folder.path().join(name);
        let mut writer = StoreWriter::create(&path, names("gene", 2), WriteOptions::default()).unwrap();
        writer.append(&counts(cells, 2)).unwrap();
        writer.finish(names("cell", cells), &labels, StoreInfo::new(ValueKind::Counts)).unwrap()
    };
    // 300 perturbations, one after the other, and in a random order.
    let mut codes: Vec<u32> = (0..cells as u32).map(|cell| cell / 200).collect();
    let with = |codes: &[u32]| Labels {
        perturbations: (0..300)
            .map(|code| match code {
                0 => Perturbation::control(),
                _ => Perturbation { name: format!("P{code:03}"), targets: vec![format!("P{code:03}")] },
            })
            .collect(),
        perturbation: codes.to_vec(),
        ..labels(cells, 1)
    };
    let sorted = write("sorted.zarr", with(&codes));
    Philox::new(3, Purpose::Trial, 0, 0).shuffle(&mut codes);
    let shuffled = write("shuffled.zarr", with(&codes));
    for (store, mixes) in [(&sorted, false), (&shuffled, true)] {
        let settings = usual_order(store, 256);
        let found = inspect(store, &settings).unwrap();
        let predicted = found.predicted_entropy_ratio.unwrap();
        let order = Order::new(cells, settings).unwrap();
        let mut measured = LabelEntropy::new(&store.labels().perturbation, 300);
        (0..order.steps_per_epoch()).for_each(|step| measured.add(&order.batch(0, step)));
        let measured = measured.ratio(256, 1);
        assert!((predicted / measured - 1.0).abs() < 0.02, "{predicted} and {measured}");
        assert_eq!((measured - 1.0).abs() < 0.01, mixes, "{measured}");
        let advised = found.advice.iter().any(|line| line.contains("--shuffle"));
        assert_eq!(advised, !mixes, "{:?}", found.advice);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_store_that_was_killed_goes_on_where_it_was_noted_and_ends_as_if_it_had_not_been(
        (x, obs, var) in (20_usize..60, 2_usize..20).prop_flat_map(|(cells, genes)| (block(cells, genes), frame(cells), frame(genes))),
        cuts in (0_usize..20, 0_usize..20),
        chunk_rows in 1_usize..9,
        shard_bytes in 64_usize..40_000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let options = WriteOptions { chunk_rows, shard_bytes };
        let (noted, died) = (cuts.0.min(cuts.1), cuts.0.max(cuts.1));
        let part = |rows: std::ops::Range<usize>| {
            let mut part = Csr::empty(x.n_cols);
            rows.for_each(|row| part.push_row(x.row(row).0, x.row(row).1));
            part
        };
        let begin = |name: &str, resume| {
            StoreWriter::resumable(&folder.path().join(name), var.clone(), options, "the plan".into(), resume).unwrap()
        };
        let finish = |mut writer: StoreWriter| {
            let done = writer.n_cells();
            writer.append(&part(done..x.n_rows())).unwrap();
            writer.finish(obs.clone(), &labels(x.n_rows(), 3), StoreInfo::new(ValueKind::Log1p)).unwrap()
        };
        let whole = finish(begin("whole.zarr", false));
        let mut writer = begin("resumed.zarr", false);
        writer.append(&part(0..noted)).unwrap();
        writer.die(&part(noted..died));
        let writer = begin("resumed.zarr", true);
        prop_assert!(writer.n_cells() <= died && (noted == 0 || writer.n_cells() >= noted));
        let resumed = finish(writer);
        prop_assert_eq!(whole.data_hash(), resumed.data_hash());
        prop_assert_eq!(files(whole.path()), files(resumed.path()));
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

/// Every file below a folder, with its content.
fn files(folder: &Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn what_is_left_of_another_store_is_neither_gone_on_with_nor_removed_and_a_second_writer_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.zarr");
    let begin = |plan: &str, resume| {
        StoreWriter::resumable(&path, names("gene", 4), WriteOptions::default(), plan.into(), resume)
    };
    let mut writer = begin("one", false).unwrap();
    let error = begin("one", true).err().unwrap().to_string();
    assert!(error.contains("another process is writing this store"), "{error}");
    writer.append(&counts(9, 4)).unwrap();
    writer.die(&counts(1, 4));
    let error = begin("two", true).err().unwrap().to_string();
    assert!(error.contains("other inputs or with other options") && error.contains(".store.zarr.partial"), "{error}");
    assert_eq!(begin("one", true).unwrap().n_cells(), 9);
    // That one was dropped, and took what was left with it.
    assert_eq!(begin("one", true).unwrap().n_cells(), 0);
}
