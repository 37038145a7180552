//! Nothing fitted sees test data: what is fitted carries its fold, and is refused elsewhere.

use std::fs;

use serde_json::Value;
use syncyte_tests::{Lab, run, turn};

#[test]
fn variable_genes_are_chosen_on_training_cells_and_carry_their_split() {
    let _turn = turn("variable_genes_are_chosen_on_training_cells_and_carry_their_split");
    let lab = Lab::new();
    let path = |name: &str| lab.path(name).display().to_string();
    let (store, split, out) = (path("cells.zarr"), path("split.json"), path("genes.json"));
    let hvg = |store: &str, split: &str, n: &str, flavour: &str| {
        run(["--json", "store", "hvg", store, "--split", split, "--n", n, "--flavour", flavour, "--out", &out])
    };
    let frozen: Value = serde_json::from_str(&fs::read_to_string(lab.path("split.json")).unwrap()).unwrap();
    for flavour in ["seurat", "seurat_v3", "log-variance"] {
        let outcome = hvg(&store, &split, "40", flavour);
        outcome.assert_code(0);
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let written: Value = serde_json::from_str(&fs::read_to_string(lab.path("genes.json")).unwrap()).unwrap();
        let genes = written["genes"].as_array().unwrap();
        assert_eq!(genes.iter().filter(|gene| gene["rank"].is_u64()).count(), 40, "{flavour}");
        assert_eq!(answer["selected"], genes.len());
        assert_eq!(answer["split_hash"], frozen["hash"]);
        assert_eq!(written["fitted_on"]["split_hash"], frozen["hash"]);
        assert_eq!(written["fitted_on"]["cells"], frozen["counts"]["train"]["cells"]);
        let targets = frozen["conditions"].as_object().unwrap().keys().filter(|name| *name != "control");
        for target in targets.flat_map(|name| name.split('+')) {
            assert!(genes.iter().any(|gene| gene["name"] == target && gene["target"] == true), "{target} is missing");
        }
    }
    fs::remove_file(lab.path("genes.json")).unwrap();
    hvg(&store, &split, "121", "seurat").assert_refused(2, &["121 variable genes", "take 1 to 120"]);
    hvg(&store, &split, "40", "seurat_v2").assert_refused(2, &["seurat_v2", "seurat, seurat_v3, log-variance"]);
    lab.synth("other.zarr", &["--cells", "600", "--genes", "120", "--perturbations", "12", "--seed", "7"])
        .assert_code(0);
    hvg(&path("other.zarr"), &split, "40", "seurat").assert_refused(3, &["split.json", "data hash"]);
    assert!(!lab.path("genes.json").exists());
}

#[test]
fn stages_on_different_encoders_are_scored_each_in_its_own_embedding_on_any_number_of_ranks() {
    let _turn = turn("stages_on_different_encoders_are_scored_each_in_its_own_embedding_on_any_number_of_ranks");
    let lab = Lab::new();
    for (name, seed) in [("one", "run.seed=1"), ("other", "run.seed=2")] {
        lab.train(1, "pretrain", name, &["engine.steps=10", seed]).assert_code(0);
    }
    let from = |stage: &str, name: &str| format!("{stage} --from {}", lab.path(name).display());
    lab.train(1, &from("finetune", "one"), "run", &["finetune.conditions=4"]).assert_code(0);
    lab.train(1, &from("diffuse", "other"), "run", &[]).assert_code(0);
    // Pretrained since, and used by no stage: its predictor is scored in an embedding of its own.
    lab.train(1, "pretrain", "run", &["engine.steps=10", "run.seed=3"]).assert_code(0);
    let results = |ranks: usize| {
        lab.train(ranks, "evaluate", "run", &["evaluate.bootstrap=100"]).assert_code(0);
        let mut results: Value =
            serde_json::from_str(&fs::read_to_string(lab.path("run/results.json")).unwrap()).unwrap();
        results["provenance"]["stage_seconds"] = Value::Null;
        results
    };
    let alone = results(1);
    assert_eq!(alone, results(2), "ranks share the conditions and change nothing");

    let hash = |run: &str| {
        let state = fs::read_to_string(lab.checkpoints(run).pop().unwrap().join("state.json")).unwrap();
        serde_json::from_str::<Value>(&state).unwrap()["parameter_hash"].clone()
    };
    let encoders = [("finetune", "one"), ("diffuse", "other"), ("pretrain", "run")];
    let encoders: serde_json::Map<String, Value> =
        encoders.iter().map(|(stage, run)| (format!("embedding_{stage}"), hash(run))).collect();
    assert_eq!(alone["provenance"]["encoders"], Value::Object(encoders));
    let l2 = |method: &str, stage: &str| {
        let metric = format!("l2_embedding_{stage}");
        let mut rows = alone["results"].as_array().unwrap().iter();
        rows.find(|row| row["method"] == method && row["metric"] == *metric).unwrap()["value"].as_f64().unwrap()
    };
    for method in ["jepa_set", "jepa_diffusion", "jepa_predictor", "train_mean"] {
        for stage in ["finetune", "diffuse", "pretrain"] {
            assert!(l2(method, stage) > 0.0, "{method} in the embedding of {stage}");
        }
    }
}
