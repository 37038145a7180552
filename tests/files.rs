//! Files as they are found in public: each is read to the right values, or refused by a sentence that names the fix.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use syncyte_tests::{Outcome, python, run, script, test_data, turn};

/// What `make_odd_files.py` wrote, and which of its cases are of a kind.
struct Cases {
    folder: tempfile::TempDir,
    python: PathBuf,
    list: Vec<Value>,
}

impl Cases {
    fn new(what: &str, kind: &str, given: Option<&Path>) -> Option<Self> {
        let python = python(what)?;
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<&Path> = std::iter::once(folder.path()).chain(given).collect();
        script(&python, "make_odd_files.py", &arguments).assert_code(0);
        let all: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("cases.json")).unwrap()).unwrap();
        let list: Vec<Value> = all.as_array().unwrap().iter().filter(|case| case["kind"] == kind).cloned().collect();
        assert!(!list.is_empty(), "no case of {kind}");
        Some(Self { folder, python, list })
    }

    /// Imports each case, and compares what was said and stored.
    fn check(&self, options: &str) {
        let mut pairs = Vec::new();
        for (number, case) in self.list.iter().enumerate() {
            let path = case["path"].as_str().unwrap();
            let out = self.folder.path().join(format!("{number}.store"));
            let outcome = import(Path::new(path), &out, &format!("{} {options}", case["options"].as_str().unwrap()));
            let refused = texts(&case["refused"]);
            if !refused.is_empty() {
                outcome.assert_refused(3, &refused);
                assert!(outcome.stderr.contains(path), "{}", outcome.stderr);
                assert!(!out.exists(), "{path}");
                continue;
            }
            outcome.assert_code(0);
            for note in texts(&case["notes"]) {
                assert!(outcome.stdout.contains(note), "{path}: `{note}` is not noted:\n{}", outcome.stdout);
            }
            for column in texts(&case["absent"]) {
                assert!(!out.join("obs").join(column).exists(), "{path}: {column}");
            }
            pairs.extend([out, PathBuf::from(case["wanted"].as_str().unwrap())]);
        }
        let pairs: Vec<&Path> = pairs.iter().map(PathBuf::as_path).collect();
        script(&self.python, "read_store.py", &pairs).assert_code(0);
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn import(input: &Path, out: &Path, options: &str) -> Outcome {
    let words = ["store".as_ref(), "import".as_ref(), input.as_os_str(), out.as_os_str()];
    run(words.into_iter().chain(options.split_whitespace().map(OsStr::new)))
}

#[test]
fn files_compressed_by_filters_of_hdf5plugin_are_read_and_unknown_filters_named() {
    let _turn = turn("files_compressed_by_filters_of_hdf5plugin_are_read_and_unknown_filters_named");
    let Some(cases) = Cases::new("HDF5 filters", "filters", None) else { return };
    cases.check("");
}

#[test]
fn columns_are_read_in_every_kind_and_one_that_nobody_needs_never_ends_an_import() {
    let _turn = turn("columns_are_read_in_every_kind_and_one_that_nobody_needs_never_ends_an_import");
    let Some(cases) = Cases::new("columns of every kind", "columns", None) else { return };
    cases.check("");
}

#[test]
fn a_null_matrix_counts_as_absent_and_a_mislabelled_one_is_named() {
    let _turn = turn("a_null_matrix_counts_as_absent_and_a_mislabelled_one_is_named");
    let Some(cases) = Cases::new("odd matrices", "matrices", None) else { return };
    cases.check("");
}

#[test]
fn compound_tables_of_old_anndata_are_read() {
    let _turn = turn("compound_tables_of_old_anndata_are_read");
    let Some(cases) = Cases::new("compound tables", "tables", None) else { return };
    cases.check("");
}

#[test]
fn zarr_inputs_are_read_as_h5ad_is() {
    let _turn = turn("zarr_inputs_are_read_as_h5ad_is");
    let Some(cases) = Cases::new("odd zarr inputs", "zarr", None) else { return };
    cases.check("");
}

#[test]
fn names_of_cells_without_a_table_are_enough_where_no_label_is_needed() {
    let _turn = turn("names_of_cells_without_a_table_are_enough_where_no_label_is_needed");
    let Some(cases) = Cases::new("zarr without a table of cells", "unlabelled", None) else { return };
    cases.check("--unlabelled");
}

#[test]
fn the_files_given_import_to_the_values_that_python_reads() {
    let _turn = turn("the_files_given_import_to_the_values_that_python_reads");
    let Some(files) = test_data("files", "the files given") else { return };
    let Some(cases) = Cases::new("the files given", "given", Some(&files)) else { return };
    cases.check("");
}

/// Values that Python's anndata reads of these with hdf5plugin, or once they are converted.
#[test]
fn the_zstd_and_compound_files_given_import_to_what_hdf5plugin_and_h5py_read() {
    let _turn = turn("the_zstd_and_compound_files_given_import_to_what_hdf5plugin_and_h5py_read");
    let Some(python) = python("the zstd and compound files given") else { return };
    let table = [
        ("files/zstd_filter.h5ad", "41b22fc78cabbe11ea703b4db784a39aa1029a16c8a77d4c942cab02ccf31e14"),
        ("files/compound_obs.h5ad", "42078d65b5b28c26b20f1ef027c49dde468dcdf097b160898f9ce0e2ef380340"),
    ];
    for (file, sha) in table {
        let Some(file) = test_data(file, "the zstd and compound files given") else { return };
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.zarr");
        import(&file, &out, "--min-genes 0 --min-cells-per-gene 0").assert_code(0);
        let store = script(&python, "read_store.py", &[&out]).json();
        assert_eq!(store["x_sha256"], sha, "{file:?}");
        let labels = store["obs"]["perturbation"].as_array().unwrap();
        let distinct: std::collections::BTreeSet<&str> = labels.iter().filter_map(Value::as_str).collect();
        assert_eq!(distinct.len(), 3, "two perturbations and the control: {distinct:?}");
        assert_eq!(labels.iter().filter(|label| **label == "control").count(), 80);
    }
}

#[test]
fn a_store_comes_back_as_it_was_from_a_folder_and_from_a_zip_file() {
    let _turn = turn("a_store_comes_back_as_it_was_from_a_folder_and_from_a_zip_file");
    let Some(python) = python("stores imported again") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    script(&python, "make_h5ad.py", &[folder.path()]).assert_code(0);
    let asked = "--perturbation-key guide --context-key day --batch-key note --kind CRISPRi --shuffle=4";
    import(&path("right.h5ad"), &path("first.zarr"), &format!("{asked} --min-cells-per-gene 125")).assert_code(0);
    let zip = "import shutil, sys; shutil.make_archive(sys.argv[2], 'zip', sys.argv[1])";
    let zipped = Command::new(&python).args(["-c", zip]).args([path("first.zarr"), path("first.zarr")]).status();
    assert!(zipped.unwrap().success());
    fs::write(path("first.json"), script(&python, "read_store.py", &[&path("first.zarr")]).stdout).unwrap();
    for (input, again) in [("first.zarr", "again.zarr"), ("first.zarr.zip", "unzipped.zarr")] {
        import(&path(input), &path(again), "").assert_code(0);
        script(&python, "read_store.py", &[&path(again), &path("first.json")]).assert_code(0);
    }
}

/// A Python program that holds a file open until it is dropped.
struct Holder(Child);

impl Holder {
    fn new(python: &Path, file: &Path, how: &str) -> Self {
        let program = format!(
            "import sys, h5py\nfile = h5py.File(sys.argv[1], {how})\n\
             if file.mode != 'r': file.require_group('uns'); file.flush()\n\
             print('open', flush=True)\nsys.stdin.readline()"
        );
        let mut child = Command::new(python)
            .args(["-c", &program])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "open\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_file_that_cannot_be_opened_says_why_and_what_to_do() {
    let _turn = turn("a_file_that_cannot_be_opened_says_why_and_what_to_do");
    let Some(python) = python("files that cannot be opened") else { return };
    let folder = tempfile::tempdir().unwrap();
    script(&python, "make_h5ad.py", &[folder.path()]).assert_code(0);
    let (file, out) = (folder.path().join("right.h5ad"), folder.path().join("out.zarr"));
    let refused = |file: &Path, parts: &[&str]| {
        let outcome = import(file, &out, "--perturbation-key guide");
        outcome.assert_refused(3, parts);
        assert!(outcome.stderr.contains(file.to_str().unwrap()) && !out.exists(), "{}", outcome.stderr);
    };
    {
        let _holder = Holder::new(&python, &file, "'r+'");
        refused(&file, &["locked", "another program", "HDF5_USE_FILE_LOCKING=FALSE"]);
    }
    {
        let _holder = Holder::new(&python, &file, "'r'");
        import(&file, &folder.path().join("shared.zarr"), "--perturbation-key guide").assert_code(0);
    }
    // Written with the newest layout by a program that was killed: the file says that it is open.
    let left = folder.path().join("left.h5ad");
    drop(Holder::new(&python, &left, "'w', libver='latest'"));
    refused(&left, &["did not close it", "h5clear -s"]);

    let text = folder.path().join("text.h5ad");
    fs::write(&text, "gene,cell\nA,1\n").unwrap();
    refused(&text, &["not HDF5", "Matrix Market"]);
    let bytes = fs::read(&file).unwrap();
    let cut = folder.path().join("cut.h5ad");
    fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).unwrap();
    refused(&cut, &["truncated", "copy or download it again"]);
    refused(&folder.path().join("absent.h5ad"), &["No such file"]);
}
