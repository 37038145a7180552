//! The loss of a small pretraining run, step by step, against stored values; and the same run on ranks that are threads.
//!
//! `SYNCYTE_UPDATE_GOLDEN=1 cargo test --test golden_trace` stores new values.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helper functions too")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use syncyte_fabric::collective::{Collective, Solo, Threads};
use syncyte_sharding::split::{Scheme, Split, SplitOptions};
use syncyte_sharding::synth::{Preset, SynthConfig, World, write_store};
use syncyte_trainer::component::Choice;
use syncyte_trainer::config::Config;
use syncyte_trainer::encoder::GeneMlp;
use syncyte_trainer::perturbation::GeneEmbedding;
use syncyte_trainer::predictor::CrossAttention;
use syncyte_trainer::task::Quiet;
use syncyte_trainer::task::pretrain::pretrain;

const STEPS: u64 = 12;

/// 600 cells of 80 genes and a model of a few thousand parameters, six steps in either phase.
fn config(folder: &Path) -> Config {
    let synth = SynthConfig {
        cells: 600,
        genes: 80,
        singles: 12,
        doubles: 4,
        modules: 8,
        contexts: 2,
        ..SynthConfig::preset(Preset::Demo, World::W2, 4)
    };
    let (store_path, split_path) = (folder.join("store.zarr"), folder.join("SPLIT.json"));
    let store = write_store(&store_path, &synth, |_| ()).unwrap();
    let split = Split::make(store.labels(), store.data_hash(), &SplitOptions::new(Scheme::Cells)).unwrap();
    split.save(&split_path).unwrap();

    let mut config = Config::default();
    config.run.dir = folder.join("run");
    (config.data.store, config.data.split) = (store_path, split_path);
    (config.data.streams, config.data.batch_size, config.data.block_rows) = (4, 32, 16);
    let model = &mut config.model;
    let encoder = GeneMlp { hidden: vec![32, 24], tokens: 4, width: 16, depth: 2, heads: 2, ..GeneMlp::default() };
    model.encoder = Choice::with("gene_mlp", &encoder).unwrap();
    let perturbation = GeneEmbedding { width: 12, ..GeneEmbedding::default() };
    model.perturbation = Choice::with("gene_embedding", &perturbation).unwrap();
    model.predictor = Choice::with("cross_attention", &CrossAttention { depth: 2, heads: 2 }).unwrap();
    config.objective.freeze_share = 0.34;
    (config.engine.steps, config.engine.threads, config.checkpoint.every) = (STEPS, 1, STEPS);
    config.validate().unwrap();
    config
}

fn trace() -> Value {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    pretrain(&config, false, "", &Solo, &mut Quiet).unwrap();
    let text = std::fs::read_to_string(config.run.dir.join("metrics.jsonl")).unwrap();
    let steps: Vec<Value> = text
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            json!({ "step": line["step"], "phase": line["phase"], "loss": line["loss"], "terms": line["terms"],
                    "grad_norm": line["grad_norm"] })
        })
        .collect();
    Value::Array(steps)
}

/// The first number or text in which two traces differ by more than 1e-5 relative.
fn difference(at: &str, found: &Value, golden: &Value) -> Option<String> {
    match (found, golden) {
        (Value::Object(one), Value::Object(two)) if one.keys().eq(two.keys()) => {
            one.iter().find_map(|(key, value)| difference(&format!("{at}.{key}"), value, &two[key]))
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => one
            .iter()
            .zip(two)
            .enumerate()
            .find_map(|(index, (one, two))| difference(&format!("{at}[{index}]"), one, two)),
        (Value::Number(one), Value::Number(two)) => {
            let (one, two) = (one.as_f64()?, two.as_f64()?);
            ((one - two).abs() > 1e-5 * two.abs()).then(|| format!("{at} is {one}, not {two}"))
        }
        _ => (found != golden).then(|| format!("{at} is {found}, not {golden}")),
    }
}

#[test]
fn the_loss_trace_is_the_stored_one() {
    let stored = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_trace.json"));
    let found = trace();
    let phases: Vec<_> = found.as_array().unwrap().iter().map(|step| step["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, [["augmentation"; 6], ["paired"; 6]].concat());
    if std::env::var_os("SYNCYTE_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&stored, format!("{found:#}\n")).unwrap();
        println!("stored a new trace in {}", stored.display());
        return;
    }
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(&stored).unwrap()).unwrap();
    if let Some(difference) = difference("trace", &found, &golden) {
        panic!("{difference}: a change that moves the golden loss trace needs a sentence in CHANGELOG");
    }
}

/// Ranks that are processes are compared with one rank from outside, so the two backends agree.
#[test]
fn a_deterministic_run_on_threads_ends_with_the_parameters_of_one_rank() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    (config.engine.deterministic, config.engine.logical_shards) = (true, 4);
    config.validate().unwrap();
    let hash = |name: &str, collective: &dyn Collective| {
        let mut config = config.clone();
        config.run.dir = folder.path().join(name);
        pretrain(&config, false, "", collective, &mut Quiet).unwrap().parameter_hash
    };
    let one = hash("one", &Solo);
    for (size, locals) in [(2, 2), (2, 1), (4, 2)] {
        let name = format!("{size}-by-{locals}");
        let hashes = Threads::run(size, locals, |rank| hash(&name, rank)).unwrap();
        assert!(hashes.iter().all(|hash| *hash == one), "{name}: {hashes:?} and {one}");
    }
}
