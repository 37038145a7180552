//! R7: any predictor as one of a change, through a last layer that starts at zero.
//!
//! Guarantee: training starts at "no change" bit for bit, and a control condition never changes a state.

use super::{Predictor, Widths};
use crate::batch::view::State;
use crate::component::Declare;
use crate::layer::Linear;
use crate::params::{Init, ParamSet};
use crate::perturbation::Condition;

/// The wrapper.
#[derive(Debug)]
pub struct Residual {
    inner: Box<dyn Predictor>,
    last: Linear,
    width: u64,
}

impl Residual {
    /// Declares the last layer behind `inner`.
    pub fn new(inner: Box<dyn Predictor>, declare: &mut Declare<'_>, widths: Widths) -> Self {
        let (name, width) = ("predictor.residual", widths.state);
        let last = Linear::with_init(declare.registry, declare.group, name, width, width, Init::Zeros);
        Self { inner, last, width: width as u64 }
    }
}

impl Predictor for Residual {
    fn reads_condition(&self) -> bool {
        self.inner.reads_condition()
    }

    fn forward(&self, params: &ParamSet, state: &State, condition: &Condition) -> State {
        let predicted = self.inner.forward(params, state, condition);
        let before = if predicted.is_pooled() { state.pooled() } else { state.as_tokens().0 };
        let mut shape = vec![-1];
        shape.resize(before.dim(), 1);
        let moves = condition.perturbed.view(shape.as_slice()).to_kind(before.kind());
        let change = self.last.forward(params, predicted.values()) * moves;
        predicted.with(before + change)
    }

    fn macs(&self, tokens: u64, condition_tokens: u64) -> u64 {
        self.inner.macs(tokens, condition_tokens) + self.inner.tokens(tokens) * self.width * self.width
    }

    fn tokens(&self, tokens: u64) -> u64 {
        self.inner.tokens(tokens)
    }
}
