//! Evaluation of a run: baselines and our models on the held-out cells, to `RUN/results.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use syncyte_sharding::split::Fold;
use tch::Device;

use super::frozen::Frozen;
use super::methods::{diffusion, heads, to_array, to_tensor};
use super::pooling;
use crate::batch::cells::dense_values;
use crate::checkpoint::{self, Checkpoint, CheckpointError};
use crate::config::{Config, EvaluateConfig};
use crate::environment;
use crate::training::data::RunData;
use crate::training::{Progress, TaskError};
use syncyte_evaluation::baseline;
use syncyte_evaluation::benchmark::method::Method;
use syncyte_evaluation::benchmark::results::{Provenance, Results};
use syncyte_evaluation::benchmark::{Encode, Evaluation, EvaluationConfig};
use syncyte_evaluation::profile::{
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
    let trained = Trained::open(config)?;
    let frozen = trained.frozen(&data)?;
    let encode = |cells: ndarray::ArrayView2<'_, f32>| -> Result<_, syncyte_evaluation::benchmark::EncodeError> {
        let frozen = frozen.as_ref().ok_or("no encoder")?;
        Ok(to_array(&frozen.embed_expression(&to_tensor(cells)))?)
    };
    let encode = frozen.as_ref().map(|_| &encode as &Encode<'_>);
    let seed = trained.seed(config);
    let folds = Folds::read(config, &data, seed, encode, progress)?;
    let train = Arc::new(folds.train);
    let mut methods = trained.methods(config, &data)?;
    methods.extend(baseline::all(&train).map_err(invalid)?);
    let evaluation = Evaluation {
        train: &train,
        test: &folds.test,
        components: &folds.components,
        encode,
        config: EvaluationConfig {
            min_cells: config.evaluate.min_cells as u64,
            set_cells: config.evaluate.max_cells,
            samples: config.evaluate.samples,
            resamples: config.evaluate.bootstrap,
            cell_draws: config.evaluate.cell_draws,
            seed,
            seeds: trained.seeds(config),
            ..EvaluationConfig::default()
        },
    };
    let mut results = evaluation.run(&methods).map_err(invalid)?;
    results.warnings.extend(trained.other_seed(config));
    let mut seconds: BTreeMap<String, f64> =
        trained.stages().map(|(stage, c)| (stage.into(), c.state.seconds)).collect();
    seconds.insert("evaluate".into(), started.elapsed().as_secs_f64());
    results.provenance = Provenance {
        config_hash: config.hash()?,
        data_hash: data.store.data_hash().to_owned(),
        split_hash: data.split.hash().to_owned(),
        git: git.to_owned(),
        seed,
        parameter_hash: trained.parameter_hash(frozen.as_ref()),
        hardware: environment::hardware(Device::Cpu),
        data: facts(config, &data),
        stage_seconds: seconds,
    };
    let path = config.run.dir.join("results.json");
    save(&path, &results)?;
    Ok((path, results))
}

