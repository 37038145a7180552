//! The promises of the report, on a small run.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ReportError, TableError, write};
use syncyte_evaluation::benchmark::results::{
    Better, Comparison, ConditionRow, EmbeddingPoint, MethodInfo, MetricInfo, ResultRow, Results,
};

fn method(name: &str, baseline: bool) -> MethodInfo {
    let (title, description) = (format!("{name} title"), format!("what {name} does"));
    MethodInfo { name: name.into(), title, description, baseline, informed: true }
}

fn metric(name: &str, better: Better) -> MetricInfo {
    let (title, definition) = (format!("{name} title"), format!("what {name} is"));
    MetricInfo {
        unit: String::new(),
        oracle: String::new(),
        name: name.into(),
        title,
        definition,
        better,
        judged: true,
        not_negative: false,
        of_sets: false,
        range: [None, None],
    }
}

fn row(method: &str, metric: &str, value: Option<f64>) -> ResultRow {
    ResultRow {
        method: method.into(),
        split: "test/doubles".into(),
        metric: metric.into(),
        value,
        ci_low: value.map(|value| value - 0.1),
        ci_high: value.map(|value| value + 0.1),
        n_conditions: 12,
        n_undefined: 0,
        seeds: vec![1],
        ..ResultRow::default()
    }
}

fn condition(perturbation: &str, n_cells: usize, similarity: f64) -> ConditionRow {
    let metrics = BTreeMap::from([("pearson".to_owned(), Some(similarity)), ("l2".to_owned(), Some(1.0 - similarity))]);
    ConditionRow {
        method: "jepa".into(),
        split: "test/doubles".into(),
        perturbation: perturbation.into(),
        context: "K562".into(),
        n_cells,
        metrics,
        ..ConditionRow::default()
    }
}

/// Two methods and two metrics: the baseline wins by `l2`, the model by `pearson`.
fn results() -> Results {
    let mut results = Results {
        methods: vec![method("additive", true), method("jepa", false)],
        metrics: vec![metric("l2", Better::Lower), metric("pearson", Better::Higher)],
        results: vec![
            row("additive", "l2", Some(3.0)),
            row("additive", "pearson", Some(0.5)),
            row("jepa", "l2", Some(3.5)),
            row("jepa", "pearson", Some(0.55)),
        ],
        conditions: vec![condition("A+B", 10, 0.5), condition("C+D", 9, 0.9), condition("E+F", 40, 0.7)],
        comparisons: vec![Comparison {
            method: "jepa".into(),
            baseline: "additive".into(),
            split: "test/doubles".into(),
            metric: "pearson".into(),
            difference: 0.05,
            ci_low: Some(0.01),
            ci_high: Some(0.09),
            n_conditions: 12,
            best_baseline: true,
            beats: true,
        }],
        embedding: (0..40)
            .map(|index| EmbeddingPoint {
                x: f64::from(index % 7),
                y: f64::from(index % 5),
                perturbation: if index % 2 == 0 { "A+B".into() } else { "E+F".into() },
                predicted: index % 4 == 0,
            })
            .collect(),
        ..Results::default()
    };
    results.provenance.data.insert("synthetic".into(), "true".into());
    results
}

fn run(results: &Results) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("results.json"), serde_json::to_string(results).unwrap()).unwrap();
    folder
}

fn log(folder: &Path) {
    let lines: Vec<String> = (1..=200)
        .map(|step| {
            let phase = if step < 100 { "augmentation" } else { "paired" };
            format!("{{\"step\":{step},\"phase\":\"{phase}\",\"loss\":{},\"lr\":0.001}}\n", 1.0 / f64::from(step))
        })
        .collect();
    std::fs::write(folder.join("metrics.jsonl"), lines.concat()).unwrap();
}

