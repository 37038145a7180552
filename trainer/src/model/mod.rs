//! The joint-embedding predictive model: encoder, perturbation encoder and predictor, put together by configuration.
//!
//! The components' modules hold no values: each call is given the parameters, the student's or the teacher's.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::batch::blocks::Blocks;
use crate::batch::query::EncodedQueries;
use crate::batch::view::{State, View};
use crate::batch::vocabulary::Vocabulary;
use crate::component::{Choice, Declare};
use crate::encoder::Encoder;
use crate::layer::dropout::DropoutKeys;
use crate::params::{Group, Layout, ParamSet, Registry};
use crate::perturbation::{ConditionEncoder, PerturbationEncoder};
use crate::pointer::Pointer;
use crate::predictor::{Predictor, Residual, Widths};

/// The encoder, whose average is the teacher.
pub const ENCODER: Group = Group::averaged("encoder");
/// Predictor and perturbation encoder.
pub const PREDICTOR: Group = Group::new("predictor");

/// `[model]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Whether the predictor predicts the change from the baseline, through a last layer that starts at zero (R7).
    pub residual: bool,
    /// What tells the predictor which of several targets it is asked for, where a task has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Choice<dyn Pointer>>,
    /// Encoder of cells.
    pub encoder: Choice<dyn Encoder>,
    /// Encoder of perturbations.
    pub perturbation: Choice<dyn PerturbationEncoder>,
    /// Predictor of states.
    pub predictor: Choice<dyn Predictor>,
}

/// A model with one parameter layout.
#[derive(Debug)]
pub struct Jepa {
    /// Encoder of cells.
    pub encoder: Box<dyn Encoder>,
    /// Encoder of conditions.
    pub condition: ConditionEncoder,
    /// Predictor of states.
    pub predictor: Box<dyn Predictor>,
    pointer: Option<Box<dyn Pointer>>,
    layout: Layout,
}

impl Jepa {
    /// Builds the model of a configuration for a vocabulary.
    ///
    /// # Errors
    /// When components do not fit together: their keys, and what would be right.
    pub fn new(config: &ModelConfig, vocabulary: &Vocabulary) -> Result<Self, String> {
        let mut registry = Registry::default();
        let mut declare = Declare { registry: &mut registry, group: ENCODER, vocabulary };
        let encoder = (config.encoder.build())(config.encoder.table(), &mut declare)?;
        declare.group = PREDICTOR;
        let condition = ConditionEncoder::new(&config.perturbation, &mut declare)?;
        let widths = Widths { state: encoder.width(), condition: condition.width() };
        let mut predictor = (config.predictor.build())(config.predictor.table(), &mut declare, widths)?;
        if config.residual {
            predictor = Box::new(Residual::new(predictor, &mut declare, widths));
        }
        let point = |choice: &Choice<dyn Pointer>| (choice.build())(choice.table(), &mut declare, encoder.width());
        let pointer = config.pointer.as_ref().map(point).transpose()?;
        Ok(Self { encoder, condition, predictor, pointer, layout: registry.layout() })
    }

    /// Layout of all parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Pooled embedding `[B, d]` of cells, without dropout.
    pub fn embed(&self, encoder: &ParamSet, cells: &View) -> Tensor {
        self.encoder.forward(encoder, cells, None).pooled()
    }

    /// The student's pass: the states of cells, and what is predicted from them.
    pub fn predict(
        &self,
        params: &ParamSet,
        cells: &View,
        queries: &EncodedQueries,
        dropout: Option<&DropoutKeys<'_>>,
    ) -> (State, State) {
        let context = self.encoder.forward(params, cells, dropout);
        let prediction = self.predict_from(params, &context, queries);
        (context, prediction)
    }

    /// Predicted states from states of cells.
    pub fn predict_from(&self, params: &ParamSet, context: &State, queries: &EncodedQueries) -> State {
        self.predictor.forward(params, context, &self.condition.forward(params, queries))
    }

    /// Whether the predictor can be told which of several targets it is asked for.
    pub fn has_pointer(&self) -> bool {
        self.pointer.is_some()
    }