fn invalid(error: impl std::error::Error) -> TaskError {
    TaskError::Data(format!("evaluation: {error}"))
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

/// The beginning of a hash, for people.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// What a run has trained.
struct Trained {
    pretrained: Option<Checkpoint>,
    finetuned: Option<Checkpoint>,
    diffused: Option<Checkpoint>,
}

impl Trained {
    fn open(config: &Config) -> Result<Self, TaskError> {
        let pretrained = newest(&config.run.dir)?;
        Ok(Self { pretrained, finetuned: later(config, "finetune")?, diffused: later(config, "diffuse")? })
    }

    fn stages(&self) -> impl Iterator<Item = (&'static str, &Checkpoint)> {
        let stages = [("pretrain", &self.pretrained), ("finetune", &self.finetuned), ("diffuse", &self.diffused)];
        stages.into_iter().filter_map(|(stage, checkpoint)| Some((stage, checkpoint.as_ref()?)))
    }

    /// The encoder that the stages share, in whose space their methods are scored.
    fn frozen(&self, data: &RunData) -> Result<Option<Frozen>, TaskError> {
        if let (Some(heads), Some(diffusion)) = (&self.finetuned, &self.diffused) {
            let parents = [heads, diffusion].map(|checkpoint| checkpoint.state.parent.clone().unwrap_or_default());
            if parents[0] != parents[1] {
                return Err(TaskError::Data(format!(
                    "{} and {} were trained on different encoders (parameters {} and {}), and embeddings of different \
                     encoders cannot be compared: train both with `--from` the same checkpoint",
                    heads.folder().display(),
                    diffusion.folder().display(),
                    short(&parents[0]),
                    short(&parents[1])
                )));
            }
        }
        let checkpoint = self.finetuned.as_ref().or(self.diffused.as_ref());
        checkpoint.map(|checkpoint| Frozen::from_later(checkpoint, data)).transpose()
    }

    /// Hash of the parameters whose encoder is used; of the newest pretraining where no stage uses it.
    fn parameter_hash(&self, frozen: Option<&Frozen>) -> String {
        let newest = || self.pretrained.as_ref().map(|checkpoint| checkpoint.state.parameter_hash.clone());
        frozen.map(|frozen| frozen.parent.clone()).or_else(newest).unwrap_or_default()
    }

    /// The methods of all stages.
    fn methods(&self, config: &Config, data: &RunData) -> Result<Vec<Box<dyn Method>>, TaskError> {
        let mut methods: Vec<Box<dyn Method>> = Vec::new();
        if let Some(checkpoint) = &self.finetuned {
            methods.extend(heads(checkpoint, data)?.into_iter().map(|head| Box::new(head) as Box<dyn Method>));
        }
        if let Some(checkpoint) = &self.diffused {
            methods.push(Box::new(diffusion(checkpoint, data, config)?));
        }
        Ok(methods)
    }

    /// Training seeds of the stages, each once; that of the configuration where nothing was trained.
    fn seeds(&self, config: &Config) -> Vec<u64> {
        let seeds: BTreeSet<u64> = self.stages().map(|(_, checkpoint)| checkpoint.state.config.run.seed).collect();
        if seeds.is_empty() { vec![config.run.seed] } else { seeds.into_iter().collect() }
    }

    /// The seed that the models were trained with: of the last stage, where the stages differ.
    fn seed(&self, config: &Config) -> u64 {
        self.stages().last().map_or(config.run.seed, |(_, checkpoint)| checkpoint.state.config.run.seed)
    }

    /// What is to be said where the seed of the configuration is not that of the models.
    fn other_seed(&self, config: &Config) -> Option<String> {
        let (seed, trained) = (self.seed(config), self.seeds(config));
        (trained != [config.run.seed]).then(|| {
            let trained = trained.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            format!(
                "The configuration says run.seed = {}, but the models were trained with seed {trained}: this evaluation                  samples with {seed}.",
                config.run.seed
            )
        })
    }
}

/// Statistics of both folds, read in one pass over the store.
struct Folds {
    train: TrainProfiles,
    test: TestCells,
    components: Components,
}

impl Folds {
    fn read(
        config: &Config,
        data: &RunData,
        seed: u64,
        encode: Option<&Encode<'_>>,
        progress: &mut dyn Progress,
    ) -> Result<Self, TaskError> {
        let (store, split) = (&data.store, &data.split);
        let (genes, labels, id) = (store.genes(), store.labels(), split.hash());
        if config.evaluate.pool_validation {
            pooling::check(labels, split).map_err(TaskError::Invalid)?;
        }
        let mut train = ProfileBuilder::new(id, genes, &labels.perturbations);
        let mut components = ComponentsBuilder::new(
            id,
            genes,
            ComponentsConfig { components: config.evaluate.components, max_cells: COMPONENT_CELLS, seed },
        );
        let EvaluateConfig { max_cells, prediction_cells: max_control_cells, .. } = config.evaluate;
        let held_out = HeldOutConfig { max_cells, max_control_cells, seed };
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
                    let latents = encode.map(|encode| encode(cells)).transpose().map_err(|error| {
                        TaskError::Invalid(format!("evaluation: encoding the held-out cells: {error}"))
                    })?;
                    let latents = latents.as_ref().map(|latents| latents.view());
                    test.add(&row_labels, Rows::Dense(cells), latents).map_err(invalid)?;
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
