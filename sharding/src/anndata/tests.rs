//! Promises of the reader: what anndata wrote, in old and new encodings, reads the same.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{AnnDataError, AnnDataZarr};
use crate::csr::Csr;
use crate::frame::ColumnData;

/// Writes nodes of zarr version 2, uncompressed, one chunk each.
struct Version2(PathBuf);

impl Version2 {
    fn new(root: &Path) -> Self {
        let this = Self(root.into());
        this.group("", json!({"encoding-type": "anndata", "encoding-version": "0.1.0"}));
        this
    }

    fn write(&self, node: &str, file: &str, bytes: &[u8]) {
        let folder = self.0.join(node);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file), bytes).unwrap();
    }

    fn group(&self, node: &str, attributes: Value) {
        self.write(node, ".zgroup", br#"{"zarr_format": 2}"#);
        self.write(node, ".zattrs", attributes.to_string().as_bytes());
    }

    fn array(&self, node: &str, dtype: &str, shape: &[usize], bytes: &[u8], attributes: Value) {
        let (filters, fill) =
            if dtype == "|O" { (json!([{"id": "vlen-utf8"}]), json!(0)) } else { (Value::Null, json!(0)) };
        let metadata = json!({
            "zarr_format": 2, "shape": shape, "chunks": shape, "dtype": dtype, "fill_value": fill, "order": "C",
            "filters": filters, "compressor": null, "dimension_separator": "."
        });
        self.write(node, ".zarray", metadata.to_string().as_bytes());
        self.write(node, ".zattrs", attributes.to_string().as_bytes());
        self.write(node, &vec!["0"; shape.len()].join("."), bytes);
    }

    fn numbers<T: Copy, const N: usize>(&self, node: &str, dtype: &str, values: &[T], encode: impl Fn(T) -> [u8; N]) {
        let bytes: Vec<u8> = values.iter().flat_map(|&value| encode(value)).collect();
        self.array(node, dtype, &[values.len()], &bytes, json!({}));
    }

    fn ints(&self, node: &str, values: &[i32]) {
        self.numbers(node, "<i4", values, i32::to_le_bytes);
    }

    fn floats(&self, node: &str, values: &[f64]) {
        self.numbers(node, "<f8", values, f64::to_le_bytes);
    }

    fn texts(&self, node: &str, values: &[&str], attributes: Value) {
        let mut bytes = (values.len() as u32).to_le_bytes().to_vec();
        for value in values {
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(value.as_bytes());
        }
        self.array(node, "|O", &[values.len()], &bytes, attributes);
    }

    fn table(&self, node: &str, index: &[&str], columns: &[&str]) {
        self.group(node, json!({"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": "index", "column-order": columns}));
        self.texts(&format!("{node}/index"), index, json!({}));
    }

    fn sparse(&self, node: &str, attributes: Value, indptr: &[i32], indices: &[i32], data: &[f64]) {
        self.group(node, attributes);
        self.ints(&format!("{node}/indptr"), indptr);
        self.ints(&format!("{node}/indices"), indices);
        self.floats(&format!("{node}/data"), data);
    }
}

/// Three cells × two genes: rows [1 0], [0 0], [2 3].
fn expected() -> Csr {
    Csr { n_cols: 2, indptr: vec![0, 1, 1, 3], indices: vec![0, 0, 1], values: vec![1.0, 2.0, 3.0] }
}

fn csr_attributes() -> Value {
    json!({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [3, 2]})
}

