//! One optimizer step, from micro-batches to updated parameters: the method itself.
//!
//! Guarantee: the gradient is that of the loss over the global batch, whatever the number of ranks and micro-batches.
//! Where shards are summed by the tree, equal micro-batches give equal bits on any number of ranks.

use tch::{Kind, Tensor};

use super::clocked::Clocked;
use crate::collective::Collective;
use crate::config::{Config, Overlap};
use crate::device;
use crate::engine::{FlatState, GradientTree, Place, StateOptions, StepPlan, Updated};
use crate::log::mfu::{ModelSizes, peak_flops, utilisation};
use crate::log::{Phase, StepClock};
use crate::model::Jepa;
use crate::model::encoder::DropoutKeys;
use crate::model::perturbation::EncodedQueries;
use crate::model::vocabulary::Vocabulary;
use crate::objective::vicreg::{self, Measured, Outputs, Parts, Terms};
use crate::params::Part;
use crate::task::TaskError;
use crate::watch;

/// What the networks get for one micro-batch, on the device where they compute.
#[derive(Debug)]
pub(crate) struct MicroBatch {
    /// Student's input, `[B, G]`.
    pub(crate) source: Tensor,
    /// Teacher's input, `[B, G]`.
    pub(crate) target: Tensor,
    /// Conditions.
    pub(crate) queries: EncodedQueries,
    /// One i64 a cell that dropout masks follow from, `[B]`.
    pub(crate) dropout: Tensor,
}

/// Result of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stepped {
    /// Loss over the global batch.
    pub(crate) terms: Terms,
    /// What became of the gradient.
    pub(crate) updated: Updated,
}

/// Model and state in training.
#[derive(Debug)]
pub(crate) struct Learner<'a> {
    config: &'a Config,
    /// The networks.
    pub(crate) model: Jepa,
    /// Parameters, gradients, moments, teacher.
    pub(crate) state: FlatState,
    sizes: ModelSizes,
    /// FLOP/s that the device has at most, where that is known.
    peak: Option<f64>,
}

impl<'a> Learner<'a> {
    /// A model for a vocabulary with its initial state, at a place.
    pub(crate) fn new(
        config: &'a Config,
        vocabulary: &Vocabulary,
        place: Place,
        collective: &dyn Collective,
    ) -> Result<Self, TaskError> {
        let model = Jepa::new(&config.model, vocabulary);
        let options = StateOptions {
            precision: config.engine.precision,
            sharding: config.engine.sharding,
            wire: config.engine.wire,
            max_skipped: config.engine.max_skipped,
            place,
            limit: config.engine.limits().long,
        };
        let teacher = model.layout().encoder();
        let state = FlatState::new(model.layout(), Some(&teacher), config.run.seed, options, collective)?;
        let sizes = Jepa::sizes(&config.model, vocabulary);
        let peak = device::name(place.device).and_then(|name| peak_flops(&name));
        Ok(Self { config, model, state, sizes, peak })
    }

    /// Model FLOPs utilisation at so many pairs of cells a second over all ranks, where the device's peak is known.
    pub(crate) fn utilisation(&self, pairs_per_s: f64, frozen: bool, ranks: usize) -> Option<f64> {
        self.peak.map(|peak| utilisation(self.sizes.flops_per_pair(frozen), pairs_per_s, ranks, peak))
    }

