//! Evaluation of a run: baselines and our models on the held-out cells, to `RUN/results.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use syncyte_sharding::split::Fold;
use tch::Device;

use super::data::RunData;
use super::frozen::Frozen;
use super::methods::{diffusion, heads, to_array, to_tensor};
use super::{Progress, TaskError};
use crate::baseline;
use crate::benchmark::method::Method;
use crate::benchmark::results::{Provenance, Results};
use crate::benchmark::{Evaluation, EvaluationConfig};
use crate::cells::dense_values;
use crate::checkpoint::{self, Checkpoint, CheckpointError};
use crate::config::Config;
use crate::environment;
use crate::profile::{
    Components, ComponentsBuilder, ComponentsConfig, HeldOutBuilder, HeldOutConfig, ProfileBuilder, RowLabel, Rows,
    TestCells, TrainProfiles,
};

/// Training cells that the principal components are fitted on at most.
const COMPONENT_CELLS: usize = 5000;

/// Evaluates everything that a run has trained, on the test fold, and writes `results.json`.
///
/// # Errors
/// When data or checkpoints do not fit, or the file cannot be written.
pub fn evaluate(config: &Config, git: &str, progress: &mut dyn Progress) -> Result<(PathBuf, Results), TaskError> {
    let started = Instant::now();
    let data = RunData::open(config)?;
    let folds = Folds::read(config, &data, progress)?;
    let train = Arc::new(folds.train);
    let mut methods = baseline::all(&train).map_err(invalid)?;
    let finetuned = later(config, "finetune")?;
    let diffused = later(config, "diffuse")?;
    if let Some(checkpoint) = &diffused {
        methods.insert(0, Box::new(diffusion(checkpoint, &data, config)?));
    }
    if let Some(checkpoint) = &finetuned {
        for (at, head) in heads(checkpoint, &data)?.into_iter().enumerate() {
            methods.insert(at, Box::new(head) as Box<dyn Method>);
        }
    }
    let frozen = finetuned.as_ref().or(diffused.as_ref()).map(|c| Frozen::from_later(c, &data)).transpose()?;
    let encode = |cells: ndarray::ArrayView2<'_, f32>| -> Result<_, crate::benchmark::EncodeError> {
        let frozen = frozen.as_ref().ok_or("no encoder")?;
        Ok(to_array(&frozen.embed(&to_tensor(cells)))?)
    };
    let evaluation = Evaluation {
        train: &train,
        test: &folds.test,
        components: &folds.components,
        encode: frozen.as_ref().map(|_| &encode as &crate::benchmark::Encode<'_>),
        config: EvaluationConfig {
            min_cells: config.evaluate.min_cells as u64,
            resamples: config.evaluate.bootstrap,
            seed: config.run.seed,
            seeds: vec![config.run.seed],
            ..EvaluationConfig::default()
        },
    };
    let mut results = evaluation.run(&methods).map_err(invalid)?;
    let mut seconds = BTreeMap::new();
    for (stage, checkpoint) in [("pretrain", newest(&config.run.dir)?), ("finetune", finetuned), ("diffuse", diffused)]
    {
        if let Some(checkpoint) = checkpoint {
            seconds.insert(stage.to_owned(), checkpoint.state.seconds);
            if stage == "pretrain" {
                results.provenance.parameter_hash.clone_from(&checkpoint.state.parameter_hash);
            }
        }
    }
    seconds.insert("evaluate".into(), started.elapsed().as_secs_f64());
    results.provenance = Provenance {
        config_hash: config.hash()?,
        data_hash: data.store.data_hash().to_owned(),
        split_hash: data.split.hash().to_owned(),
        git: git.to_owned(),
        seed: config.run.seed,
        parameter_hash: results.provenance.parameter_hash.clone(),
        hardware: environment::hardware(Device::Cpu),
        data: facts(config, &data),
        stage_seconds: seconds,
    };
    let path = config.run.dir.join("results.json");
    save(&path, &results)?;
    Ok((path, results))
}

fn invalid(error: impl std::error::Error) -> TaskError {
    TaskError::Invalid(format!("evaluation: {error}"))
}

