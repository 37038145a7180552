//! Evaluation of a run: baselines and our models on the held-out cells, to `RUN/results.json`.
//!
//! Guarantee: every model is scored in the embedding of the encoder that it was trained on, whose parameter hash is written;
//! any number of ranks writes the same results, each trying its share of the conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ndarray::{Array2, ArrayView2};
use syncyte_evaluation::baseline::{self, Training};
use syncyte_evaluation::benchmark::method::Method;
use syncyte_evaluation::benchmark::results::Provenance;
pub use syncyte_evaluation::benchmark::results::Results;
use syncyte_evaluation::benchmark::{Encoder, Evaluation, EvaluationConfig, Share};
use syncyte_evaluation::fold::{ComponentsConfig, FoldError, FoldReader, HeldOutConfig, Names, Statistics};
use syncyte_fabric::collective::{Collective, agree};
use tch::Device;

use super::entrants;
use super::frozen::Frozen;
use super::pooling;
use crate::checkpoint::{self, Checkpoint, CheckpointError, Stage};
use crate::config::Config;
use crate::environment;
use crate::training::data::RunData;
use crate::training::{Progress, TaskError};

/// Training cells that the principal components are fitted on at most.
const COMPONENT_CELLS: usize = 5000;

/// Evaluates everything that a run has trained, on the test fold, and writes `results.json`. Collective.
///
/// # Errors
/// When data or checkpoints do not fit, or the file cannot be written.
pub fn evaluate(
    config: &Config,
    git: &str,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
) -> Result<(PathBuf, Results), TaskError> {
    let started = Instant::now();
    let (data, trained, entrants, statistics) = agree(collective, || prepare(config, progress))?;
    let exchange = |text: &str| collective.all_gather_text(text).map_err(|error| error.to_string());
    let seed = trained.seed(config);
    let evaluation = Evaluation {
        train: &statistics.train,
        test: &statistics.test,
        components: &statistics.components,
        encoders: &entrants.encoders,
        share: Share::of(collective.rank(), collective.size(), &exchange),
        config: EvaluationConfig {
            min_cells: config.evaluate.min_cells as u64,
            set_cells: config.evaluate.max_cells,
            samples: config.evaluate.samples,
            resamples: config.evaluate.bootstrap,
            cell_draws: config.evaluate.cell_draws,
            components: config.evaluate.components,
            top_genes: config.evaluate.top_genes,
            seed,
            seeds: trained.seeds(config),
            ..EvaluationConfig::default()
        },
    };
    let mut results = evaluation.run(&entrants.methods).map_err(invalid)?;
    results.warnings.extend(trained.other_seed(config));
    let mut seconds: BTreeMap<String, f64> =
        trained.stages().map(|(stage, c)| (stage.name().into(), c.state.seconds)).collect();
    seconds.insert("evaluate".into(), started.elapsed().as_secs_f64());
    results.provenance = Provenance {
        config_hash: config.hash()?,
        data_hash: data.store.data_hash().to_owned(),
        split_hash: data.split.hash().to_owned(),
        git: git.to_owned(),
        seed,
        parameter_hash: entrants.encoders.first().map(|encoder| encoder.id.clone()).unwrap_or_default(),
        encoders: entrants.encoders.iter().map(|encoder| (encoder.name.clone(), encoder.id.clone())).collect(),
        hardware: environment::hardware(Device::Cpu),
        data: facts(config, &data),
        stage_seconds: seconds,
    };
    let path = config.run.dir.join("results.json");
    agree(collective, || if collective.rank() == 0 { save(&path, &results) } else { Ok(()) })?;
    Ok((path, results))
}

/// Everything up to the first question.
fn prepare(
    config: &Config,
    progress: &mut dyn Progress,
) -> Result<(RunData, Trained, Entrants, Statistics), TaskError> {
    let data = RunData::open(config)?;
    let trained = Trained::open(config)?;
    let seed = trained.seed(config);
    if config.evaluate.pool_validation {
        pooling::check(data.store.labels(), &data.split).map_err(TaskError::Invalid)?;
    }
    let cells = FoldReader::new(&data.store, &data.split, config.evaluate.pool_validation);
    let encoders = trained.encoders(&data)?;
    let statistics = gather(config, &data, &cells, &encoders, seed, progress)?;
    let training = Training { means: &statistics.train, cells: &cells, seed };
    let mut methods = trained.methods(config, &data, &training)?;
    methods.extend(baseline::all(&training).map_err(invalid)?);
    Ok((data.clone(), trained, Entrants { encoders, methods }, statistics))
}

