//! Which cells a step sees: phases, epochs, rows and control partners; and what is made of them.
//!
//! Guarantee: a pure function of configuration, split and step; the ranks' shares of a step are disjoint and
//! together make the same global batch at every world size.

use std::any::Any;
use std::sync::Arc;

use syncyte_sharding::loader::{BatchRequest, Prepare, RawBatch};
use syncyte_sharding::order::{Order, OrderConfig};
use syncyte_sharding::pairing::Pairing;
use syncyte_sharding::philox::{Purpose, draw};
use syncyte_sharding::split::Fold;
use syncyte_sharding::store::{CellStore, ValueKind};
use tch::{Device, Tensor};

use crate::augmentation::Augmentation;
use crate::batch::query::{EncodedQueries, Query};
use crate::config::Config;
use crate::model::Jepa;
use crate::pretext::{Cells, MicroBatch, Pretext};
use crate::reader::CellReader;
use crate::training::data::RunData;
use crate::training::{Shards, TaskError};

/// Place of a step in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the phase.
    pub phase: usize,
    /// Epoch within the phase, from 0.
    pub epoch: u64,
    /// Step within the epoch, from 0.
    pub step: u64,
}

/// Steps that train one pretext task.
struct Phase {
    name: &'static str,
    pretext: Box<dyn Pretext>,
    /// First step.
    from: u64,
    /// First step with an encoder that moves.
    thaw: u64,
    order: Order,
    rows: Vec<u64>,
    pairing: Option<Pairing>,
}

/// The plan of a pretraining run.
pub struct Curriculum {
    phases: Vec<Phase>,
    total: u64,
    /// Control cells that partners are drawn from; none where no phase pairs cells.
    controls: Vec<u64>,
}

impl Curriculum {
    /// Plans a run on the training fold.
    ///
    /// # Errors
    /// When the cells do not fill a batch or cannot be paired.
    pub fn new(config: &Config, data: &RunData) -> Result<Self, TaskError> {
        let mut phases = Vec::new();
        for choice in &config.objective.tasks {
            let pretext = (choice.build())(choice.table()).map_err(TaskError::Invalid)?;
            phases.push(Phase::new(config, data, choice.kind(), pretext)?);
        }
        let last = phases.last().ok_or_else(|| TaskError::Invalid("objective.tasks is empty".into()))?;
        let total = match config.engine.epochs {
            0 => config.engine.steps,
            epochs => epochs * last.order.steps_per_epoch(),
        };
        let ends = ends(&config.objective.shares(), total);
        for at in 0..phases.len() {
            phases[at].from = if at == 0 { 0 } else { ends[at - 1] };
            // An encoder that was not trained in a phase before has nothing worth freezing.
            let frozen = if phases[at].from == 0 { 0.0 } else { config.objective.freeze_share };
            let steps = ends[at] - phases[at].from;
            phases[at].thaw = phases[at].from + (frozen * steps as f64).round() as u64;
        }
        let labels = data.store.labels();
        let paired = phases.iter().any(|phase| phase.pairing.is_some());
        let controls = || data.split.rows(Fold::Train).into_iter().filter(|&row| labels.is_control(row as usize));
        let controls = if paired { controls().collect() } else { Vec::new() };
        Ok(Self { phases, total, controls })
    }

    /// Refuses count noise on values that are not counts.
    ///
    /// # Errors
    /// Names the key to set.
    pub fn check_values(&self, augmentation: &dyn Augmentation, data: &RunData) -> Result<(), TaskError> {
        let augments = self.phases.iter().any(|phase| phase.pretext.augments());
        if augments && augmentation.needs_counts() && data.store.info().value_kind != ValueKind::Counts {
            return Err(TaskError::Invalid(format!(
                "augmentation.kind = \"poisson\" draws counts, but {} holds log-normalised values; set \
                 augmentation.kind = \"gaussian\"",
                data.store.path().display()
            )));
        }
        Ok(())
    }

    /// Refuses a model that cannot do what a task asks of it.
    ///
    /// # Errors
    /// Names the task and the key to set.
    pub fn check_model(&self, model: &Jepa, config: &Config) -> Result<(), TaskError> {
        for Phase { name, pretext, .. } in &self.phases {
            if pretext.is_conditioned() && !model.predictor.reads_condition() {
                return Err(TaskError::Invalid(format!(
                    "model.predictor = \"{}\" is not told the perturbation, which the task \"{name}\" asks about; choose another \
                     kind of predictor",
                    config.model.predictor.kind()
                )));
            }
            if pretext.needs_pointer() && !model.has_pointer() {
                return Err(TaskError::Invalid(format!(
                    "the task \"{name}\" asks for several targets of a cell, and nothing tells the predictor which; set \
                     model.pointer"
                )));
            }
        }
        Ok(())
    }

    /// Steps of the run.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The pretext task of a phase.
    pub fn pretext(&self, phase: usize) -> &dyn Pretext {
        &*self.phases[phase].pretext
    }