/// The newest checkpoint of a run, if it has any.
fn newest(run: &Path) -> Result<Option<Checkpoint>, TaskError> {
    match checkpoint::latest(&run.join("checkpoints")) {
        Ok(found) => Ok(Some(found)),
        Err(CheckpointError::None { refused, .. }) if refused.is_empty() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The checkpoint of a later stage; its absence is said, not hidden.
fn later(config: &Config, stage: &str) -> Result<Option<Checkpoint>, TaskError> {
    let found = newest(&config.run.dir.join(stage))?;
    if found.is_none() {
        tracing::warn!("{} has no checkpoint of `syncyte {stage}`: its methods are left out", config.run.dir.display());
    }
    Ok(found)
}

/// Statistics of both folds, read in one pass over the store.
struct Folds {
    train: TrainProfiles,
    test: TestCells,
    components: Components,
}

impl Folds {
    fn read(config: &Config, data: &RunData, progress: &mut dyn Progress) -> Result<Self, TaskError> {
        let (store, split) = (&data.store, &data.split);
        let (genes, labels, id) = (store.genes(), store.labels(), split.hash());
        let seed = config.run.seed;
        let mut train = ProfileBuilder::new(id, genes, &labels.perturbations);
        let mut components = ComponentsBuilder::new(
            id,
            genes,
            ComponentsConfig { components: config.evaluate.components, max_cells: COMPONENT_CELLS, seed },
        );
        let held_out =
            HeldOutConfig { max_cells: config.evaluate.max_cells, max_control_cells: config.evaluate.max_cells, seed };
        let mut test = HeldOutBuilder::new(id, genes, &labels.perturbations, &labels.contexts, held_out);
        let n = store.n_cells();
        progress.begin("read folds", 0, n as u64);
        let clock = Instant::now();
        for start in (0..n).step_by(store.chunk_rows().max(1)) {
            let end = n.min(start + store.chunk_rows().max(1));
            let block = store.read_rows(start..end)?;
            for held_out in [false, true] {
                let wanted = |row: usize| match split.fold_of(row) {
                    Fold::Train => !held_out,
                    Fold::Test => held_out,
                    Fold::Val => held_out && config.evaluate.pool_validation,
                };
                let rows: Vec<u64> = (start..end).filter(|&row| wanted(row)).map(|row| row as u64).collect();
                if rows.is_empty() {
                    continue;
                }
                let mut part = syncyte_sharding::csr::Csr::empty(block.n_cols);
                for &row in &rows {
                    let (indices, values) = block.row(row as usize - start);
                    part.push_row(indices, values);
                }
                let values = dense_values(store, &rows, &part);
                let cells = ndarray::ArrayView2::from_shape((rows.len(), block.n_cols), &values).map_err(invalid)?;
                let row_labels: Vec<RowLabel> = rows.iter().map(|&row| RowLabel::of(labels, row)).collect();
                if held_out {
                    test.add(&row_labels, Rows::Dense(cells)).map_err(invalid)?;
                } else {
                    train.add(&row_labels, Rows::Dense(cells)).map_err(invalid)?;
                    components.add(&row_labels, Rows::Dense(cells)).map_err(invalid)?;
                }
            }
            progress.step(end as u64, 0.0, end as f64 / clock.elapsed().as_secs_f64());
        }
        progress.end();
        Ok(Self {
            train: train.finish().map_err(invalid)?,
            test: test.finish().map_err(invalid)?,
            components: components.finish().map_err(invalid)?,
        })
    }
}

/// Facts of the data for the report.
fn facts(config: &Config, data: &RunData) -> BTreeMap<String, String> {
    let (store, split) = (&data.store, &data.split);
    let labels = store.labels();
    let controls = (0..store.n_cells()).filter(|&cell| labels.is_control(cell)).count();
    let mut facts = BTreeMap::from([
        ("cells".to_owned(), store.n_cells().to_string()),
        ("genes".into(), store.n_genes().to_string()),
        ("perturbations".into(), (labels.perturbations.len() - 1).to_string()),
        ("control cells".into(), controls.to_string()),
        ("contexts".into(), labels.contexts.join(", ")),
        ("values".into(), format!("{:?}", store.info().value_kind).to_lowercase()),
        ("source".into(), store.info().source.join(", ")),
        ("split".into(), format!("{}: {}", split.scheme().name(), split.rule())),
        ("held-out cells".into(), if config.evaluate.pool_validation { "test and validation" } else { "test" }.into()),
    ]);
    facts.insert("synthetic".into(), store.info().synthetic.is_some().to_string());
    facts
}

fn save(path: &Path, results: &Results) -> Result<(), TaskError> {
    let text = serde_json::to_string_pretty(results).map_err(|error| TaskError::Invalid(error.to_string()))?;
    let beside = path.with_extension("json.partial");
    std::fs::write(&beside, text).map_err(TaskError::io(&beside))?;
    std::fs::rename(&beside, path).map_err(TaskError::io(path))
}