    /// Predicted states of blocks of genes, one a block and the blocks of a cell one behind the other `[B·K, d]`: the
    /// predictor reads pointers beside the tokens of the cell. A model without pointers predicts the same for all blocks.
    pub fn predict_blocks(
        &self,
        params: &ParamSet,
        context: &State,
        queries: &EncodedQueries,
        blocks: &Blocks,
    ) -> State {
        let condition = self.condition.forward(params, queries);
        let (tokens, mask) = context.as_tokens();
        let (n, k, width) = (tokens.size()[1], blocks.per_cell(), tokens.size()[2]);
        let Some(pointer) = &self.pointer else {
            let one = self.predictor.forward(params, context, &condition).pooled();
            return State::Pooled(one.unsqueeze(1).expand([-1, k, -1], false).reshape([-1, width]));
        };
        let (pointers, there) = pointer.tokens(params, blocks);
        let all = |like: &Tensor| Tensor::ones([like.size()[0], like.size()[1]], (Kind::Bool, like.device()));
        let mask = match (mask, there) {
            (None, None) => None,
            (mask, there) => {
                Some(Tensor::cat(&[mask.unwrap_or_else(|| all(&tokens)), there.unwrap_or_else(|| all(&pointers))], 1))
            }
        };
        let q = pointers.size()[1];
        let predicted = if self.predictor.tokens(2) == 1 {
            // One state is predicted at a time: that of the cell, moved by the pointer.
            let states = (context.pooled().unsqueeze(1) + &pointers).reshape([-1, width]);
            let each = self.predictor.forward(params, &State::Pooled(states), &condition.repeated(q));
            each.pooled().view([-1, q, width])
        } else {
            let tokens = Tensor::cat(&[&tokens, &pointers.to_kind(tokens.kind())], 1);
            let whole = self.predictor.forward(params, &State::Tokens { tokens, mask }, &condition);
            whole.values().narrow(1, n, q)
        };
        State::Pooled(pointer.read(&predicted, blocks).reshape([-1, width]))
    }

    /// Model FLOPs of a training step for each pair of a student's and a teacher's cell, of which `genes` are read: 2 a
    /// multiply-add, three times the forward pass of what is trained. A frozen encoder is run forward alone, as the teacher.
    pub fn flops_per_pair(&self, genes: u64, frozen_encoder: bool) -> u64 {
        let encoder = self.encoder.macs(genes);
        let context = if frozen_encoder { encoder } else { 3 * encoder };
        let predictor = self.predictor.macs(self.encoder.tokens(genes), self.condition.tokens());
        2 * (context + 3 * (self.condition.macs() + predictor) + encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::GeneMlp;

    fn model(config: &ModelConfig) -> Result<Jepa, String> {
        let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect();
        let vocabulary = Vocabulary {
            genes: names("g", 5000),
            targets: names("g", 5),
            contexts: names("c", 1),
            kinds: names("k", 1),
        };
        Jepa::new(config, &vocabulary)
    }

    #[test]
    fn a_pair_of_cells_costs_what_the_hand_calculation_says() {
        let model = model(&ModelConfig::default()).unwrap();
        // Six condition tokens: 6·128·256 = 196 608. Cross block: q and out 2·64·256² = 8 388 608; kv 2·6·256² = 786 432;
        // MLP 33 554 432; scores and mixture 2·64·6·256 = 196 608; together 42 926 080. With a block of 52 428 800, four times.
        let predictor = 196_608 + 4 * (42_926_080 + 52_428_800);
        assert_eq!(model.flops_per_pair(5000, false), 2 * (3 * (238_829_568 + predictor) + 238_829_568));
        let saved = model.flops_per_pair(5000, false) - model.flops_per_pair(5000, true);
        assert_eq!(saved, 2 * 2 * 238_829_568, "a frozen encoder saves its backward pass");
    }

    #[test]
    fn heads_that_do_not_fit_the_encoder_are_named() {
        let encoder = GeneMlp { width: 12, heads: 4, ..GeneMlp::default() };
        let config = ModelConfig { encoder: Choice::with("gene_mlp", &encoder).unwrap(), ..ModelConfig::default() };
        let error = model(&config).unwrap_err();
        assert!(error.contains("model.predictor") && error.contains("heads = 8") && error.contains("12"), "{error}");
    }
}
