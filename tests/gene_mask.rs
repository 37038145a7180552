//! Pretraining on masked genes: it learns on planted and on real cells, whichever encoder reads them.

use std::path::Path;

use serde_json::Value;
use syncyte_tests::{Lab, metrics, run, test_data, turn, workspace_root};

/// Share of its width that the effective rank of embeddings must reach.
const RANK: f64 = 0.3;
const WIDTH: f64 = 64.0;
const DENSE: &str =
    "model.encoder={ kind = \"gene_mlp\", hidden = [128], tokens = 8, width = 64, depth = 2, heads = 4 }";

/// Pretrains by `configs/gene_mask.toml` on two ranks; gives the lines of the log.
fn pretrain(lab: &Lab, name: &str, (store, split): (&Path, &Path), settings: &[&str]) -> Vec<Value> {
    let folder = lab.path(name);
    let config = workspace_root().join("configs/gene_mask.toml");
    let mut all = vec![
        format!("run.dir={}", folder.display()),
        format!("data.store={}", store.display()),
        format!("data.split={}", split.display()),
        "engine.threads=1".to_owned(),
    ];
    all.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let config = config.display().to_string();
    let mut command = vec!["launch", "-n", "2", "--", "syncyte", "pretrain", "--config", &config];
    for setting in &all {
        command.extend(["--set", setting]);
    }
    run(command).assert_code(0);
    metrics(&folder)
}

fn assert_learns(lines: &[Value], name: &str) {
    let mean =
        |lines: &[Value]| lines.iter().map(|line| line["loss"].as_f64().unwrap()).sum::<f64>() / lines.len() as f64;
    let (first, last) = (mean(&lines[..10]), mean(&lines[lines.len() - 10..]));
    assert!(last < 0.8 * first, "{name}: the loss fell from {first} to {last}");
    let monitors: Vec<&Value> = lines.iter().map(|line| &line["monitors"]).filter(|at| at.is_object()).collect();
    assert!(monitors.len() >= 2, "{name}: no monitors");
    for side in ["student", "teacher"] {
        let rank = |at: &Value| at[format!("{side}/effective_rank")].as_f64().unwrap();
        let ranks: Vec<f64> = monitors.iter().map(|at| rank(at)).collect();
        println!("{name}: loss {first:.2} to {last:.2}, effective rank of the {side} {ranks:.1?}");
        assert!(ranks.iter().all(|rank| *rank > RANK * WIDTH), "{name}: {side} {ranks:?}");
    }
    assert!(lines.iter().all(|line| line["terms"]["cosine"].as_f64().is_some_and(|term| (0.0..=2.0).contains(&term))));
}

#[test]
fn masked_genes_are_learned_on_planted_cells_by_either_encoder() {
    let _turn = turn("masked_genes_are_learned_on_planted_cells_by_either_encoder");
    let lab = Lab::new();
    let data = (lab.path("cells.zarr"), lab.path("split.json"));
    let data = (data.0.as_path(), data.1.as_path());
    let short = ["engine.steps=100", "engine.monitor_every=50"];
    assert_learns(&pretrain(&lab, "tokens", data, &short), "gene_transformer");
    assert_learns(&pretrain(&lab, "dense", data, &[&short[..], &[DENSE]].concat()), "gene_mlp");
}

#[test]
fn masked_genes_are_learned_on_real_screens() {
    let _turn = turn("masked_genes_are_learned_on_real_screens");
    let lab = Lab::new();
    for name in ["norman_mcfaline_subset", "papalexi_thp1"] {
        let Some(file) = test_data(&format!("cells/{name}.h5ad"), "pretraining on masked genes") else { return };
        let (store, split) = (lab.path(&format!("{name}.zarr")), lab.path(&format!("{name}.json")));
        run(["store".as_ref(), "import".as_ref(), file.as_os_str(), store.as_os_str()]).assert_code(0);
        let words = ["store".as_ref(), "split".as_ref(), store.as_os_str(), "--scheme".as_ref(), "cells".as_ref()];
        run(words.into_iter().chain(["--out".as_ref(), split.as_os_str()])).assert_code(0);
        assert_learns(&pretrain(&lab, name, (&store, &split), &["engine.steps=150"]), name);
    }
}

#[test]
fn models_and_tasks_that_do_not_fit_each_other_are_refused_with_the_key_to_set() {
    let _turn = turn("models_and_tasks_that_do_not_fit_each_other_are_refused_with_the_key_to_set");
    let lab = Lab::new();
    let cases: [(&[&str], &[&str]); 2] = [
        (&["objective.tasks=[\"gene_mask\"]"], &["\"gene_mask\"", "model.pointer"]),
        (
            &["objective.tasks=[\"paired\"]", "model.predictor={ kind = \"transformer\", heads = 2 }"],
            &["model.predictor = \"transformer\"", "\"paired\""],
        ),
    ];
    for (settings, parts) in cases {
        lab.train(1, "pretrain", "run", settings).assert_refused(2, parts);
        lab.assert_nothing_in("run");
    }
}
