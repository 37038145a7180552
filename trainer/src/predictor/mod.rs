//! Predictors: from the state of a cell, and what is asked about it, to the state that its teacher should give.

mod adaln;
mod cross_attention;
mod mlp;
mod residual;
mod transformer;

use std::fmt;

use toml::Table;

pub use adaln::Adaln;
pub use cross_attention::CrossAttention;
pub use mlp::Mlp;
pub use residual::Residual;
pub use transformer::Transformer;

use crate::batch::view::State;
use crate::component::{Declare, Member, Role};
use crate::params::ParamSet;
use crate::perturbation::Condition;

/// States to predicted states.
pub trait Predictor: fmt::Debug + Send + Sync {
    /// Whether what it predicts depends on the condition.
    fn reads_condition(&self) -> bool {
        true
    }

    /// Predicted state from a baseline state under a condition.
    fn forward(&self, params: &ParamSet, state: &State, condition: &Condition) -> State;

    /// Multiply-adds for a cell whose state has so many tokens, under a condition of so many.
    fn macs(&self, tokens: u64, condition_tokens: u64) -> u64;

    /// Tokens of the prediction for a state of so many.
    fn tokens(&self, tokens: u64) -> u64;
}

/// Widths between which a predictor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Of states.
    pub state: i64,
    /// Of condition tokens and vectors.
    pub condition: i64,
}

impl Role for dyn Predictor {
    const SECTION: &'static str = "model.predictor";
    type Build = fn(&Table, &mut Declare<'_>, Widths) -> Result<Box<dyn Predictor>, String>;

    fn table() -> &'static [Member<Self>] {
        static TABLE: &[Member<dyn Predictor>] = &[
            Member::<dyn Predictor>::new::<CrossAttention>("cross_attention", "R2", cross_attention::build),
            Member::<dyn Predictor>::new::<Mlp>("mlp", "R3", mlp::build),
            Member::<dyn Predictor>::new::<Transformer>("transformer", "R1", transformer::build),
            Member::<dyn Predictor>::new::<Adaln>("adaln", "R6", adaln::build),
        ];
        TABLE
    }

    fn renamed() -> &'static [(&'static str, &'static str)] {
        &[("r2", "cross_attention"), ("r3", "mlp")]
    }
}

#[cfg(test)]
mod tests;