fn texts(folder: &Path) -> Vec<(String, String)> {
    let paths = write(folder).unwrap();
    let all = [&paths.html, &paths.card].into_iter().chain(&paths.figures);
    all.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

fn text(folder: &Path, name: &str) -> String {
    texts(folder).into_iter().find(|(file, _)| file == name).unwrap().1
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let folder = run(&results());
    log(folder.path());
    let first = texts(folder.path());
    assert_eq!(first, texts(folder.path()));
    assert!(first.len() > 6);
}

#[test]
fn no_text_holds_nan_or_infinity() {
    let mut odd = results();
    odd.embedding[0].x = 1e300;
    odd.results[2].value = None;
    let folder = run(&odd);
    log(folder.path());
    for (name, text) in texts(folder.path()) {
        assert!(!text.contains("NaN") && !text.contains(">inf") && !text.contains("\"inf"), "{name}");
    }
}

#[test]
fn deleting_a_losing_row_makes_generation_fail() {
    for deleted in 0..4 {
        let mut results = results();
        let gone = results.results.remove(deleted);
        let folder = run(&results);
        let error = write(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("{}, test/doubles, {}", gone.method, gone.metric)), "{error}");
        assert!(!folder.path().join("report.html").exists() && !folder.path().join("MODEL_CARD.md").exists());
    }
}

#[test]
fn deleting_a_method_everywhere_but_in_the_conditions_makes_generation_fail() {
    let mut results = results();
    results.methods.remove(1);
    results.results.retain(|row| row.method != "jepa");
    results.comparisons.clear();
    let error = write(run(&results).path()).unwrap_err();
    assert!(matches!(error, ReportError::Table { source: TableError::Undescribed(_), .. }), "{error}");
}

#[test]
fn deleting_a_whole_split_makes_generation_fail() {
    let mut results = results();
    results.conditions[0].split = "test/singles".into();
    let error = write(run(&results).path()).unwrap_err();
    assert!(
        matches!(&error, ReportError::Table { source: TableError::Missing(rows), .. } if rows.len() == 4),
        "{error}"
    );
}

#[test]
fn a_repeated_row_makes_generation_fail() {
    let mut results = results();
    results.results.push(row("jepa", "l2", Some(1.0)));
    let error = write(run(&results).path()).unwrap_err();
    assert!(matches!(error, ReportError::Table { source: TableError::Repeated(_), .. }), "{error}");
}

#[test]
fn a_run_without_results_names_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(folder.path()).unwrap_err().to_string();
    assert!(error.contains("results.json") && error.contains("syncyte evaluate --config"), "{error}");
}

#[test]
fn where_a_baseline_wins_comes_before_where_ours_does() {
    let folder = run(&results());
    let page = text(folder.path(), "report.html");
    let card = text(folder.path(), "MODEL_CARD.md");
    let at = |text: &str, words: &str| text.find(words).unwrap_or_else(|| panic!("{words} in {text}"));
    assert!(at(&page, "Where a baseline is at least as good") < at(&page, "Where our best model is ahead"));
    let (lost, won) = (at(&card, "## Where a baseline wins"), at(&card, "## Where our best model is ahead"));
    assert!(lost < won && card[lost..won].contains("l2 title") && !card[lost..won].contains("pearson title"));
    assert!(card[won..].contains("pearson title"));
}

#[test]
fn a_win_needs_a_paired_interval_beyond_zero() {
    let mut results = results();
    assert!(text(run(&results).path(), "MODEL_CARD.md").contains("▲ **0.550"));
    results.comparisons[0].ci_low = Some(-0.01);
    assert!(!text(run(&results).path(), "MODEL_CARD.md").contains("▲ **0.550"), "the interval holds zero");
    results.comparisons.clear();
    assert!(!text(run(&results).path(), "MODEL_CARD.md").contains("▲ **0.550"), "the intervals overlap");
}

#[test]
fn an_undefined_model_counts_as_a_loss_and_is_never_a_number() {
    let mut results = results();
    results.comparisons.clear();
    results.results[3] = row("jepa", "pearson", None);
    let folder = run(&results);
    let card = text(folder.path(), "MODEL_CARD.md");
    let lost = card.find("## Where a baseline wins").unwrap();
    let won = card.find("## Where our best model is ahead").unwrap();
    assert!(card[lost..won].contains("| none | undefined |"), "{card}");
    assert!(text(folder.path(), "report.html").contains("undefined†"));
}

