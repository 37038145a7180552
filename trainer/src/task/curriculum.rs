//! Which cells a step sees: phases, epochs, rows and control partners.
//!
//! Guarantee: a pure function of configuration, split and step; the ranks' shares of a step are disjoint and
//! together make the same global batch at every world size.

use std::sync::Arc;

use syncyte_sharding::loader::BatchRequest;
use syncyte_sharding::order::{Order, OrderConfig};
use syncyte_sharding::pairing::Pairing;
use syncyte_sharding::split::Fold;

use super::TaskError;
use super::data::RunData;
use crate::config::{Config, ObjectiveKind};

/// What is trained in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Two views of one cell (J2).
    Augmentation,
    /// Control cell and condition to perturbed cell (J3).
    Paired,
}

impl Phase {
    /// Name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Augmentation => "augmentation",
            Self::Paired => "paired",
        }
    }
}

/// Place of a step in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Phase.
    pub phase: Phase,
    /// Epoch within the phase, from 0.
    pub epoch: u64,
    /// Step within the epoch, from 0.
    pub step: u64,
}

/// How the global batch is cut into micro-batches, and which of them a rank computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Micro-batches of a step, over all ranks.
    pub count: usize,
    /// Micro-batches of each rank.
    pub per_rank: usize,
    /// Whether a rank has consecutive ones, as the fixed tree of the deterministic mode wants.
    consecutive: bool,
    rank: usize,
    world: usize,
}

impl Shards {
    /// The cut of a configuration.
    ///
    /// # Errors
    /// When the ranks do not divide the logical shards, or the micro-batches do not divide the streams.
    pub fn new(config: &Config, rank: usize, world: usize) -> Result<Self, TaskError> {
        let engine = &config.engine;
        let count = if engine.deterministic { engine.logical_shards } else { world * engine.micro_batches };
        if !count.is_multiple_of(world) {
            return Err(TaskError::Invalid(format!(
                "engine.deterministic needs a number of ranks that divides engine.logical_shards = {count}, not {world}"
            )));
        }
        if engine.micro_batches > 1 && !config.data.streams.is_multiple_of(count) {
            return Err(TaskError::Invalid(format!(
                "{world} ranks with engine.micro_batches = {} do not divide data.streams = {}",
                engine.micro_batches, config.data.streams
            )));
        }
        Ok(Self { count, per_rank: count / world, consecutive: engine.deterministic, rank, world })
    }

    /// This rank's micro-batches, in the order in which they are computed.
    pub fn own(self) -> impl Iterator<Item = usize> {
        (0..self.per_rank)
            .map(move |i| if self.consecutive { self.rank * self.per_rank + i } else { self.rank + i * self.world })
    }
}

/// A row order over some cells of the store.
struct Pass {
    order: Order,
    rows: Vec<u64>,
}

/// The plan of a pretraining run.
pub struct Curriculum {
    augmentation: Option<Pass>,
    paired: Option<(Pass, Pairing)>,
    augmentation_steps: u64,
    freeze_until: u64,
    total: u64,
}

impl Curriculum {
    /// Plans a run on the training fold.
    ///
    /// # Errors
    /// When the cells do not fill a batch or cannot be paired.
    pub fn new(config: &Config, data: &RunData) -> Result<Self, TaskError> {
        let train = data.split.rows(Fold::Train);
        let labels = data.store.labels();
        let augmentation = (config.objective.kind != ObjectiveKind::Paired)
            .then(|| Pass::new(config, data, train.clone(), 0))
            .transpose()?;
        let paired = if config.objective.kind == ObjectiveKind::Augmentation {
            None
        } else {
            let perturbed: Vec<u64> = train.iter().copied().filter(|&row| !labels.is_control(row as usize)).collect();
            if perturbed.is_empty() {
                return Err(TaskError::Invalid(
                    "the training fold has no perturbed cells to pair with controls; set objective.kind = \
                     \"augmentation\" to train on cells without labels, or name their labels at import \
                     (`syncyte store import --perturbation-key`)"
                        .into(),
                ));
            }
            let pairing = Pairing::new(labels, &train, config.run.seed)?;
            Some((Pass::new(config, data, perturbed, 1)?, pairing))
        };
        let total = match (config.engine.epochs, &paired, &augmentation) {
            (0, _, _) => config.engine.steps,
            (epochs, Some((pass, _)), _) | (epochs, None, Some(pass)) => epochs * pass.order.steps_per_epoch(),
            (epochs, None, None) => epochs,
        };
        let augmentation_steps = match config.objective.kind {
            ObjectiveKind::Augmentation => total,
            ObjectiveKind::Paired => 0,
            ObjectiveKind::TwoPhase => (config.objective.augmentation_share * total as f64).round() as u64,
        };
        // An encoder that was not trained in a phase before has nothing worth freezing.
        let frozen = if augmentation_steps == 0 { 0.0 } else { config.objective.freeze_share };
        let freeze_until = augmentation_steps + (frozen * (total - augmentation_steps) as f64).round() as u64;
        Ok(Self { augmentation, paired, augmentation_steps, freeze_until, total })
    }