/// Statistics of both folds, in one pass over the store.
fn gather(
    config: &Config,
    data: &RunData,
    cells: &FoldReader<'_>,
    encoders: &[Encoder<'_>],
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Statistics, TaskError> {
    let (store, evaluate) = (&data.store, &config.evaluate);
    let labels = store.labels();
    let names = Names {
        split: data.split.hash(),
        genes: store.genes(),
        perturbations: &labels.perturbations,
        contexts: &labels.contexts,
    };
    let components = ComponentsConfig { components: evaluate.components, max_cells: COMPONENT_CELLS, seed };
    let held_out = HeldOutConfig { max_cells: evaluate.max_cells, max_control_cells: evaluate.prediction_cells, seed };
    let embed = |cells: ArrayView2<'_, f32>| -> Result<Vec<Array2<f32>>, FoldError> {
        encoders.iter().map(|encoder| (encoder.encode)(cells).map_err(FoldError::Other)).collect()
    };
    progress.begin("read folds", 0, store.n_cells() as u64);
    let clock = Instant::now();
    let mut done = |done: usize| progress.step(done as u64, 0.0, done as f64 / clock.elapsed().as_secs_f64());
    let statistics = Statistics::gather(cells, &names, components, held_out, &embed, &mut done).map_err(invalid)?;
    progress.end();
    Ok(statistics)
}

/// Who is compared, and in which embeddings.
struct Entrants {
    encoders: Vec<Encoder<'static>>,
    methods: Vec<Box<dyn Method>>,
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

/// The newest checkpoint of every stage that a run has been through.
struct Trained(BTreeMap<Stage, Checkpoint>);

impl Trained {
    fn open(config: &Config) -> Result<Self, TaskError> {
        let mut found = BTreeMap::new();
        for stage in Stage::ALL {
            match newest(&stage.folder(&config.run.dir))? {
                Some(checkpoint) => {
                    found.insert(stage, checkpoint);
                }
                // Its absence is said, not hidden; of pretraining the stages behind it carry what they need.
                None if stage != Stage::Pretrain => tracing::warn!(
                    "{} has no checkpoint of `syncyte {}`: its methods are left out",
                    config.run.dir.display(),
                    stage.name()
                ),
                None => {}
            }
        }
        Ok(Self(found))
    }

    fn stages(&self) -> impl Iterator<Item = (Stage, &Checkpoint)> {
        self.0.iter().map(|(stage, checkpoint)| (*stage, checkpoint))
    }

    /// The frozen encoders that the stages were trained on, each once: those of the stages behind pretraining first.
    fn encoders(&self, data: &RunData) -> Result<Vec<Encoder<'static>>, TaskError> {
        let mut frozen: Vec<(Stage, Frozen)> = Vec::new();
        let later = self.stages().filter(|(stage, _)| *stage != Stage::Pretrain);
        for (stage, checkpoint) in later.chain(self.stages().filter(|(stage, _)| *stage == Stage::Pretrain)) {
            let found = match stage {
                Stage::Pretrain => Frozen::from_pretraining(checkpoint, data)?,
                _ => Frozen::from_later(checkpoint, data)?,
            };
            if frozen.iter().all(|(_, known)| known.parent != found.parent) {
                frozen.push((stage, found));
            }
        }
        let alone = frozen.len() == 1;
        let name = |stage: Stage| if alone { "embedding".into() } else { format!("embedding_{}", stage.name()) };
        Ok(frozen.into_iter().map(|(stage, frozen)| entrants::encoder(name(stage), frozen)).collect())
    }

    /// The methods of all stages, those of the stages behind pretraining first.
    fn methods(
        &self,
        config: &Config,
        data: &RunData,
        training: &Training<'_>,
    ) -> Result<Vec<Box<dyn Method>>, TaskError> {
        let mut methods: Vec<Box<dyn Method>> = Vec::new();
        if let Some(checkpoint) = self.0.get(&Stage::Finetune) {
            methods.extend(entrants::heads(checkpoint, data)?);
        }
        if let Some(checkpoint) = self.0.get(&Stage::Diffuse) {
            methods.push(entrants::diffusion(checkpoint, data, config)?);
        }
        if let Some(checkpoint) = self.0.get(&Stage::Pretrain) {
            let hash = &checkpoint.state.parameter_hash;
            let later = self.0.values().find(|later| later.state.parent.as_ref() == Some(hash));
            methods.extend(entrants::predictor(checkpoint, later, data, training)?);
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
                "The configuration says run.seed = {}, but the models were trained with seed {trained}: this evaluation \
                 samples with {seed}.",
                config.run.seed
            )
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
