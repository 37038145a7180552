//! A verdict rests on what was measured: where there is nothing to find, nothing is found.

use std::fs;
use std::path::Path;

use serde_json::Value;
use syncyte_tests::{Lab, demo, python, script, test_data, turn};

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
    let (mut judged, mut covered) = (0, 0);
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
            covered += usize::from(low <= 0.0 && 0.0 <= high);
            // Of some thirty intervals of 95 % one or two leave zero out; none may lie far from it.
            let far = value.abs() / (high - low).max(1e-9) * 2.0;
            assert!(far < 1.6, "{} has {metric} {value} [{low}, {high}]", row["method"]);
        }
    }
    assert!(judged >= 20, "only {judged} values are defined");
    assert!(100 * covered >= 85 * judged, "zero lies in {covered} of {judged} intervals");
    let won = |row: &&Value| row["verdict"] == "better" && row["metric"] == "pearson_delta_control";
    let wins: Vec<_> = results["results"].as_array().unwrap().iter().filter(won).collect();
    assert!(wins.is_empty(), "{wins:?}");
}

#[test]
fn an_evaluation_uses_the_seed_that_the_models_were_trained_with_and_says_so() {
    let _turn = turn("an_evaluation_uses_the_seed_that_the_models_were_trained_with_and_says_so");
    let lab = Lab::new();
    lab.train(1, "pretrain", "run", &["engine.steps=2"]).assert_code(0);
    lab.train(1, &format!("finetune --from {}", lab.path("run").display()), "run", &[]).assert_code(0);
    let evaluate = |settings: &[&str]| -> Value {
        let settings = [&["evaluate.bootstrap=50", "evaluate.cell_draws=5"], settings].concat();
        lab.train(1, "evaluate", "run", &settings).assert_code(0);
        serde_json::from_str(&fs::read_to_string(lab.path("run/results.json")).unwrap()).unwrap()
    };
    let (own, other) = (evaluate(&[]), evaluate(&["run.seed=7"]));
    let said = |results: &Value| {
        let warnings = results["warnings"].as_array().unwrap();
        warnings.iter().any(|warning| warning.as_str().unwrap().contains("trained with seed 42"))
    };
    assert!(!said(&own) && said(&other), "{}", other["warnings"]);
    assert_eq!(own["results"], other["results"], "the same seed gives the same numbers");
    assert_eq!(other["results"][0]["seeds"][0], 42);
}

#[test]
fn a_held_out_context_is_not_pooled_with_seen_ones() {
    let _turn = turn("a_held_out_context_is_not_pooled_with_seen_ones");
    let what = "a held-out patient";
    let Some(cells) = test_data("cells/gbm_panobinostat.h5ad", what) else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let words = [
        "--scheme",
        "context",
        "--hold-out",
        "PW030",
        "--context-key",
        "patient_id",
        "--perturbation-key",
        "condition",
    ];
    let steps = ["--set", "engine.steps=6", "--set", "finetune.steps=6"];
    let data = ["--data", cells.to_str().unwrap()];
    let results = demo(&out, &[&data[..], &words, &steps].concat());
    let rows = results["conditions"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["context"] == "PW030"), "conditions of seen patients are mixed in");
    let verdicts = results["results"].as_array().unwrap().iter().filter_map(|row| row["verdict"].as_str());
    assert!(verdicts.into_iter().all(|verdict| verdict == "cannot be judged"), "one condition is judged");
    assert!(results["warnings"].to_string().contains("nothing can be judged"), "{}", results["warnings"]);
}
