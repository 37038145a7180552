//! One command goes from cells to a report.

use std::fs;
use std::path::Path;

use serde_json::Value;
use syncyte_tests::{run, test_data, turn};

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

/// Runs the demo in `out` with a small model and further words; gives its `results.json`.
fn demo(out: &Path, words: &[&str]) -> Value {
    let model = "model.encoder.hidden=[64] model.encoder.tokens=4 model.encoder.width=32 model.encoder.depth=1 \
                 model.encoder.heads=2 model.predictor.depth=1 model.predictor.heads=2 model.perturbation.width=32 \
                 data.streams=16 data.batch_size=128 finetune.hidden=64 diffusion.steps=20 diffusion.hidden=[32] \
                 evaluate.bootstrap=200 engine.monitor_every=50";
    let mut all = vec!["--json", "demo", "--ranks", "2", "--out", out.to_str().unwrap()];
    all.extend(words);
    all.extend(model.split_whitespace().flat_map(|setting| ["--set", setting]));
    let answer = run(all).json();
    assert_eq!(answer["ranks"], 2);
    for (key, file) in [("report", "report.html"), ("results", "results.json")] {
        assert_eq!(answer[key].as_str().map(Path::new), Some(out.join(file).as_path()));
    }
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.trim_end().ends_with("</html>"), "the report is cut off");
    for method in ["jepa_set", "additive"] {
        assert!(page.contains(method), "{method} is not in the report");
    }
    assert!(fs::metadata(out.join("MODEL_CARD.md")).unwrap().len() > 500);
    serde_json::from_str(&fs::read_to_string(out.join("results.json")).unwrap()).unwrap()
}

/// The row of a method, on all test conditions.
fn row<'a>(results: &'a Value, method: &str, metric: &str) -> &'a Value {
    let rows = results["results"].as_array().unwrap();
    let found = rows.iter().find(|r| r["method"] == method && r["metric"] == metric && r["split"] == "test/all");
    found.unwrap_or_else(|| panic!("no {metric} of {method}"))
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