fn old_store(path: &Path) -> Version2 {
    let root = Version2::new(path);
    root.table("obs", &["c0", "c1", "c2"], &["cell_type", "depth", "note"]);
    // anndata 0.7: the codes name the array of their categories.
    root.array("obs/cell_type", "|i1", &[3], &[1, 255, 0], json!({"categories": "__categories/cell_type"}));
    root.group("obs/__categories", json!({}));
    root.texts("obs/__categories/cell_type", &["T", "B"], json!({"ordered": true}));
    root.floats("obs/depth", &[1.0, 0.0, 5.0]);
    root.texts("obs/note", &["", "ä", "x"], json!({}));
    root.table("var", &["g0", "g1"], &[]);
    root.sparse("X", csr_attributes(), &[0, 1, 1, 3], &[0, 0, 1], &[1.0, 2.0, 3.0]);
    let columns = json!({"encoding-type": "csc_matrix", "encoding-version": "0.1.0", "shape": [3, 2]});
    root.group("layers", json!({}));
    root.sparse("layers/by_columns", columns, &[0, 2, 3], &[0, 2, 2], &[1.0, 2.0, 3.0]);
    let dense: Vec<u8> = [1.0_f64, 0.0, 0.0, 0.0, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    root.array("layers/dense", "<f8", &[3, 2], &dense, json!({}));
    let older = json!({"h5sparse_format": "csr", "h5sparse_shape": [3, 2]});
    root.sparse("layers/older", older, &[0, 1, 1, 3], &[0, 0, 1], &[1.0, 2.0, 3.0]);
    root.group("raw", json!({}));
    let raw = json!({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [3, 3]});
    root.sparse("raw/X", raw, &[0, 1, 1, 1], &[2], &[9.0]);
    root.table("raw/var", &["g0", "g1", "g2"], &[]);
    root.group("obsm", json!({}));
    root.array("obsm/X_pca", "<f4", &[3, 1], &[0; 12], json!({}));
    root
}

fn check_old(data: &AnnDataZarr) {
    assert_eq!(data.matrices(), ["X", "raw/X", "layers/by_columns", "layers/dense", "layers/older"]);
    for matrix in ["X", "layers/by_columns", "layers/dense", "layers/older"] {
        assert_eq!(data.read_rows(matrix, 0..3).unwrap(), expected(), "{matrix}");
        assert_eq!(data.read_rows(matrix, 2..3).unwrap().row(0), (&[0, 1][..], &[2.0, 3.0][..]), "{matrix}");
    }
    assert_eq!(data.var("raw/X").unwrap().frame.index, ["g0", "g1", "g2"]);
    assert_eq!(data.read_rows("raw/X", 0..1).unwrap().row(0), (&[2][..], &[9.0][..]));
    let obs = data.obs().unwrap().frame;
    assert_eq!(obs.index, ["c0", "c1", "c2"]);
    let cell_type =
        ColumnData::Categorical { codes: vec![1, -1, 0], categories: vec!["T".into(), "B".into()], ordered: true };
    assert_eq!(obs.column("cell_type"), Some(&cell_type));
    assert_eq!(obs.column("depth"), Some(&ColumnData::Float(vec![1.0, 0.0, 5.0])));
    assert_eq!(obs.column("note"), Some(&ColumnData::Text(vec![String::new(), "ä".into(), "x".into()])));
    assert_eq!(data.dense_names().unwrap(), ["X_pca"]);
    assert_eq!(data.read_dense("X_pca").unwrap(), (1, vec![0.0; 3]));
}

#[test]
fn every_encoding_of_a_matrix_gives_the_same_rows_and_old_categories_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.zarr");
    old_store(&path);
    check_old(&AnnDataZarr::open(&path).unwrap());
}

/// A zip file, by hand: every name may come more than once, which zip writers refuse.
fn zip(path: &Path, entries: &[(String, Vec<u8>)], deflate: bool) {
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        let stored = if deflate { encoder.finish().unwrap() } else { bytes.clone() };
        let offset = body.len() as u32;
        let mut header = Vec::new();
        for field in [20, 0, if deflate { 8 } else { 0 }, 0, 0x21] {
            header.extend(u16::to_le_bytes(field));
        }
        for field in [crc.sum(), stored.len() as u32, bytes.len() as u32] {
            header.extend(field.to_le_bytes());
        }
        header.extend((name.len() as u16).to_le_bytes());
        header.extend([0, 0]);
        body.extend(b"PK\x03\x04");
        body.extend(&header);
        body.extend(name.as_bytes());
        body.extend(&stored);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&header);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = body.len() as u32;
    body.extend(&directory);
    body.extend(b"PK\x05\x06\0\0\0\0");
    body.extend([(entries.len() as u16).to_le_bytes(); 2].as_flattened());
    body.extend((directory.len() as u32).to_le_bytes());
    body.extend(start.to_le_bytes());
    body.extend([0, 0]);
    std::fs::write(path, body).unwrap();
}

fn files(folder: &Path, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            found.extend(files(&path, &format!("{name}/")));
        } else {
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn a_zip_file_reads_as_its_folder_stored_or_deflated_with_or_without_the_folders_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.zarr");
    old_store(&path);
    for (prefix, deflate) in [("", false), ("", true), ("old.zarr/", false), ("old.zarr/", true)] {
        let packed = folder.path().join("packed.zip");
        zip(&packed, &files(&path, prefix), deflate);
        check_old(&AnnDataZarr::open(&packed).unwrap());
    }
}

