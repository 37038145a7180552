//! One command goes from cells to a report.

use std::fs;
use std::path::Path;

use serde_json::Value;
use syncyte_tests::{Outcome, demo, result_row as row, run, test_data, turn};

const METHODS: [&str; 10] = [
    "jepa_prototype",
    "jepa_set",
    "jepa_diffusion",
    "no_change",
    "mean_shift",
    "mean_shift_all",
    "train_mean",
    "additive",
    "linear",
    "linear_targets",
];

/// Runs the demo in `out` with a small model and further words.
fn start(out: &Path, words: &[&str]) -> Outcome {
    let model = "model.encoder.hidden=[64] model.encoder.tokens=4 model.encoder.width=32 model.encoder.depth=1 \
                 model.encoder.heads=2 model.predictor.depth=1 model.predictor.heads=2 model.perturbation.width=32 \
                 finetune.hidden=64 diffusion.steps=20 diffusion.hidden=[32] evaluate.bootstrap=200 engine.monitor_every=50";
    let mut all = vec!["--json", "demo", "--out", out.to_str().unwrap()];
    all.extend(words);
    all.extend(model.split_whitespace().flat_map(|setting| ["--set", setting]));
    run(all)
}

/// Short training.
const SHORT: [&str; 4] = ["--set", "engine.steps=6", "--set", "finetune.steps=6"];

/// Generates planted cells.
fn synth(path: &Path, words: &str) {
    let first = ["store", "synth", path.to_str().unwrap()];
    run(first.into_iter().chain(words.split_whitespace())).assert_code(0);
}

#[test]
fn the_demo_fits_itself_to_few_cells_and_says_how() {
    let _turn = turn("the_demo_fits_itself_to_few_cells_and_says_how");
    let folder = tempfile::tempdir().unwrap();
    let cells = folder.path().join("cells.zarr");
    for (number, (sizes, ranks)) in [
        ("--cells 108 --perturbations 15", "2"),
        ("--cells 60 --perturbations 2", "1"),
        ("--cells 108 --perturbations 15", "3"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::remove_dir_all(&cells).ok();
        synth(&cells, &format!("{sizes} --genes 80 --seed 3"));
        let out = folder.path().join(number.to_string());
        let import = ["--data", cells.to_str().unwrap(), "--min-cells-per-perturbation", "1", "--ranks", ranks];
        let outcome = start(&out, &[&import[..], &SHORT].concat());
        outcome.json();
        for said in
            ["data.batch_size is set to", "evaluate.min_cells is set to", "scheme ", "controls are labelled control"]
        {
            assert!(outcome.stderr.contains(said), "`{said}` is not in {}", outcome.stderr);
        }
        assert!(out.join("results.json").is_file());
    }
}

#[test]
fn cells_without_perturbations_end_the_demo_before_it_trains_and_the_next_one_replaces_it() {
    let _turn = turn("cells_without_perturbations_end_the_demo_before_it_trains_and_the_next_one_replaces_it");
    let Some(none) = test_data("files/one_cell_each.h5ad", "a demo without perturbed cells") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let none = ["--data", none.to_str().unwrap()];
    start(&out, &none).assert_refused(3, &["nothing can be trained on", "--min-cells-per-perturbation"]);
    let outcome = start(&out, &[&none[..], &["--unlabelled"]].concat());
    outcome.assert_refused(3, &["all 200 cells are controls", "objective.tasks"]);
    assert!(!outcome.stderr.contains("pretrain\n"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("did not come to its end"), "{}", outcome.stderr);
    start(&out, &["--unlabelled"]).assert_refused(2, &["--data"]);

    let cells = folder.path().join("cells.zarr");
    synth(&cells, "--cells 400 --perturbations 4 --genes 80");
    let planted = [&["--data", cells.to_str().unwrap()][..], &SHORT].concat();
    start(&out, &planted).json();
    start(&out, &planted).assert_refused(2, &["holds an earlier demo", "--force"]);
    assert!(out.join("results.json").is_file());
}

#[test]
fn a_context_that_is_held_out_is_passed_on_to_the_split() {
    let _turn = turn("a_context_that_is_held_out_is_passed_on_to_the_split");
    let folder = tempfile::tempdir().unwrap();
    let (cells, out) = (folder.path().join("lines.zarr"), folder.path().join("demo"));
    synth(&cells, "--preset medium --world W5 --set contexts=2 --cells 900 --perturbations 4 --genes 120");
    let words = ["--data", cells.to_str().unwrap(), "--context-key", "context"];
    let refused = start(&out, &[&words[..], &["--scheme", "context"]].concat());
    refused.assert_refused(2, &["--hold-out", "line1", "line2"]);
    let outcome = start(&out, &[&words[..], &["--hold-out", "line2"], &SHORT].concat());
    assert_eq!(outcome.json()["scheme"], "context");
    for said in ["scheme context, since a context is held out", "evaluate.pool_validation is set to false", "note: "] {
        assert!(outcome.stderr.contains(said), "`{said}` is not in {}", outcome.stderr);
    }
    let split: Value = serde_json::from_str(&fs::read_to_string(out.join("split.json")).unwrap()).unwrap();
    assert_eq!(split["hold_out"], "line2");
}

#[test]
fn the_demo_reports_every_method_and_baseline_with_intervals() {
    let _turn = turn("the_demo_reports_every_method_and_baseline_with_intervals");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let steps = ["--set", "engine.steps=40", "--set", "finetune.steps=20"];
    let results = demo(&out, &[&["--cells", "1500"][..], &steps].concat());
    for method in METHODS {
        let mse = row(&results, method, "mse");
        let number = |key: &str| mse[key].as_f64().unwrap_or(f64::NAN);
        let (low, value, high) = (number("ci_low"), number("value"), number("ci_high"));
        assert!(low <= value && value <= high && low < high && value > 0.0, "{method}: {mse}");
    }
    for key in ["config_hash", "data_hash", "split_hash", "git", "seed"] {
        assert!(!results["provenance"][key].is_null(), "provenance has no {key}");
    }
}

#[test]
fn the_demo_predicts_changes_of_real_cells_that_are_specific_to_the_perturbation() {
    let _turn = turn("the_demo_predicts_changes_of_real_cells_that_are_specific_to_the_perturbation");
    let Some(cells) = test_data("cells/norman_mcfaline_subset.h5ad", "the demo on real cells") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let steps = ["--set", "engine.steps=60", "--set", "finetune.steps=80"];
    let results = demo(&out, &[&["--data", cells.to_str().unwrap()][..], &steps].concat());
    let pearson = |method: &str| row(&results, method, "pearson_delta_control")["value"].as_f64();
    assert_eq!(pearson("no_change"), None, "no change correlates with nothing");
    let (head, shift) = (pearson("jepa_prototype"), pearson("mean_shift_all"));
    assert!(head > shift, "pearson_delta_control: {head:?} of the head, {shift:?} of the mean shift");
}
