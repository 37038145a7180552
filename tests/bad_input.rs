//! Input that cannot be right is refused by a message that says what, where and how to fix it, and leaves nothing.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use syncyte_tests::{Lab, Outcome, python, run, script, test_data, turn};

/// Imports into an empty folder and asserts that nothing stays there.
fn import(input: &Path, options: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.zarr");
    let words = ["store".as_ref(), "import".as_ref(), input.as_os_str(), store.as_os_str()];
    let outcome = run(words.into_iter().chain(options.split_whitespace().map(OsStr::new)));
    let left: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "a refused import left {left:?}");
    outcome
}

/// The first `share` of a file, as `name` in `folder`.
fn cut(file: &Path, folder: &Path, name: &str, share: f64) -> PathBuf {
    let bytes = fs::read(file).unwrap();
    let path = folder.join(name);
    fs::write(&path, &bytes[..(bytes.len() as f64 * share) as usize]).unwrap();
    path
}

#[test]
fn a_file_that_was_cut_off_is_named_as_such() {
    let _turn = turn("a_file_that_was_cut_off_is_named_as_such");
    let folder = tempfile::tempdir().unwrap();
    let files = [("cells/gbm_panobinostat.h5ad", "cut.h5ad"), ("cells/10x_pbmc68k_reduced.zarr.zip", "cut.zarr.zip")];
    for (file, name) in files {
        let Some(whole) = test_data(file, "truncated input") else { continue };
        for share in [0.9, 0.3, 0.001] {
            let path = cut(&whole, folder.path(), name, share);
            import(&path, "").assert_refused(3, &[path.to_str().unwrap(), "truncated"]);
        }
    }
    let empty = folder.path().join("empty.h5ad");
    fs::write(&empty, "").unwrap();
    import(&empty, "").assert_refused(3, &[empty.to_str().unwrap()]);
    import(&folder.path().join("absent.h5ad"), "").assert_refused(3, &["absent.h5ad", "No such file"]);
}

#[test]
fn values_genes_and_labels_that_cannot_be_right_are_named() {
    let _turn = turn("values_genes_and_labels_that_cannot_be_right_are_named");
    let Some(python) = python("bad values, genes and labels") else { return };
    let folder = tempfile::tempdir().unwrap();
    script(&python, "make_h5ad.py", &[folder.path()]).assert_code(0);
    let refused = |name: &str, options: &str, parts: &[&str]| {
        let keep_all = "--min-genes 0 --max-pct-mt 101 --min-cells-per-gene 0 --min-cells-per-perturbation 0";
        let options = format!("{keep_all} {options}");
        import(&folder.path().join(name), &options).assert_refused(3, parts);
    };
    refused("negative.h5ad", "--perturbation-key guide --values counts", &["'cell7'", "'G3'", "-1", "negative.h5ad"]);
    refused(
        "fractional.h5ad",
        "--perturbation-key guide --values counts",
        &["'cell7'", "'G3'", "2.5", "fractional.h5ad"],
    );
    refused("duplicate.h5ad", "--perturbation-key guide", &["G3", "more than once", "--make-unique"]);
    refused("unknown.h5ad", "--perturbation-key guide", &["labels found", "A", "B", "C", "--control"]);
    refused(
        "right.h5ad",
        "--perturbation-key guide --control vehicle",
        &["vehicle", "labels found", "control", "G1+G2", "--control"],
    );
    refused("right.h5ad", "--perturbation-key gene", &["gene", "guide", "note"]);
}

#[test]
fn a_split_with_an_empty_fold_is_refused_with_the_rule_and_leaves_no_file() {
    let _turn = turn("a_split_with_an_empty_fold_is_refused_with_the_rule_and_leaves_no_file");
    let lab = Lab::new();
    lab.synth("few.zarr", &["--cells", "300", "--genes", "60", "--perturbations", "2"]).assert_code(0);
    for (scheme, fix) in [("doubles", "--scheme perturbations"), ("perturbations", "--scheme cells")] {
        lab.split("few.zarr", scheme, "few.json").assert_refused(3, &["empty split", scheme, "rule: ", fix]);
    }
    lab.split("few.zarr", "context", "few.json").assert_refused(3, &["two contexts", "`line1`"]);
    lab.split("few.zarr", "sideways", "few.json")
        .assert_refused(2, &["sideways", "cells, perturbations, doubles, context"]);
    assert!(!lab.path("few.json").exists());
}

#[test]
fn a_split_that_is_not_the_stores_own_is_refused() {
    let _turn = turn("a_split_that_is_not_the_stores_own_is_refused");
    let lab = Lab::new();
    lab.synth("other.zarr", &["--cells", "600", "--genes", "120", "--perturbations", "12", "--seed", "7"])
        .assert_code(0);
    let other = format!("data.store={}", lab.path("other.zarr").display());
    let text = fs::read_to_string(lab.path("split.json")).unwrap();
    fs::write(lab.path("changed.json"), text.replacen("\"seed\": 42", "\"seed\": 43", 1)).unwrap();
    fs::write(lab.path("junk.json"), "[]").unwrap();
    let split = |name: &str| format!("data.split={}", lab.path(name).display());
    let cases = [
        (other, vec!["split.json", "other.zarr", "data hash", "syncyte store split"]),
        (split("changed.json"), vec!["changed.json", "was changed after it was made"]),
        (split("junk.json"), vec!["junk.json", "not a split"]),
        (split("absent.json"), vec!["absent.json", "No such file"]),
    ];
    for (setting, parts) in cases {
        for command in ["pretrain", "evaluate"] {
            lab.train(1, command, "run", &[&setting]).assert_refused(3, &parts);
            lab.assert_nothing_in("run");
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_right_is_refused_by_key() {
    let _turn = turn("a_configuration_that_cannot_be_right_is_refused_by_key");
    let lab = Lab::new();
    let cases: [(&str, &[&str]); 7] = [
        ("engine.stepz=7", &["`engine.stepz`", "did you mean `engine.steps`?"]),
        ("data.batchsize=7", &["`data.batchsize`", "did you mean `data.batch_size`?"]),
        ("data.batch_size=65", &["data.batch_size = 65", "data.streams = 8"]),
        ("objective.tasks=[\"contrastive\"]", &["contrastive", "augmentation", "paired"]),
        ("objective.kind=paired", &["`objective.kind` is now", "`objective.tasks`"]),
        ("model.encoder.heads=3", &["model.encoder (gene_mlp)", "heads = 3", "width = 16"]),
        ("engine.steps", &["engine.steps", "key=value"]),
    ];
    for (setting, parts) in cases {
        lab.train(1, "pretrain", "run", &[setting]).assert_refused(2, parts);
        assert!(!lab.path("run").exists(), "{setting} left a run folder");
    }
    lab.train(1, "pretrain", "run", &["data.store=absent.zarr"])
        .assert_refused(3, &["absent.zarr", "syncyte store import"]);
    lab.assert_nothing_in("run");
}
