//! The demo, with a model so small that it trains in seconds.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::run;

/// Runs the demo in `out` with a small model and further words; gives its `results.json`.
///
/// # Panics
/// When it fails or does not leave a whole report.
pub fn demo(out: &Path, words: &[&str]) -> Value {
    let model = "model.encoder.hidden=[64] model.encoder.tokens=4 model.encoder.width=32 model.encoder.depth=1 \
                 model.encoder.heads=2 model.predictor.depth=1 model.predictor.heads=2 model.perturbation.width=32 \
                 data.streams=16 data.batch_size=128 finetune.hidden=64 diffusion.steps=20 diffusion.hidden=[32] \
                 evaluate.bootstrap=200 engine.monitor_every=50";
    let mut all = vec!["--json", "demo", "--ranks", "2", "--out", out.to_str().expect("what the demo promises")];
    all.extend(words);
    all.extend(model.split_whitespace().flat_map(|setting| ["--set", setting]));
    let answer = run(all).json();
    assert_eq!(answer["ranks"], 2);
    for (key, file) in [("report", "report.html"), ("results", "results.json")] {
        assert_eq!(answer[key].as_str().map(Path::new), Some(out.join(file).as_path()));
    }
    let page = fs::read_to_string(out.join("report.html")).expect("what the demo promises");
    assert!(page.trim_end().ends_with("</html>"), "the report is cut off");
    for method in ["jepa_set", "additive"] {
        assert!(page.contains(method), "{method} is not in the report");
    }
    assert!(fs::metadata(out.join("MODEL_CARD.md")).expect("what the demo promises").len() > 500);
    serde_json::from_str(&fs::read_to_string(out.join("results.json")).expect("what the demo promises"))
        .expect("what the demo promises")
}

/// The row of a method, on all test conditions.
///
/// # Panics
/// When there is none.
pub fn result_row<'a>(results: &'a Value, method: &str, metric: &str) -> &'a Value {
    let rows = results["results"].as_array().expect("what the demo promises");
    let found = rows.iter().find(|r| r["method"] == method && r["metric"] == metric && r["split"] == "test/all");
    found.unwrap_or_else(|| panic!("no {metric} of {method}"))
}