    /// One optimizer step on this rank's micro-batches. `flags` are summed over ranks on the way.
    pub(crate) fn step(
        &mut self,
        micro_batches: &[MicroBatch],
        plan: &StepPlan,
        flags: &mut [f64],
        collective: &dyn Collective,
        clock: &mut StepClock,
    ) -> Result<Stepped, TaskError> {
        let frozen = plan.encoder_lr_scale == 0.0;
        let global_batch = self.config.data.batch_size;
        // Several micro-batches that are there to save memory are computed once more, with gradients; the shards of
        // the deterministic mode keep their graphs.
        let again = micro_batches.len() > 1 && !self.config.engine.deterministic;
        let recorder = collective.recorder();
        let step = self.state.step() + 1;
        let at = |phase| recorder.iter().for_each(|recorder| recorder.at(step, phase));
        at(watch::Phase::Forward);
        clock.enter(Phase::Forward);
        let mut passes: Vec<Pass> = micro_batches
            .iter()
            .map(|batch| if again { tch::no_grad(|| self.forward(batch, frozen)) } else { self.forward(batch, frozen) })
            .collect();
        let preset = self.config.objective.preset;
        let parts: Vec<Parts> = passes.iter().map(|pass| Parts::new(preset, &pass.outputs, global_batch)).collect();
        let measured = vicreg::measure(preset, &parts, flags, &Clocked::new(collective, clock))?;
        let mut tree = GradientTree::default();
        let last = micro_batches.len() - 1;
        for (index, (batch, parts)) in micro_batches.iter().zip(parts).enumerate() {
            let (pass, parts) = if again {
                clock.enter(Phase::Forward);
                let pass = self.forward(batch, frozen);
                let parts = Parts::new(preset, &pass.outputs, global_batch);
                (pass, parts)
            } else {
                (passes.remove(0), parts)
            };
            at(watch::Phase::Backward);
            clock.enter(Phase::Backward);
            let overlap = if self.config.engine.deterministic { Overlap::None } else { self.config.engine.overlap };
            if index == last && overlap != Overlap::None {
                self.state.overlap(frozen, overlap == Overlap::Hooks);
            }
            self.backward(&measured, &pass, &parts);
            if self.config.engine.deterministic {
                self.state.take_gradients(&mut tree);
            }
        }
        self.state.put_gradients(tree);
        clock.enter(Phase::ExposedCommunication);
        self.state.reduce(frozen)?;
        at(watch::Phase::Optimizer);
        clock.enter(Phase::Optimizer);
        let updated = self.state.update(collective, &self.config.optimizer, plan)?;
        Ok(Stepped { terms: measured.terms, updated })
    }

    /// Target from the teacher; context and prediction from the student. A frozen encoder runs as at inference.
    fn forward(&self, batch: &MicroBatch, frozen: bool) -> Pass {
        let (model, params) = (&self.model, &self.state.params);
        let teacher = self.state.teacher.as_ref().unwrap_or(params);
        let target = tch::no_grad(|| model.encoder.forward(teacher, &batch.target, None));
        let keys = DropoutKeys { rows: &batch.dropout };
        let context = if frozen {
            tch::no_grad(|| model.encoder.forward(params, &batch.source, None))
        } else {
            model.encoder.forward(params, &batch.source, Some(&keys))
        };
        let cut = self.config.engine.overlap == Overlap::Segments && context.requires_grad();
        let (context, encoder) =
            if cut { (context.detach().set_requires_grad(true), Some(context)) } else { (context, None) };
        let prediction = model.predict_from(params, &context, &batch.queries);
        Pass { outputs: Outputs { context, prediction, target }, encoder }
    }

    /// Gradients of one micro-batch; where the graph was cut behind the encoder, in two segments.
    fn backward(&self, measured: &Measured, pass: &Pass, parts: &Parts) {
        (measured.surrogate(parts) * self.state.loss_scale()).backward();
        if let Some(encoder) = &pass.encoder {
            self.state.complete(Part::Rest);
            let gradient = pass.outputs.context.grad();
            // The gradient of this product with respect to the encoder's output is the given one, bit by bit.
            (encoder * gradient).sum(Kind::Float).backward();
        }
    }
}

/// What a forward pass leaves.
struct Pass {
    outputs: Outputs,
    /// The encoder's output, where the graph was cut behind it: `outputs.context` is then a leaf.
    encoder: Option<Tensor>,
}

/// Keys of dropout for rows of the store.
pub(crate) fn dropout_keys(seed: u64, rows: &[u64], step: u64) -> Tensor {
    use syncyte_sharding::philox::{Purpose, draw};
    let keys: Vec<i64> = rows.iter().map(|&row| draw(seed, Purpose::Dropout, row, step) as i64).collect();
    Tensor::from_slice(&keys)
}