#[test]
fn the_last_of_two_entries_of_a_name_in_a_zip_file_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.zarr");
    old_store(&path);
    let whole = files(&path, "");
    let first = ("obs/.zattrs".to_owned(), br#"{"column-order": ["not yet"]}"#.to_vec());
    let packed = folder.path().join("packed.zip");
    zip(&packed, &[vec![first], whole].concat(), false);
    check_old(&AnnDataZarr::open(&packed).unwrap());
}

fn message<T>(result: Result<T, AnnDataError>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.zarr");
    let root = old_store(&path);
    let tell = |contains: &[&str], message: String| {
        for part in contains {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    };
    tell(&["nowhere"], message(AnnDataZarr::open(&folder.path().join("nowhere"))));
    tell(&["no AnnData zarr"], message(AnnDataZarr::open(&path.join("layers"))));
    let data = AnnDataZarr::open(&path).unwrap();
    tell(&["layers/none", "X, raw/X"], message(data.read_rows("layers/none", 0..1)));
    tell(&["2..5", "there are 3"], message(data.read_rows("X", 2..5)));

    root.group("obs/note", json!({"encoding-type": "awkward-array"}));
    std::fs::remove_file(path.join("obs/note/.zarray")).unwrap();
    let obs = AnnDataZarr::open(&path).unwrap().obs().unwrap();
    assert_eq!((obs.left_out.len(), obs.left_out[0].column.as_str()), (1, "note"));
    tell(&["awkward-array", "drop the column"], obs.left_out[0].why.clone());
    assert!(obs.frame.column("note").is_none() && obs.frame.columns.len() > 1);

    root.ints("X/indices", &[0, 0, 7]);
    tell(&["X", "column 7"], message(AnnDataZarr::open(&path).unwrap().read_rows("X", 0..3)));

    root.ints("X/indptr", &[0, 2, 1, 3]);
    tell(&["X/indptr", "fall after line 1"], message(AnnDataZarr::open(&path)));

    root.sparse("X", json!({"encoding-type": "awkward-array", "shape": [3, 2]}), &[0, 1, 1, 3], &[0, 0, 1], &[1.0; 3]);
    tell(&["awkward-array", "csr_matrix"], message(AnnDataZarr::open(&path)));
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-6 * right.abs()
}

/// Sums taken with Python's anndata 0.12 of the same file.
#[test]
fn the_pbmc68k_zip_that_python_wrote_reads_as_python_reads_it() {
    let folder = std::env::var("SYNCYTE_TEST_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data").into());
    let path = Path::new(&folder).join("cells/10x_pbmc68k_reduced.zarr.zip");
    if !path.exists() {
        println!("skipped: no test data");
        return;
    }
    let data = AnnDataZarr::open(&path).unwrap();
    let sums = |matrix: &str| {
        let block = data.read_rows(matrix, 0..700).unwrap();
        let sum: f64 = block.values.iter().map(|&value| f64::from(value)).sum();
        let weighted: f64 =
            block.values.iter().zip(&block.indices).map(|(&value, &column)| f64::from(value) * f64::from(column)).sum();
        (block.n_cols, block.nnz(), sum, weighted)
    };
    let (cols, nnz, sum, weighted) = sums("X");
    assert_eq!((cols, nnz), (765, 535_433));
    assert!(close(sum, -243.681_057_988_666) && close(weighted, 60_924.155_026_438_995), "{sum} {weighted}");
    assert_eq!(sums("layers/counts"), (765, 174_400, 486_651.0, 183_362_891.0));
    let obs = data.obs().unwrap().frame;
    assert_eq!(obs.index[1], "AAATTCGATGCACA-1");
    let Some(ColumnData::Categorical { codes, categories, .. }) = obs.column("bulk_labels") else {
        panic!("bulk_labels is a categorical")
    };
    assert_eq!(categories[codes[1] as usize], "Dendritic");
    let (cols, values) = data.read_dense("X_umap").unwrap();
    assert_eq!((cols, values.len()), (2, 1400));
    assert!(close(values.iter().map(|&value| f64::from(value)).sum(), -2_511.075_124_283_757_3));
}
