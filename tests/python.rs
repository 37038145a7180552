//! Python's own libraries read what Syncyte writes.

use std::fs;
use std::path::Path;

use serde_json::Value;
use syncyte_tests::{Lab, python, run, script, turn};

#[test]
fn anndata_reads_a_store_with_the_cells_genes_and_columns_that_were_imported() {
    let _turn = turn("anndata_reads_a_store_with_the_cells_genes_and_columns_that_were_imported");
    let Some(python) = python("anndata reads a store") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    script(&python, "make_h5ad.py", &[folder.path()]).assert_code(0);

    let (input, store) = (path("right.h5ad"), path("store.zarr"));
    let mut words: Vec<&Path> = ["store", "import"].map(Path::new).to_vec();
    words.extend([input.as_path(), &store]);
    let keep_all =
        "--perturbation-key guide --min-genes 0 --max-pct-mt 101 --min-cells-per-gene 0 --min-cells-per-perturbation 0";
    words.extend(keep_all.split(' ').map(Path::new));
    run(words).assert_code(0);
    script(&python, "read_store.py", &[&store, &path("right.json")]).assert_code(0);
}

#[test]
fn safetensors_reads_a_checkpoint() {
    let _turn = turn("safetensors_reads_a_checkpoint");
    let Some(python) = python("safetensors reads a checkpoint") else { return };
    let lab = Lab::new();
    lab.train(2, "pretrain", "run", &["engine.steps=2"]).assert_code(0);
    let folder = &lab.checkpoints("run")[0];
    let read = |name: &str| script(&python, "read_safetensors.py", &[&folder.join(name)]).json();
    let (model, teacher) = (read("model.safetensors"), read("teacher.safetensors"));
    let model = model.as_object().unwrap();
    assert!(model.values().chain(teacher.as_object().unwrap().values()).all(|t| t[0] == "float32" && t[2] == true));
    for (name, tensor) in teacher.as_object().unwrap() {
        assert_eq!(tensor, &model[name], "{name} of teacher and student");
    }
    // Both ranks' optimizer files together have a value for each element of the flat buffer.
    let state: Value = serde_json::from_str(&fs::read_to_string(folder.join("state.json")).unwrap()).unwrap();
    let parameters: u64 = model.values().map(|t| sizes(&t[1]).product::<u64>()).sum();
    assert!(state["flat_len"].as_u64().is_some_and(|elements| elements >= parameters));
    let parts = ["optimizer-0-of-2.safetensors", "optimizer-1-of-2.safetensors"].map(read);
    for moment in ["m", "v"] {
        assert_eq!(parts.iter().flat_map(|part| sizes(&part[moment][1])).sum::<u64>(), state["flat_len"], "{moment}");
    }
}

fn sizes(shape: &Value) -> impl Iterator<Item = u64> {
    shape.as_array().into_iter().flatten().filter_map(Value::as_u64)
}
