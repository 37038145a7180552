use std::path::PathBuf;

use hdf5::types::{FixedAscii, VarLenAscii};
use hdf5::{File, H5Type, ObjectReference1};

use super::*;
use crate::frame::ColumnData;
use crate::ingest::fixture::{array, categorical, matrix, sparse, strings, table, text};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("small.h5ad")
    }
}

const ROWS: [[f64; 3]; 4] = [[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [4.0, 5.0, 0.5]];

fn refusal(path: &Path) -> String {
    H5ad::open(path).err().unwrap().to_string()
}

/// All encodings of the current layout.
fn current(path: &Path) {
    let file = File::create(path).unwrap();
    let columns = ["cat", "count", "maybe", "flag", "perhaps", "score", "name", "short", "old"];
    let obs = table(&file, "obs", &["c0", "c1", "c2", "c3"], &columns);
    categorical(&obs, "cat", &[1, -1, 0, 1], &["a", "b"]);
    array(&obs, "count", &[1_u32, 2, 3, 4]);
    for (name, kind) in [("maybe", "nullable-integer"), ("perhaps", "nullable-boolean")] {
        let group = obs.create_group(name).unwrap();
        text(&group, "encoding-type", kind);
        array(&group, "mask", &[false, true, false, false]);
    }
    array(&obs.group("maybe").unwrap(), "values", &[7_i64, 1, -9, 0]);
    array(&obs.group("perhaps").unwrap(), "values", &[true, false, false, true]);
    array(&obs, "flag", &[true, false, true, true]);
    array(&obs, "score", &[0.5_f32, 1.5, f32::NAN, 2.5]);
    array(&obs, "name", &strings(&["ä", "", "z", "y"]));
    let short: Vec<FixedAscii<5>> =
        ["one", "two", "three", "4"].iter().map(|s| FixedAscii::from_ascii(s).unwrap()).collect();
    array(&obs, "short", &short);
    let old: Vec<VarLenAscii> = ["w", "x", "y", "z"].iter().map(|s| VarLenAscii::from_ascii(s).unwrap()).collect();
    array(&obs, "old", &old);
    table(&file, "var", &["g0", "g1", "g2"], &[]);
    sparse(&file, "X", true, [4, 3], (&[0, 2, 2, 3, 6], &[2, 0, 1, 0, 1, 2], &[2.0, 1.0, 3.0, 4.0, 5.0, 0.5]));
    let layers = file.create_group("layers").unwrap();
    sparse(&layers, "turned", false, [4, 3], (&[0, 2, 4, 6], &[0, 3, 3, 2, 0, 3], &[1.0, 4.0, 5.0, 3.0, 2.0, 0.5]));
    matrix(&layers, "dense", &ROWS);
    let raw = file.create_group("raw").unwrap();
    table(&raw, "var", &["g0", "g1", "g2", "g3"], &[]);
    sparse(&raw, "X", true, [4, 4], (&[0, 1, 1, 1, 1], &[3], &[9.0]));
    let obsm = file.create_group("obsm").unwrap();
    matrix(&obsm, "protein", &ROWS);
    let scores = table(&obsm, "scores", &["c0", "c1", "c2", "c3"], &["a", "b"]);
    array(&scores, "a", &[1_i32, 2, 3, 4]);
    array(&scores, "b", &[0.5_f64, 0.0, 0.0, 1.0]);
}

#[test]
fn every_matrix_of_the_current_layout_reads_by_row_blocks() {
    let folder = Folder::new();
    current(&folder.file());
    let source = H5ad::open(&folder.file()).unwrap();
    let layer = |name: &str| MatrixPath::Layer(name.into());
    assert_eq!(source.matrices().unwrap(), [MatrixPath::X, layer("dense"), layer("turned"), MatrixPath::Raw]);
    let dense: Vec<f32> = ROWS.as_flattened().iter().map(|&v| v as f32).collect();
    let want = super::super::source::from_dense(&dense, 3);
    for path in [MatrixPath::X, layer("turned"), layer("dense")] {
        assert_eq!(source.read_rows(&path, 0..4).unwrap(), want, "{path}");
        let block = source.read_rows(&path, 2..4).unwrap();
        assert_eq!((block.row(0), block.row(1)), (want.row(2), want.row(3)), "{path}");
        assert_eq!(source.read_rows(&path, 1..1).unwrap().n_rows(), 0);
    }
    assert_eq!(source.read_rows(&MatrixPath::Raw, 0..1).unwrap().row(0), (&[3][..], &[9.0][..]));
    assert_eq!(source.var(&MatrixPath::Raw).unwrap().frame.index.len(), 4);
    assert_eq!(source.dense_names().unwrap(), ["protein", "scores"]);
    assert_eq!(source.read_dense("protein").unwrap(), (3, dense));
    assert_eq!(source.read_dense("scores").unwrap(), (2, vec![1.0, 0.5, 2.0, 0.0, 3.0, 0.0, 4.0, 1.0]));
    let message = source.read_rows(&layer("nope"), 0..1).unwrap_err().to_string();
    assert!(message.contains("layers/nope") && message.contains("layers/turned"), "{message}");
    assert!(source.read_rows(&MatrixPath::X, 0..5).unwrap_err().to_string().contains("0..5"));
}

#[test]
fn every_column_encoding_of_the_current_layout_reads() {
    let folder = Folder::new();
    current(&folder.file());
    let obs = H5ad::open(&folder.file()).unwrap().obs().unwrap().frame;
    assert_eq!(obs.index, ["c0", "c1", "c2", "c3"]);
    let texts = |values: &[&str]| ColumnData::Text(values.iter().map(|&v| v.into()).collect());
    let want = [
        (
            "cat",
            ColumnData::Categorical {
                codes: vec![1, -1, 0, 1],
                categories: vec!["a".into(), "b".into()],
                ordered: false,
            },
        ),
        ("count", ColumnData::Int(vec![1, 2, 3, 4])),
        ("maybe", ColumnData::NullableInt(vec![Some(7), None, Some(-9), Some(0)])),
        ("flag", ColumnData::Bool(vec![true, false, true, true])),
        ("perhaps", ColumnData::NullableBool(vec![Some(true), None, Some(false), Some(true)])),
        ("name", texts(&["ä", "", "z", "y"])),
        ("short", texts(&["one", "two", "three", "4"])),
        ("old", texts(&["w", "x", "y", "z"])),
    ];
    for (name, data) in want {
        assert_eq!(obs.column(name), Some(&data), "{name}");
    }
    assert!(matches!(obs.column("score"), Some(ColumnData::Float(v)) if v[1] > 1.4 && v[2].is_nan()));
}

#[test]
fn categories_behind_object_references_read_as_anndata_0_7_wrote_them() {
    let folder = Folder::new();
    {
        let file = File::create(folder.file()).unwrap();
        let obs = table(&file, "obs", &["c0", "c1"], &["line"]);
        let categories = obs.create_group("__categories").unwrap();
        array(&categories, "line", &strings(&["K562", "RPE1"]));
        categories.dataset("line").unwrap().new_attr::<bool>().create("ordered").unwrap().write_scalar(&true).unwrap();
        array(&obs, "line", &[1_i8, 0]);
        let reference: ObjectReference1 = obs.reference("__categories/line").unwrap();
        let line = obs.dataset("line").unwrap();
        line.new_attr::<ObjectReference1>().create("categories").unwrap().write_scalar(&reference).unwrap();
        table(&file, "var", &["g0", "g1", "g2"], &[]);
        matrix(&file, "X", &ROWS[..2]);
    }
    let obs = H5ad::open(&folder.file()).unwrap().obs().unwrap().frame;
    let categories = vec!["K562".into(), "RPE1".into()];
    assert_eq!(obs.column("line"), Some(&ColumnData::Categorical { codes: vec![1, 0], categories, ordered: true }));
}

#[derive(H5Type, Clone)]
#[repr(C)]
struct OldRow {
    index: VarLenAscii,
    n_counts: f32,
    line: i8,
    passed: bool,
}

#[derive(H5Type, Clone)]
#[repr(C)]
struct OldMatrices {
    x_pca: [f64; 2],
    depth: i32,
}

#[test]
fn compound_tables_from_before_anndata_0_7_read_with_their_categories_and_matrices() {
    let folder = Folder::new();
    {
        let file = File::create(folder.file()).unwrap();
        let row = |name: &str, n_counts, line, passed| OldRow {
            index: VarLenAscii::from_ascii(name).unwrap(),
            n_counts,
            line,
            passed,
        };
        array(&file, "obs", &[row("c0", 1.5, 1, true), row("c1", 2.5, -1, false)]);
        array(&file, "var", &[row("g0", 0.0, 0, false)]);
        let uns = file.create_group("uns").unwrap();
        array(&uns, "line_categories", &strings(&["K562", "RPE1"]));
        let matrices = [OldMatrices { x_pca: [1.0, 2.0], depth: 7 }, OldMatrices { x_pca: [3.0, 4.0], depth: 8 }];
        array(&file, "obsm", &matrices);
    }
    let source = H5ad::open(&folder.file()).unwrap();
    let obs = source.obs().unwrap();
    assert_eq!((obs.frame.index, obs.left_out, obs.notes), (vec!["c0".into(), "c1".into()], vec![], vec![]));
    let categories = vec!["K562".into(), "RPE1".into()];
    let want = [
        ("n_counts", ColumnData::Float(vec![1.5, 2.5])),
        ("line", ColumnData::Categorical { codes: vec![1, -1], categories, ordered: false }),
        ("passed", ColumnData::Bool(vec![true, false])),
    ];
    let found: Vec<(&str, ColumnData)> =
        obs.frame.columns.iter().map(|column| (column.name.as_str(), column.data.clone())).collect();
    assert_eq!(found, want);
    assert_eq!(source.dense_names().unwrap(), ["x_pca", "depth"]);
    assert_eq!(source.read_dense("x_pca").unwrap(), (2, vec![1.0, 2.0, 3.0, 4.0]));
    assert_eq!(source.read_dense("depth").unwrap(), (1, vec![7.0, 8.0]));
    assert!(source.read_dense("other").unwrap_err().to_string().contains("obsm/other"));
}

#[test]
fn columns_that_cannot_be_read_are_left_out_and_odd_codes_are_missing() {
    let folder = Folder::new();
    {
        let file = File::create(folder.file()).unwrap();
        let columns = ["line", "day", "beyond", "short", "absent", "awkward", "half"];
        let obs = table(&file, "obs", &["c0", "c1", "c2"], &columns);
        for (name, codes) in [("line", [1, i32::MIN, 0]), ("day", [-7, -1, 1]), ("beyond", [0, 1, 2])] {
            categorical(&obs, name, &[], &["a", "b"]);
            obs.group(name).unwrap().unlink("codes").unwrap();
            array(&obs.group(name).unwrap(), "codes", &codes);
        }
        array(&obs, "short", &[1_i32, 2]);
        text(&obs.create_group("awkward").unwrap(), "encoding-type", "awkward-array");
        array(&obs, "half", &[0.5, -2.0, 0.25].map(half::f16::from_f32));
        table(&file, "var", &["g0"], &[]);
    }
    let obs = H5ad::open(&folder.file()).unwrap().obs().unwrap();
    let left_out: Vec<(&str, &str)> =
        obs.left_out.iter().map(|left| (left.column.as_str(), left.why.as_str())).collect();
    let want = [
        ("beyond", "code 2, there are 2 categories"),
        ("short", "2 values for 3 rows"),
        ("absent", "not there"),
        ("awkward", "'awkward-array', which is not read"),
    ];
    assert_eq!(left_out.len(), want.len(), "{left_out:?}");
    for ((name, why), (column, part)) in left_out.into_iter().zip(want) {
        assert!(name == column && why.contains(part), "{name}: {why}");
    }
    let codes = |name: &str| match obs.frame.column(name) {
        Some(ColumnData::Categorical { codes, .. }) => codes.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((codes("line"), codes("day")), (vec![1, -1, 0], vec![-1, -1, 1]));
    assert_eq!(obs.notes.len(), 2, "{:?}", obs.notes);
    assert!(obs.notes[0].starts_with("obs/line: 1 cell has no category"), "{:?}", obs.notes);
    assert_eq!(obs.frame.column("half"), Some(&ColumnData::Float(vec![0.5, -2.0, 0.25])));
}

#[test]
fn what_is_no_h5ad_is_named_for_what_it_is() {
    let folder = Folder::new();
    current(&folder.file());
    let whole = std::fs::read(folder.file()).unwrap();
    std::fs::write(folder.file(), &whole[..whole.len() / 2]).unwrap();
    let message = refusal(&folder.file());
    assert!(message.contains("small.h5ad") && message.contains("truncated"), "{message}");
    std::fs::write(folder.file(), b"PK not hdf5 at all").unwrap();
    assert!(refusal(&folder.file()).contains("not an h5ad"));
    File::create(folder.file()).unwrap();
    let message = refusal(&folder.file());
    assert!(message.contains("no 'obs'") && message.contains("read_10x_h5"), "{message}");
    assert!(refusal(&folder.0.path().join("absent.h5ad")).contains("absent.h5ad"));
}

#[test]
fn matrices_that_contradict_themselves_are_refused() {
    let folder = Folder::new();
    let message = |parts: (&[i32], &[i32], &[f64]), shape| {
        {
            let file = File::create(folder.file()).unwrap();
            table(&file, "obs", &["c0", "c1"], &[]);
            table(&file, "var", &["g0", "g1"], &[]);
            sparse(&file, "X", true, shape, parts);
        }
        H5ad::open(&folder.file()).unwrap().read_rows(&MatrixPath::X, 0..2).unwrap_err().to_string()
    };
    let said = message((&[0, 1, 3], &[0, 1], &[1.0, 1.0]), [2, 2]);
    assert!(said.contains('X') && said.contains("indptr ends at 3"), "{said}");
    assert!(message((&[0, 2, 1], &[0], &[1.0]), [2, 2]).contains("falls after entry 1"));
    assert!(message((&[0, 1, 2], &[0, 2], &[1.0, 1.0]), [2, 2]).contains("index 2 is not below 2"));
    assert!(message((&[0, 1, 2, 2], &[0, 1], &[1.0, 1.0]), [3, 2]).contains("3 rows for 2 cells"));
    let said = message((&[0, 1, 2, 2], &[0, 1], &[1.0, 1.0]), [2, 3]);
    assert!(
        said.contains("4 entries for 2 rows") && said.contains("looks like a csc_matrix labelled csr_matrix"),
        "{said}"
    );
    // An index that such a matrix does not have: it is something else.
    let said = message((&[0, 1, 2, 2], &[0, 2], &[1.0, 1.0]), [2, 3]);
    assert!(said.contains("4 entries for 2 rows") && !said.contains("labelled"), "{said}");
}
