//! Labels and values of every spelling go through the commands, or are refused with the option that decides.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use syncyte_tests::{Lab, Outcome, run, test_data, turn};

/// Imports a made-up file into `folder`; nothing where it is absent.
fn import(name: &str, folder: &Path, options: &[&str]) -> Option<Outcome> {
    let input = test_data(&format!("files/{name}.h5ad"), "labels and values")?;
    let words = ["--json".into(), "store".into(), "import".into(), input, folder.join("out.zarr")];
    Some(run(words.into_iter().chain(options.iter().map(PathBuf::from))))
}

fn inspect(store: &Path) -> Value {
    run(["--json", "store", "inspect", store.to_str().unwrap()]).json()
}

#[test]
fn every_spelling_of_labels_gives_the_cells_that_it_means() {
    let _turn = turn("every_spelling_of_labels_gives_the_cells_that_it_means");
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.tsv");
    fs::write(&map, "GENE1_pDS032\tGENE1\nGENE2_pDS033\tGENE2\n63(mod)_pBA580\tGENE1\n3x_neg_ctrl_pMJ144-1\tcontrol\n")
        .unwrap();
    let table: [(&str, &[&str], Value); 3] = [
        ("guide_labels", &["--strip-guide-suffix"], json!({ "control": [80], "GENE1": [80], "GENE2": [80] })),
        ("separators", &[], json!({ "control": [80], "GENE1": [40], "GENE1+GENE2": [120] })),
        (
            "adamson_labels",
            &["--label-map", map.to_str().unwrap(), "--exclude", "*"],
            json!({ "control": [80], "GENE1": [100], "GENE2": [40] }),
        ),
    ];
    for (name, options, want) in table {
        let out = tempfile::tempdir().unwrap();
        let Some(imported) = import(name, out.path(), options) else { return };
        let report = imported.json();
        let store = out.path().join("out.zarr");
        let found = inspect(&store);
        assert_eq!(found["cells_by_context"], want, "{name}");
        assert_eq!(found["control_labels"], report["control_labels"], "{name}");
        let noted: u64 = report["control_labels"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert_eq!(noted, 80, "{name}");
        let text = run(["store", "inspect", store.to_str().unwrap()]).stdout;
        for label in report["control_labels"].as_object().unwrap().keys() {
            assert!(text.contains(label), "{label} is not in {text}");
        }
        assert!(text.lines().any(|line| line.split_whitespace().eq(["control", "80"])), "{text}");
    }
}

#[test]
fn cells_that_nothing_can_be_trained_on_are_refused_unless_that_is_wanted() {
    let _turn = turn("cells_that_nothing_can_be_trained_on_are_refused_unless_that_is_wanted");
    let folder = tempfile::tempdir().unwrap();
    let Some(refused) = import("one_cell_each", folder.path(), &[]) else { return };
    refused.assert_refused(3, &["nothing can be trained on", "--min-cells-per-perturbation", "--unlabelled"]);
    assert!(!folder.path().join("out.zarr").exists());
    let mistyped = import("guide_labels", folder.path(), &["--perturbation-key", "perturbatoin"]).unwrap();
    mistyped
        .assert_refused(3, &["no column 'perturbatoin'", "it has perturbation", "'perturbation' with GENE2_sg1 (80)"]);
    import("one_cell_each", folder.path(), &["--unlabelled"]).unwrap().assert_code(0);

    let Some(cells) = test_data("cells/pbmc_5k_protein_v3.h5ad", "cells without labels") else { return };
    let import = |options: &[&str]| {
        let words = ["store".into(), "import".into(), cells.clone(), folder.path().join("pbmc.zarr")];
        run(words.into_iter().chain(options.iter().map(PathBuf::from)))
    };
    import(&[]).assert_refused(3, &["no column of perturbation labels", "--perturbation-key", "--unlabelled"]);
    let imported = import(&["--unlabelled"]);
    imported.assert_code(0);
    assert!(imported.stdout.contains("every cell counts as control"), "{}", imported.stdout);
    assert!(imported.stdout.contains("controls are labelled (no label) ("), "{}", imported.stdout);
}

#[test]
fn fractional_counts_and_other_scales_are_told_and_brought_to_the_stores() {
    let _turn = turn("fractional_counts_and_other_scales_are_told_and_brought_to_the_stores");
    let folder = tempfile::tempdir().unwrap();
    let Some(refused) = import("ambient_corrected", folder.path(), &[]) else { return };
    refused.assert_refused(3, &["--values counts --round stochastic"]);
    import("ambient_corrected", folder.path(), &["--round", "nearest"])
        .unwrap()
        .assert_refused(2, &["--values counts"]);
    import("log2", folder.path(), &["--values", "log1p"]).unwrap().assert_refused(3, &["log2(1 + counts per 10,000)"]);
    import("log2", folder.path(), &["--target-sum", "0"]).unwrap().assert_refused(2, &["a number above 0"]);
    for (name, options, said) in [
        ("ambient_corrected", &["--values", "counts", "--round", "stochastic"][..], "rounding (stochastic)"),
        ("log2", &[], "log2(1 + counts per 10,000)"),
        ("log_cpm_only", &[], "ln(1 + counts per 1,000,000)"),
    ] {
        let out = tempfile::tempdir().unwrap();
        let report = import(name, out.path(), options).unwrap().json();
        assert!(report["notices"].to_string().contains(said), "{report}");
        let found = inspect(&out.path().join("out.zarr"));
        let rounding = if name == "ambient_corrected" { json!("stochastic") } else { Value::Null };
        assert_eq!(found["rounding"], rounding);
    }
}

#[test]
fn inputs_have_label_columns_of_their_own() {
    let _turn = turn("inputs_have_label_columns_of_their_own");
    let Some(input) = test_data("files/guide_labels.h5ad", "inputs with keys of their own") else { return };
    let Some(other) = test_data("cells/pbmc_5k_protein_v3.h5ad", "inputs with keys of their own") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.zarr");
    let import =
        |words: &[&str]| run(["--json", "store", "import"].iter().chain(words).chain(&[out.to_str().unwrap()]));
    let input = input.to_str().unwrap();
    import(&[&format!("{input}:perturbation-key=guide")])
        .assert_refused(3, &["no column 'guide'", "guide_labels.h5ad"]);
    import(&[&format!("{input}:guide-key=guide")]).assert_refused(2, &["guide-key", "perturbation-key, context-key"]);
    import(&[input, other.to_str().unwrap()]).assert_refused(3, &["pbmc_5k_protein_v3.h5ad"]);
    let table = folder.path().join("inputs.toml");
    fs::write(&table, format!("[[input]]\npath = '{input}'\nperturbation-key = 'perturbation'\nkind = 'CRISPRi'\n"))
        .unwrap();
    let report = import(&["--inputs", table.to_str().unwrap()]).json();
    assert_eq!(report["inputs"][0]["columns"]["kind"], "CRISPRi");
    assert_eq!(report["controls"], 80);
}

#[test]
fn folds_have_the_sizes_asked_for_or_are_those_of_a_column() {
    let _turn = turn("folds_have_the_sizes_asked_for_or_are_those_of_a_column");
    let lab = Lab::new();
    let store = lab.path("cells.zarr");
    let split = |words: &[&str]| {
        let out = lab.path("folds.json");
        let first = ["--json", "store", "split", store.to_str().unwrap(), "--out", out.to_str().unwrap()];
        run(first.iter().chain(words))
    };
    let answer = split(&["--scheme", "cells", "--shares", "50/30/20"]).json();
    let cells = |fold: &str| answer["folds"][fold]["cells"].as_f64().unwrap() / 1200.0;
    assert!((cells("train") - 0.5).abs() < 0.03 && (cells("val") - 0.3).abs() < 0.03, "{answer}");
    assert!(answer["rule"].as_str().unwrap().contains("50/30/20"), "{answer}");
    split(&["--scheme", "cells", "--shares", "50/50"]).assert_refused(2, &["50/50", "70/15/15"]);
    split(&[]).assert_refused(2, &["--scheme (cells", "--from-column"]);
    split(&["--from-column", "fold"]).assert_refused(2, &["no column `fold`", "perturbation"]);
    split(&["--from-column", "perturbation"])
        .assert_refused(3, &["names no fold", "SYN0003 (90)", "train, val and test"]);
    split(&["--from-column", "batch", "--shares", "80/10/10"]).assert_refused(2, &["cannot be used with"]);
}
