//! One optimizer step, from micro-batches to updated parameters, of whatever method.
//!
//! Guarantee: the gradient is that of the loss over the global batch, whatever the number of ranks and micro-batches.
//! Where shards are summed by the tree, equal micro-batches give equal bits on any number of ranks.

use tch::{Kind, Tensor};

use super::spans::{Clocked, Spans};
use super::{EngineError, FlatState, GradientTree, StepPlan, Updated};
use crate::config::{EngineConfig, OptimizerConfig, Overlap};
use crate::cut::Cut;
use crate::log::Phase;
use crate::loss::{Objective, Parts};
use syncyte_fabric::collective::Collective;

/// What a step computes on a micro-batch.
pub trait Method {
    /// A micro-batch, on the device where the networks compute.
    type Batch;

    /// What is minimised.
    fn objective(&self) -> &Objective;

    /// The forward pass: the parts of every loss of the objective. With `cut` the graph may be cut in two segments
    /// ([`Pass::cut`]).
    fn forward(&self, state: &FlatState, batch: &Self::Batch, plan: &StepPlan, cut: bool) -> Pass;
}

/// What a forward pass leaves.
#[derive(Debug)]
pub struct Pass {
    /// Parts of every loss.
    pub parts: Vec<Parts>,
    /// Where the graph was cut.
    pub cut: Option<Cut>,
}

/// Result of a step.
#[derive(Clone, Debug)]
pub struct Stepped {
    /// Loss over the global batch.
    pub loss: f64,
    /// Its terms by name.
    pub terms: Vec<(&'static str, f64)>,
    /// What became of the gradient.
    pub updated: Updated,
}

/// How steps are computed.
#[derive(Clone, Copy, Debug)]
pub struct Stepper<'a> {
    /// Optimizer.
    pub optimizer: &'a OptimizerConfig,
    /// Determinism and overlap.
    pub engine: &'a EngineConfig,
}

impl Stepper<'_> {
    /// One optimizer step on this rank's micro-batches. `flags` are summed over ranks on the way.
    ///
    /// # Errors
    /// When an exchange fails, or too many gradients in a row are not finite.
    pub fn step<M: Method>(
        &self,
        method: &M,
        state: &mut FlatState,
        micro_batches: &[M::Batch],
        plan: &StepPlan,
        flags: &mut [f64],
        (collective, spans): (&dyn Collective, &mut Spans),
    ) -> Result<Stepped, EngineError> {
        let deterministic = self.engine.deterministic;
        let overlap = if deterministic { Overlap::None } else { self.engine.overlap };
        let cut = self.engine.overlap == Overlap::Segments;
        // Several micro-batches that are there to save memory are computed once more, with gradients; the shards of
        // the deterministic mode keep their graphs.
        let again = micro_batches.len() > 1 && !deterministic;
        spans.enter(Phase::Forward);
        let forward = |state: &FlatState, batch: &M::Batch| method.forward(state, batch, plan, cut);
        let (mut passes, parts): (Vec<_>, Vec<Vec<Parts>>) = micro_batches
            .iter()
            .map(|batch| if again { tch::no_grad(|| forward(state, batch)) } else { forward(state, batch) })
            .map(|pass| (pass.cut, pass.parts))
            .unzip();
        let measured = method.objective().measure(&parts, flags, &Clocked::new(collective, spans))?;
        let mut tree = GradientTree::default();
        for (index, (batch, parts)) in micro_batches.iter().zip(parts).enumerate() {
            let pass = if again {
                spans.enter(Phase::Forward);
                forward(state, batch)
            } else {
                Pass { parts, cut: passes[index].take() }
            };
            spans.enter(Phase::Backward);
            if index + 1 == micro_batches.len() && overlap != Overlap::None {
                state.overlap(plan, overlap == Overlap::Hooks);
            }
            let surrogate = measured.surrogate(&pass.parts) * state.loss_scale();
            backward(state, &surrogate, pass.cut.as_ref());
            if deterministic {
                state.take_gradients(&mut tree);
            }
        }
        state.put_gradients(tree);
        spans.enter(Phase::ExposedCommunication);
        state.reduce(plan)?;
        spans.enter(Phase::Optimizer);
        let updated = state.update(collective, self.optimizer, plan)?;
        Ok(Stepped { loss: measured.loss, terms: measured.terms, updated })
    }
}

/// Gradients of one micro-batch; where the graph was cut, in two segments.
fn backward(state: &FlatState, surrogate: &Tensor, cut: Option<&Cut>) {
    if surrogate.requires_grad() {
        surrogate.backward();
    }
    if let Some(Cut { output, leaf, group }) = cut {
        state.complete_but(*group);
        // The gradient of this product with respect to the segment's output is the given one, bit by bit.
        (output * leaf.grad()).sum(Kind::Float).backward();
    }
}
