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

#[test]
fn an_exported_model_is_read_with_the_weights_of_the_teacher_and_the_names_of_its_genes() {
    let _turn = turn("an_exported_model_is_read_with_the_weights_of_the_teacher_and_the_names_of_its_genes");
    let Some(python) = python("safetensors reads an exported model") else { return };
    let lab = Lab::new();
    lab.train(2, "pretrain", "run", &["engine.steps=2"]).assert_code(0);
    let exported = lab.path("exported");
    let words = ["export".into(), lab.path("run").into_os_string(), exported.clone().into_os_string()];
    run(words).assert_code(0);
    let read = |path: &Path| script(&python, "read_safetensors.py", &[path]).json();
    let (all, teacher) =
        (read(&exported.join("model.safetensors")), read(&lab.checkpoints("run")[0].join("teacher.safetensors")));
    for (name, tensor) in teacher.as_object().unwrap() {
        assert_eq!(tensor, &all[name], "{name}");
    }
    assert!(all.as_object().unwrap().values().all(|tensor| tensor[0] == "float32" && tensor[2] == true));
    let config: Value = serde_json::from_str(&fs::read_to_string(exported.join("config.json")).unwrap()).unwrap();
    let genes = fs::read_to_string(exported.join("vocab.txt")).unwrap().lines().count();
    assert_eq!(config["vocab_size"], genes);
    assert_eq!(all["encoder.hidden.0.weight"][1][1], genes);
}

#[test]
fn the_report_of_a_gpu_machine_fails_what_was_not_shown() {
    let _turn = turn("the_report_of_a_gpu_machine_fails_what_was_not_shown");
    let Some(python) = python("the report of a GPU machine") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (report, out) = (folder.path().join("report.md"), folder.path());
    // Steps that ended well and said: one nothing, the other that the machine has what is needed.
    fs::write(out.join("steps.tsv"), "doctor\t0\t1\tsyncyte doctor\nkernel_tests\t0\t1\ttests\n").unwrap();
    let found = |detail: &str| serde_json::json!({ "found": true, "detail": detail });
    let doctor = serde_json::json!({
        "cuda": found("driver"), "torch_cuda": found("libtorch"), "nvrtc": found("NVRTC"),
        "nccl": { "found": true, "detail": "NCCL", "version": "2.30.3" },
    });
    fs::write(out.join("doctor.out"), format!("{doctor}\n")).unwrap();
    let words = ["write", "OUT", "REPORT", "--device", "cuda", "--bundle", "OUT"];
    let words = words.map(|word| match word {
        "OUT" => out,
        "REPORT" => &report,
        word => Path::new(word),
    });
    script(&python, "gpu_report.py", &words).assert_code(1);
    let text = fs::read_to_string(&report).unwrap();
    let row = |check: &str| text.lines().find(|line| line.contains(check)).unwrap_or_else(|| panic!("{check}: {text}"));
    assert!(row("`doctor` finds").contains("PASS"), "{text}");
    assert_eq!(text.matches("| PASS |").count(), 1, "nothing else was shown: {text}");
    assert!(text.contains("**FAIL**") && text.contains("it was not run"), "{text}");
    let shares = script(&python, "gpu_report.py", &[Path::new("nccl"), out]);
    assert_eq!(shares.stdout.trim(), "shares");
}

fn sizes(shape: &Value) -> impl Iterator<Item = u64> {
    shape.as_array().into_iter().flatten().filter_map(Value::as_u64)
}