    /// Steps of the run.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Place of a step, from 0.
    pub fn place(&self, step: u64) -> Place {
        let (phase, step, pass) = match (&self.augmentation, &self.paired) {
            (Some(pass), _) if step < self.augmentation_steps => (Phase::Augmentation, step, Some(pass)),
            (_, Some((pass, _))) => (Phase::Paired, step - self.augmentation_steps, Some(pass)),
            (pass, None) => (Phase::Augmentation, step, pass.as_ref()),
        };
        let per_epoch = pass.map_or(1, |pass| pass.order.steps_per_epoch()).max(1);
        Place { phase, epoch: step / per_epoch, step: step % per_epoch }
    }

    /// Factor on the encoder's learning rate: 0 while it is frozen.
    pub fn encoder_lr_scale(&self, step: u64, scale: f64) -> f64 {
        match self.place(step).phase {
            Phase::Paired if step < self.freeze_until => 0.0,
            Phase::Paired if self.augmentation_steps > 0 => scale,
            _ => 1.0,
        }
    }

    /// Rows and partners of one of `count` micro-batches of a step.
    ///
    /// # Errors
    /// When their number does not divide the streams.
    pub fn request(&self, step: u64, shard: usize, count: usize) -> Result<BatchRequest, TaskError> {
        let (rank, world) = (shard, count);
        let place = self.place(step);
        match (place.phase, &self.augmentation, &self.paired) {
            (Phase::Augmentation, Some(pass), _) => {
                Ok(BatchRequest { step, rows: pass.rank_rows(place, rank, world)?, partners: Vec::new() })
            }
            (_, _, Some((pass, pairing))) => {
                let rows = pass.rank_rows(place, rank, world)?;
                let partners = pairing.partners(place.epoch, &rows)?;
                Ok(BatchRequest { step, rows, partners })
            }
            _ => Err(TaskError::Invalid("the objective has no phase for this step".into())),
        }
    }

    /// Requests of a rank from a step on, for a loader: its micro-batches of each step in turn.
    pub fn requests(
        self: &Arc<Self>,
        from: u64,
        shards: Shards,
    ) -> impl Iterator<Item = BatchRequest> + Send + 'static {
        let curriculum = Arc::clone(self);
        // They end where a step cannot be planned; whoever misses it asks why.
        (from..self.total)
            .flat_map(move |step| shards.own().map(move |shard| (step, shard)))
            .map_while(move |(step, shard)| curriculum.request(step, shard, shards.count).ok())
    }

    /// Control cells that partners are drawn from, worth keeping decoded; empty where no phase is paired.
    pub fn control_rows(&self, data: &RunData) -> Vec<u64> {
        let labels = data.store.labels();
        let controls = data.split.rows(Fold::Train).into_iter().filter(|&row| labels.is_control(row as usize));
        if self.paired.is_some() { controls.collect() } else { Vec::new() }
    }

    /// Checks that this many ranks can share the batches.
    ///
    /// # Errors
    /// Names the numbers of ranks that would do.
    pub fn check_world(&self, rank: usize, world: usize) -> Result<(), TaskError> {
        for pass in self.augmentation.iter().chain(self.paired.iter().map(|(pass, _)| pass)) {
            pass.order.config().check_world(rank, world)?;
        }
        Ok(())
    }
}

impl Pass {
    fn new(config: &Config, data: &RunData, rows: Vec<u64>, tag: u64) -> Result<Self, TaskError> {
        let order = Order::new(
            rows.len(),
            OrderConfig {
                seed: config.run.seed.wrapping_mul(2).wrapping_add(tag),
                streams: config.data.streams,
                block_rows: if config.data.block_rows == 0 { data.store.chunk_rows() } else { config.data.block_rows },
                window_blocks: config.data.window_blocks,
                batch: config.data.batch_size,
            },
        )?;
        Ok(Self { order, rows })
    }

    fn rank_rows(&self, place: Place, rank: usize, world: usize) -> Result<Vec<u64>, TaskError> {
        let positions = self.order.rank_batch(place.epoch, place.step, rank, world)?;
        Ok(positions.into_iter().map(|position| self.rows[position as usize]).collect())
    }
}
