//! Pretraining: the pretext tasks of a configuration, one phase after the other, on one model.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use syncyte_sharding::loader::{BadChunk, CachedRows, Loader, LoaderConfig};

use super::checkup::Checkup;
use super::curriculum::{Assembler, Curriculum};
use crate::checkpoint::Stage;
use crate::config::Config;
use crate::engine::{FlatState, Method, Pass, StepPlan, schedule};
use crate::loss::Objective;
use crate::model::{ENCODER, Jepa};
use crate::monitor::Health;
use crate::params::Layout;
use crate::pretext::{MicroBatch, Networks, Pretext};
use crate::reader::CellReader;
use crate::training::{Carried, Place, Progress, Setting, Start, Task, TaskError, TrainReport, train};
use syncyte_fabric::collective::Collective;

/// Runs pretraining on all ranks of `collective`, from the newest whole checkpoint where `resume` is set.
///
/// # Errors
/// When configuration, data or ranks do not fit, or a step fails on any rank.
pub fn pretrain(
    config: &Config,
    resume: bool,
    git: &str,
    collective: &dyn Collective,
    progress: &mut dyn Progress,
) -> Result<TrainReport, TaskError> {
    let setting = Setting::open(config, Stage::Pretrain, resume, git, collective)?;
    let task = Pretraining::new(&setting)?;
    train(setting, task, progress)
}

/// A model with what it minimises: one step of pretraining, on whatever cells.
#[derive(Debug)]
pub(crate) struct Jepas<'a> {
    pub(crate) config: &'a Config,
    pub(crate) model: Jepa,
    objective: Objective,
}

impl<'a> Jepas<'a> {
    /// The model of a configuration.
    pub(crate) fn new(
        config: &'a Config,
        vocabulary: &crate::batch::vocabulary::Vocabulary,
    ) -> Result<Self, TaskError> {
        let model = Jepa::new(&config.model, vocabulary).map_err(TaskError::Invalid)?;
        let objective = Objective::of(&config.objective.losses).map_err(TaskError::Invalid)?;
        Ok(Self { config, model, objective })
    }

    fn pass(&self, pretext: &dyn Pretext, state: &FlatState, batch: &MicroBatch, plan: &StepPlan, cut: bool) -> Pass {
        let student = &state.params;
        let teacher = state.teacher.as_ref().unwrap_or(student);
        let networks = Networks::new(&self.model, student, teacher, plan.is_frozen(ENCODER), cut);
        let outputs = pretext.forward(&networks, batch);
        Pass { parts: self.objective.parts(&outputs, self.config.data.batch_size), cut: networks.into_cut() }
    }
}

/// One step of a single pretext task.
#[derive(Debug)]
pub(crate) struct Single<'a> {
    pub(crate) jepas: Jepas<'a>,
    pub(crate) pretext: Box<dyn Pretext>,
}

impl Method for Single<'_> {
    type Batch = MicroBatch;

    fn objective(&self) -> &Objective {
        &self.jepas.objective
    }

    fn forward(&self, state: &FlatState, batch: &MicroBatch, plan: &StepPlan, cut: bool) -> Pass {
        self.jepas.pass(&*self.pretext, state, batch, plan, cut)
    }
}

/// A micro-batch, and the phase that it is of.
#[derive(Debug)]
pub(crate) struct Phased {
    phase: usize,
    batch: MicroBatch,
}

/// The stage.
struct Pretraining<'a> {
    jepas: Jepas<'a>,
    curriculum: Arc<Curriculum>,
    assembler: Arc<Assembler>,
    checkup: Checkup,
    loader: Option<Loader>,
    bad_chunks: usize,
    setting: Facts<'a>,
}

/// What is kept of the setting.
struct Facts<'a> {
    collective: &'a dyn Collective,
    shards: crate::training::Shards,
    place: crate::engine::Place,
    folder: std::path::PathBuf,
}

impl<'a> Pretraining<'a> {
    fn new(setting: &Setting<'a>) -> Result<Self, TaskError> {
        let Setting { config, collective, data, place, shards, .. } = setting;
        let jepas = Jepas::new(config, &data.vocabulary)?;
        let curriculum = Arc::new(Curriculum::new(config, data)?);
        curriculum.check_world(collective.rank(), collective.size())?;
        let augmentation = (config.augmentation.build())(config.augmentation.table()).map_err(TaskError::Invalid)?;
        curriculum.check_values(&*augmentation, data)?;
        curriculum.check_model(&jepas.model, config)?;
        let input = jepas.model.encoder.input();
        let reader = CellReader::new(Arc::clone(&data.store), input, augmentation, config.run.seed);
        let assembler = Arc::new(Assembler::new(Arc::clone(&curriculum), data.clone(), reader, config.run.seed));
        let checkup = Checkup::new(data, input, place.device);
        let setting = Facts { collective: *collective, shards: *shards, place: *place, folder: config.run.dir.clone() };
        Ok(Self { jepas, curriculum, assembler, checkup, loader: None, bad_chunks: 0, setting })
    }

