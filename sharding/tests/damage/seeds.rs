//! Sound files that campaigns begin with, and reading of what they become.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use syncyte_sharding::anndata::AnnDataZarr;
use syncyte_sharding::block::Block;
use syncyte_sharding::collection::AnnDataRows;
use syncyte_sharding::csr::Csr;
use syncyte_sharding::frame::{Column, ColumnData, Frame};
use syncyte_sharding::labels::{Labels, Perturbation};
use syncyte_sharding::loader::{RowReader, Scratch};
use syncyte_sharding::store::{CellStore, StoreInfo, StoreWriter, ValueKind, WriteOptions};
use zarrs::array::{Array, ArraySubset, Element};
use zarrs::filesystem::FilesystemStore;

const CELLS: usize = 60;
const GENES: usize = 30;

fn rows() -> Csr {
    let mut rows = Csr::empty(GENES);
    for cell in 0..CELLS as u32 {
        let columns: Vec<u32> = (0..GENES as u32).filter(|gene| (cell * 7 + gene * 3) % 5 < 2).collect();
        let values: Vec<f32> = columns.iter().map(|gene| ((cell + gene) % 11 + 1) as f32).collect();
        rows.push_row(&columns, &values);
    }
    rows
}

/// A cell store with columns of every kind, a layer and a dense matrix.
pub(crate) fn store(path: &Path) -> CellStore {
    let options = WriteOptions { chunk_rows: 16, shard_bytes: 1 << 10 };
    let names = |prefix: &str, n: usize| (0..n).map(|at| format!("{prefix}{at}")).collect::<Vec<String>>();
    let genes = Frame { index: names("G", GENES), columns: Vec::new() };
    let mut writer = StoreWriter::create(path, genes, options).unwrap();
    writer.append(&rows()).unwrap();
    writer.append_layer("again", &rows()).unwrap();
    writer.append_obsm("X_pca", 2, &[0.5; 2 * CELLS]).unwrap();
    let column = |name: &str, data| Column { name: name.into(), data };
    let obs = Frame {
        index: names("cell", CELLS),
        columns: vec![
            column("text", ColumnData::Text(names("text", CELLS))),
            column("count", ColumnData::NullableInt((0..CELLS as i64).map(|at| (at % 3 > 0).then_some(at)).collect())),
            column("note", ColumnData::NullableText(vec![None; CELLS])),
        ],
    };
    let of = |names: [&str; 2]| names.map(String::from).to_vec();
    let coded = |n: u32| (0..CELLS as u32).map(|cell| cell / 3 % n).collect::<Vec<u32>>();
    let perturbations = ["A", "B", "C"].map(|name| Perturbation::of([name.to_owned()]));
    let labels = Labels {
        perturbations: [vec![Perturbation::control()], perturbations.to_vec()].concat(),
        perturbation: coded(4),
        contexts: of(["K562", "RPE1"]),
        context: coded(2),
        batches: of(["1", "2"]),
        batch: coded(2),
        kinds: of(["CRISPRi", "drug"]),
        kind: coded(2),
    };
    writer.finish(obs, &labels, StoreInfo::new(ValueKind::Counts)).unwrap()
}