#[test]
fn synthetic_data_are_called_so_at_the_top() {
    let mut results = results();
    let page = text(run(&results).path(), "report.html");
    assert!(page.find("Synthetic data").unwrap() < page.find("Verdict</h2>").unwrap());
    results.provenance.data.insert("synthetic".into(), "false".into());
    assert!(!text(run(&results).path(), "report.html").contains("Synthetic data"));
    results.provenance.data.clear();
    assert!(text(run(&results).path(), "MODEL_CARD.md").contains("do not record whether the data are synthetic"));
}

#[test]
fn a_condition_of_nine_cells_is_absent_and_the_others_are_sorted() {
    let folder = run(&results());
    let figure = text(folder.path(), "perturbations-similarity-pearson.svg");
    assert!(!figure.contains("C+D"));
    assert!(figure.find("E+F").unwrap() < figure.find("A+B").unwrap());
    let page = text(folder.path(), "report.html");
    assert!(!page.contains("C+D") && page.contains("1 condition with fewer than 10"));
}

#[test]
fn all_text_is_escaped() {
    let evil = "<img src=x onerror=\"alert(1)\">";
    let mut results = results();
    for method in &mut results.methods {
        method.title = evil.into();
        method.description = evil.into();
    }
    results.metrics[0].title = evil.into();
    results.metrics[1].definition = evil.into();
    results.conditions[0].perturbation = evil.into();
    results.conditions[0].flags = vec![evil.into()];
    results.embedding[0].perturbation = evil.into();
    results.provenance.hardware = evil.into();
    results.provenance.data.insert(evil.into(), evil.into());
    let folder = run(&results);
    std::fs::write(folder.path().join("config.toml"), evil).unwrap();
    std::fs::write(folder.path().join("environment.json"), serde_json::json!({ evil: evil }).to_string()).unwrap();
    for (name, text) in texts(folder.path()) {
        assert!(!text.contains("<img"), "{name}");
    }
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let folder = run(&results());
    log(folder.path());
    let page = text(folder.path(), "report.html").replace("http://www.w3.org/2000/svg", "");
    for loading in ["http", "<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(loading), "{loading}");
    }
}

#[test]
fn missing_logs_are_named_with_the_command_that_writes_them() {
    let page = text(run(&results()).path(), "report.html");
    for (file, command) in
        [("metrics.jsonl", "pretrain"), ("finetune/metrics.jsonl", "finetune"), ("diffuse/metrics.jsonl", "diffuse")]
    {
        assert!(page.contains(file) && page.contains(&format!("syncyte {command}")), "{file}");
    }
}

#[test]
fn warnings_stand_under_the_verdict_of_page_and_card() {
    let warning = "Context A has only 28 held-out control cells";
    let folder = run(&Results { warnings: vec![warning.into()], ..results() });
    assert!(text(folder.path(), "report.html").contains(warning));
    assert!(text(folder.path(), "MODEL_CARD.md").contains(warning));
}

#[test]
fn a_split_of_one_condition_is_not_judged() {
    let mut results = results();
    results.results.iter_mut().for_each(|row| row.n_conditions = 1);
    let html = text(run(&results).path(), "report.html");
    assert!(html.contains("test/doubles: cannot be judged, because there is only one condition."));
    assert!(!html.contains("clearly better than the best of our models on"), "no verdict on one condition");
}

#[test]
fn a_form_that_is_not_judged_enters_no_verdict_and_ceiling_and_room_are_shown() {
    let mut results = results();
    results.metrics[1].judged = false;
    results.references = vec![syncyte_evaluation::benchmark::results::Reference {
        name: "ceiling".into(),
        split: "test/doubles".into(),
        metric: "l2".into(),
        value: 2.5,
        n_conditions: 12,
    }];
    results.ranges = vec![syncyte_evaluation::benchmark::results::DynamicRange {
        split: "test/doubles".into(),
        metric: "l2".into(),
        floor: 4.0,
        floor_method: Some("additive".into()),
        ceiling: 2.5,
        share: Some(0.375),
    }];
    let html = text(run(&results).path(), "report.html");
    assert!(html.contains("Over all 1 combination of split and metric"), "{html}");
    assert!(
        html.contains("4.000 → 2.500")
            && html.contains("38 % of the way")
            && html.contains("Ceiling: what the true mean")
    );
}