    fn config(&self) -> &'a Config {
        self.jepas.config
    }

    /// Records which chunks this rank could not read, where there are new ones.
    fn note_bad_chunks(&mut self) -> Result<(), TaskError> {
        let Some(loader) = self.loader.as_ref().filter(|loader| loader.n_bad_chunks() > self.bad_chunks) else {
            return Ok(());
        };
        self.bad_chunks = loader.n_bad_chunks();
        write_bad_chunks(&self.setting.folder, self.setting.collective.rank(), &loader.bad_chunks())
    }
}

impl Method for Pretraining<'_> {
    type Batch = Phased;

    fn objective(&self) -> &Objective {
        &self.jepas.objective
    }

    fn forward(&self, state: &FlatState, batch: &Phased, plan: &StepPlan, cut: bool) -> Pass {
        self.jepas.pass(self.curriculum.pretext(batch.phase), state, &batch.batch, plan, cut)
    }
}

impl Task for Pretraining<'_> {
    fn layout(&self) -> Layout {
        self.jepas.model.layout().clone()
    }

    fn total(&self) -> u64 {
        self.curriculum.total()
    }

    fn place(&self, step: u64) -> Place {
        let place = self.curriculum.place(step);
        Place { phase: Some(self.curriculum.name(place.phase)), epoch: place.epoch }
    }

    fn plan(&self, step: u64) -> StepPlan {
        let (config, total) = (self.config(), self.curriculum.total());
        StepPlan {
            lr: schedule::learning_rate(&config.optimizer, step, total),
            weight_decay: schedule::weight_decay(&config.optimizer, step, total),
            momentum: schedule::momentum(&config.teacher, step, total),
            scales: vec![(ENCODER.name, self.curriculum.encoder_lr_scale(step, config.objective.encoder_lr_scale))],
        }
    }

    fn cells(&self, step: u64) -> u64 {
        self.config().data.batch_size as u64 * self.curriculum.cells_a_row(step)
    }

    fn flops(&self, step: u64) -> Option<u64> {
        let frozen = self.plan(step).is_frozen(ENCODER);
        let pretext = self.curriculum.pretext(self.curriculum.place(step).phase);
        let cell = pretext.flops(&self.jepas.model, self.assembler.genes_a_cell(), frozen);
        Some(cell * self.config().data.batch_size as u64)
    }

    fn prepare(&mut self, start: &Start<'_>, _progress: &mut dyn Progress) -> Result<(), TaskError> {
        let data = &self.config().data;
        let (store, cache_bytes) = (self.assembler.store(), data.cache_mib << 20);
        let loader = LoaderConfig {
            threads: data.threads,
            depth: data.prefetch,
            cache_bytes,
            hold: self.curriculum.control_rows(),
            hold_bytes: cache_bytes,
            timeout: Duration::from_mins(5),
            bad_share: data.bad_chunk_share,
            ..LoaderConfig::default()
        };
        let requests = self.curriculum.requests(start.first, self.setting.shards);
        let assembler = Arc::clone(&self.assembler);
        self.loader = Some(if data.cache_dir.as_os_str().is_empty() {
            Loader::preparing(store, requests, &loader, assembler)?
        } else {
            let cached = Arc::new(CachedRows::open(store, &data.cache_dir)?);
            Loader::preparing(&cached, requests, &loader, assembler)?
        });
        Ok(())
    }

    fn batch(&mut self, step: u64, shard: usize) -> Result<Phased, TaskError> {
        let why = || self.curriculum.request(step, shard, self.setting.shards.count).err();
        let loaded = self.loader.as_mut().and_then(Iterator::next);
        // The order of the rows ends early where a step cannot be planned.
        let loaded = loaded.ok_or_else(|| why().unwrap_or(TaskError::LoaderEnded { step }))??;
        self.note_bad_chunks()?;
        let prepared = loaded.prepared.and_then(|prepared| prepared.downcast::<MicroBatch>().ok());
        let batch = prepared.ok_or(TaskError::LoaderEnded { step })?.on(self.setting.place.device);
        Ok(Phased { phase: self.curriculum.place(step).phase, batch })
    }

    fn health(&self, state: &FlatState, step: u64) -> Result<Health, TaskError> {
        let pretext = self.curriculum.pretext(self.curriculum.place(step).phase);
        self.checkup.health(&self.jepas.model, state, pretext.is_conditioned())
    }

    fn carried(&self) -> Carried<'_> {
        Carried::default()
    }
}

/// Records in the run folder which chunks this rank could not read, why, and the first step that wanted them.
fn write_bad_chunks(root: &Path, rank: usize, chunks: &[BadChunk]) -> Result<(), TaskError> {
    let path = root.join(format!("bad-chunks-rank-{rank}.json"));
    std::fs::write(&path, format!("{:#}\n", json!(chunks))).map_err(TaskError::io(&path))
}