/// AnnData whose matrix X lies in one of several layouts, most of them without checksums: with them, damage would hardly
/// get past the first look.
pub(crate) fn plain(folder: &Path, layout: usize) {
    let blosc = |cname: &str, shuffle: &str| {
        json!({"name": "blosc", "configuration":
            {"cname": cname, "clevel": 5, "shuffle": shuffle, "typesize": 4, "blocksize": 0}})
    };
    let codecs = [
        vec![blosc("lz4", "shuffle")],
        vec![blosc("zstd", "bitshuffle")],
        vec![blosc("lz4", "noshuffle"), json!({"name": "crc32c"})],
        vec![],
        vec![json!({"name": "gzip", "configuration": {"level": 1}})],
        vec![json!({"name": "zstd", "configuration": {"level": 1, "checksum": false}})],
    ];
    let sharded = layout.is_multiple_of(2);
    let array = |node: &str, length: usize| {
        let little = json!({"name": "bytes", "configuration": {"endian": "little"}});
        let inner = [vec![little.clone()], codecs[layout / 2 % codecs.len()].clone()].concat();
        let chain = if sharded {
            json!([{"name": "sharding_indexed", "configuration": {
                "chunk_shape": [50], "codecs": inner, "index_codecs": [little], "index_location": "end"}}])
        } else {
            json!(inner)
        };
        write_json(
            &folder.join(node).join("zarr.json"),
            &json!({
            "zarr_format": 3, "node_type": "array", "shape": [length], "data_type": "int32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [if sharded { 200 } else { 150 }]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0, "codecs": chain, "attributes": {}}),
        );
    };
    let group = |node: &str, attributes: Value| {
        let metadata = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes});
        write_json(&folder.join(node).join("zarr.json"), &metadata);
    };
    let rows = rows();
    group("", json!({"encoding-type": "anndata", "encoding-version": "0.1.0"}));
    let kind = if layout / 2 % 5 == 4 { "csc_matrix" } else { "csr_matrix" };
    let shape = if kind == "csr_matrix" { [CELLS, GENES] } else { [GENES, CELLS] };
    group("X", json!({"encoding-type": kind, "encoding-version": "0.1.0", "shape": shape}));
    let starts: Vec<i32> = rows.indptr.iter().map(|&start| start as i32).collect();
    let columns: Vec<i32> = rows.indices.iter().map(|&column| column as i32).collect();
    let values: Vec<i32> = rows.values.iter().map(|&value| value as i32).collect();
    for (node, numbers) in [("X/indptr", starts), ("X/indices", columns), ("X/data", values)] {
        array(node, numbers.len());
        fill(folder, node, numbers);
    }
}

fn fill<T: Element>(folder: &Path, node: &str, numbers: Vec<T>) {
    let array = Array::open(Arc::new(FilesystemStore::new(folder).unwrap()), &format!("/{node}")).unwrap();
    array.store_array_subset(&ArraySubset::new_with_shape(vec![numbers.len() as u64]), numbers).unwrap();
}

fn write_json(path: &Path, value: &Value) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

/// All files below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// With one file changed, runs `look`; the file is as before afterwards.
pub(crate) fn with_changed(file: &Path, content: &[u8], look: impl FnOnce()) {
    let whole = fs::read(file).unwrap();
    fs::write(file, content).unwrap();
    look();
    fs::write(file, whole).unwrap();
}

/// Rows read at a time: a damaged store may claim any number of them.
const PART: usize = 200;

/// Reads everything there is through every door that leads to it. Errors are fine.
pub(crate) fn read_everything(path: &Path) {
    if let Ok(store) = CellStore::open(path) {
        let rows = store.n_cells().min(PART);
        let _ = (store.obs(), store.var(), store.read_rows(0..rows), store.layers(), store.obsm_names());
        let _ = store.layer("again").map(|layer| layer.read_rows(0..rows));
        let _ = store.read_obsm("X_pca", 0..rows);
        read_blocks(&store);
        let _ = syncyte_sharding::store::verify(path);
    }
    if let Ok(rows) = AnnDataRows::open(path) {
        read_blocks(&rows);
    }
    if let Ok(data) = AnnDataZarr::open(path) {
        let _ = (data.obs(), data.var("X"), data.dense_names().map(|names| names.len()), data.read_dense("X_pca"));
        let rows = data.n_rows().min(PART);
        let _ = data.read_rows("X", 0..rows);
    }
}

/// Reads blocks as the loader does; a block that comes is sound.
pub(crate) fn read_blocks(reader: &impl RowReader) {
    let (mut scratch, mut block) = (Scratch::default(), Block::default());
    let step = reader.chunk_rows().clamp(1, 64);
    let rows = reader.n_cells().min(PART);
    for start in (0..rows).step_by(step) {
        let end = rows.min(start + step);
        reader.will_read(start..end);
        if reader.read_block(start..end, &mut scratch, &mut block).is_ok() {
            assert_eq!((block.n_rows(), block.n_cols), (end - start, reader.n_genes()));
            assert_eq!(block.validate(), Ok(()));
            if let Some(length) = reader.row_nnz(start) {
                assert_eq!(block.span(0).len(), length);
            }
        }
    }
}

/// A cell store, and arrays of many layouts, below a folder.
pub(crate) fn stores(root: &Path) -> Vec<PathBuf> {
    let cells = root.join("cells.zarr");
    store(&cells);
    let plains = (0..12).map(|layout| {
        let path = root.join(format!("plain{layout}.zarr"));
        plain(&path, layout);
        path
    });
    iter::once(cells).chain(plains).collect()
}
