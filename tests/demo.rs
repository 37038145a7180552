//! One command goes from cells to a report.

use syncyte_tests::{demo, result_row as row, test_data, turn};

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
