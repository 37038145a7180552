//! A verdict rests on what was measured: where there is nothing to find, nothing is found.

use std::path::Path;

use serde_json::Value;
use syncyte_tests::{demo, python, script, test_data, turn};

#[test]
fn real_cells_with_permuted_labels_give_every_method_a_delta_of_zero_within_its_interval() {
    let _turn = turn("real_cells_with_permuted_labels_give_every_method_a_delta_of_zero_within_its_interval");
    let what = "the verdict on permuted labels";
    let Some(cells) = test_data("cells/papalexi_thp1.h5ad", what) else { return };
    let Some(python) = python(what) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (permuted, out) = (folder.path().join("permuted.h5ad"), folder.path().join("demo"));
    let words = [cells.as_path(), Path::new("perturbation"), Path::new("5000"), &permuted];
    script(&python, "permute_labels.py", &words).assert_code(0);
    let steps = ["--set", "engine.steps=40", "--set", "finetune.steps=60"];
    let results = demo(&out, &[&["--data", permuted.to_str().unwrap()][..], &steps].concat());
    let mut judged = 0;
    for row in results["results"].as_array().unwrap() {
        let metric = row["metric"].as_str().unwrap();
        let delta = ["pearson_delta_control", "pearson_delta_perturbed", "cosine_delta_pca50"].contains(&metric);
        let (Some(value), Some(low), Some(high)) =
            (row["value"].as_f64(), row["ci_low"].as_f64(), row["ci_high"].as_f64())
        else {
            continue;
        };
        if delta && row["split"] == "test/all" {
            judged += 1;
            assert!(low <= 0.0 && 0.0 <= high, "{} has {metric} {value} [{low}, {high}]", row["method"]);
        }
    }
    assert!(judged >= 20, "only {judged} values are defined");
    let won = |row: &&Value| row["verdict"] == "better" && row["metric"] == "pearson_delta_control";
    let wins: Vec<_> = results["results"].as_array().unwrap().iter().filter(won).collect();
    assert!(wins.is_empty(), "{wins:?}");
}