    /// Name of a phase in logs.
    pub fn name(&self, phase: usize) -> &'static str {
        self.phases[phase].name
    }

    /// Place of a step, from 0.
    pub fn place(&self, step: u64) -> Place {
        let begun = self.phases.iter().rposition(|phase| phase.from <= step);
        let phase = begun.unwrap_or(0);
        let step = step - self.phases[phase].from;
        let per_epoch = self.phases[phase].order.steps_per_epoch().max(1);
        Place { phase, epoch: step / per_epoch, step: step % per_epoch }
    }

    /// Factor on the encoder's learning rate: 0 while it is frozen, `scale` in phases after the first.
    pub fn encoder_lr_scale(&self, step: u64, scale: f64) -> f64 {
        let phase = &self.phases[self.place(step).phase];
        match phase.from {
            0 => 1.0,
            _ if step < phase.thaw => 0.0,
            _ => scale,
        }
    }

    /// Cells that are read for each row of a batch.
    pub fn cells_a_row(&self, step: u64) -> u64 {
        if self.phases[self.place(step).phase].pairing.is_some() { 2 } else { 1 }
    }

    /// Rows and partners of one of `count` micro-batches of a step.
    ///
    /// # Errors
    /// When their number does not divide the streams.
    pub fn request(&self, step: u64, shard: usize, count: usize) -> Result<BatchRequest, TaskError> {
        let place = self.place(step);
        let phase = &self.phases[place.phase];
        let positions = phase.order.rank_batch(place.epoch, place.step, shard, count)?;
        let rows: Vec<u64> = positions.into_iter().map(|position| phase.rows[position as usize]).collect();
        let partners = match &phase.pairing {
            Some(pairing) => pairing.partners(place.epoch, &rows)?,
            None => Vec::new(),
        };
        Ok(BatchRequest { step, rows, partners })
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

    /// Control cells that partners are drawn from, worth keeping decoded; none where no phase is paired.
    pub fn control_rows(&self) -> Vec<u64> {
        self.controls.clone()
    }

    /// Checks that this many ranks can share the batches.
    ///
    /// # Errors
    /// Names the numbers of ranks that would do.
    pub fn check_world(&self, rank: usize, world: usize) -> Result<(), TaskError> {
        for phase in &self.phases {
            phase.order.config().check_world(rank, world)?;
        }
        Ok(())
    }
}

/// Step behind the last of every phase.
fn ends(shares: &[f64], total: u64) -> Vec<u64> {
    let sum: f64 = shares.iter().sum();
    let mut so_far = 0.0;
    let mut ends: Vec<u64> = Vec::with_capacity(shares.len());
    for share in shares {
        so_far += share;
        ends.push((so_far / sum * total as f64).round() as u64);
    }
    if let Some(last) = ends.last_mut() {
        *last = total;
    }
    ends
}

impl Phase {
    fn new(config: &Config, data: &RunData, name: &'static str, pretext: Box<dyn Pretext>) -> Result<Self, TaskError> {
        let train = data.split.rows(Fold::Train);
        let labels = data.store.labels();
        let (rows, tag, pairing) = match pretext.cells() {
            Cells::All => (train, 0, None),
            Cells::Perturbed => {
                let perturbed: Vec<u64> =
                    train.iter().copied().filter(|&row| !labels.is_control(row as usize)).collect();
                if perturbed.is_empty() {
                    return Err(TaskError::Invalid(
                        "the training fold has no perturbed cells to pair with controls; set objective.tasks = \
                         [\"augmentation\"] to train on cells without labels, or name their labels at import \
                         (`syncyte store import --perturbation-key`)"
                            .into(),
                    ));
                }
                (perturbed, 1, Some(Pairing::new(labels, &train, config.run.seed)?))
            }
        };
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
        Ok(Self { name, pretext, from: 0, thaw: 0, order, rows, pairing })
    }
}

/// Makes micro-batches of what the loader has read, on its threads.
pub struct Assembler {
    curriculum: Arc<Curriculum>,
    data: RunData,
    reader: CellReader,
    seed: u64,
}

impl Assembler {
    /// For the phases of a curriculum.
    pub fn new(curriculum: Arc<Curriculum>, data: RunData, reader: CellReader, seed: u64) -> Self {
        Self { curriculum, data, reader, seed }
    }

    /// The store.
    pub fn store(&self) -> &Arc<CellStore> {
        &self.data.store
    }

    /// Genes that are read of a cell, on average.
    pub fn genes_a_cell(&self) -> u64 {
        self.reader.genes_a_cell()
    }
}

impl Prepare for Assembler {
    fn prepare(&self, batch: &RawBatch<'_>) -> Result<Box<dyn Any + Send>, String> {
        let pretext = self.curriculum.pretext(self.curriculum.place(batch.step).phase);
        let query = |&row: &u64| if pretext.is_conditioned() { self.data.query(row) } else { Query::Null };
        let queries: Vec<Query<'_>> = batch.rows.iter().map(query).collect();
        let queries = EncodedQueries::new(&queries, &self.data.vocabulary, Device::Cpu);
        Ok(Box::new(MicroBatch {
            views: pretext.views(batch, &self.reader)?,
            queries: queries.map_err(|error| error.to_string())?,
            dropout: dropout_keys(self.seed, batch.rows, batch.step),
        }))
    }
}

/// Keys of dropout for rows of the store.
pub(crate) fn dropout_keys(seed: u64, rows: &[u64], step: u64) -> Tensor {
    let keys: Vec<i64> = rows.iter().map(|&row| draw(seed, Purpose::Dropout, row, step) as i64).collect();
    Tensor::from_slice(&keys)
}

#[cfg(test)]
mod tests {
    use super::ends;

    #[test]
    fn phases_take_their_shares_of_the_steps_and_all_of_them() {
        assert_eq!(ends(&[0.5, 0.5], 12), [6, 12]);
        assert_eq!(ends(&[0.3, 0.7], 9), [3, 9]);
        assert_eq!(ends(&[1.0, 2.0, 1.0], 10), [3, 8, 10]);
        assert_eq!(ends(&[5.0], 7), [7]);
    }
}
