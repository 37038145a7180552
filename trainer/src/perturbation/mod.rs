//! Perturbation encoders: what a predictor is told about a perturbation.
//!
//! Guarantee: the control is exactly the zero vector, and the null condition is a learned vector of its own. There are always
//! at least two condition tokens that may be attended to: with one alone the attention would be the same for every cell.
//!
//! A kind encodes the targets; null, kind and context of a condition are encoded here, for all kinds alike.

mod gene_embedding;
mod one_hot_mlp;

use std::fmt;

use tch::{Kind, Tensor};
use toml::Table;

pub use gene_embedding::{Combine, GeneEmbedding};
pub use one_hot_mlp::{METADATA, OneHotMlp};

use crate::batch::query::EncodedQueries;
use crate::component::{Choice, Declare, Member, Role};
use crate::layer::INIT_SD;
use crate::params::{Init, ParamId, ParamSet};

/// Encodes the targets of conditions.
pub trait PerturbationEncoder: fmt::Debug + Send + Sync {
    /// Tokens and vectors of the targets; those of a condition without targets are zero.
    fn targets(&self, params: &ParamSet, queries: &EncodedQueries) -> Targets;

    /// Width of a token and of a vector.
    fn width(&self) -> i64;

    /// Tokens of a condition, padding included.
    fn tokens(&self) -> u64;

    /// Multiply-adds of a condition.
    fn macs(&self) -> u64;
}

/// What is said about the targets of conditions.
#[derive(Debug)]
pub struct Targets {
    /// Tokens `[B, M, width]`.
    pub tokens: Tensor,
    /// Which of them are there, `[B, M]` booleans.
    pub mask: Tensor,
    /// Vectors `[B, width]`.
    pub vector: Tensor,
}

impl Role for dyn PerturbationEncoder {
    const SECTION: &'static str = "model.perturbation";
    type Build = fn(&Table, &mut Declare<'_>) -> Result<Box<dyn PerturbationEncoder>, String>;

    fn table() -> &'static [Member<Self>] {
        static TABLE: &[Member<dyn PerturbationEncoder>] = &[
            Member::<dyn PerturbationEncoder>::new::<GeneEmbedding>("gene_embedding", "P1", gene_embedding::build),
            Member::<dyn PerturbationEncoder>::new::<OneHotMlp>("one_hot_mlp", "P2", one_hot_mlp::build),
        ];
        TABLE
    }

    fn renamed() -> &'static [(&'static str, &'static str)] {
        &[("p1", "gene_embedding"), ("p2", "one_hot_mlp")]
    }
}

/// A batch of conditions, ready for a predictor.
#[derive(Debug)]
pub struct Condition {
    /// Condition tokens `[B, C, width]`.
    pub tokens: Tensor,
    /// Which tokens may be attended to, `[B, C]` booleans.
    pub mask: Tensor,
    /// Perturbation vector `[B, width]`: exactly zero for a control.
    pub vector: Tensor,
    /// 0 for a control, 1 for everything else (the null condition too), `[B]`.
    pub perturbed: Tensor,
}

impl Condition {
    /// The condition of one row of the batch, as a batch of one.
    #[must_use]
    pub fn row(&self, index: i64) -> Self {
        self.map(|tensor| tensor.narrow(0, index, 1))
    }

    /// Every condition `times` times in a row.
    #[must_use]
    pub fn repeated(&self, times: i64) -> Self {
        self.map(|tensor| tensor.repeat_interleave_self_int(times, 0, None))
    }

    /// The same of other rows.
    fn map(&self, of: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            tokens: of(&self.tokens),
            mask: of(&self.mask),
            vector: of(&self.vector),
            perturbed: of(&self.perturbed),
        }
    }
}

/// Encodes whole conditions: targets, kind and context, or the null condition.
#[derive(Debug)]
pub struct ConditionEncoder {
    body: Box<dyn PerturbationEncoder>,
    null: ParamId,
    kind: ParamId,
    context: ParamId,
}

/// Names that a table has rows for. Cells without labels name no targets; a table keeps one row then, which nothing refers
/// to: torch looks nothing up in an empty one, not even for rows that are masked.
fn rows(names: &[String]) -> i64 {
    names.len().max(1) as i64
}

impl ConditionEncoder {
    /// Declares the encoder of a choice.
    ///
    /// # Errors
    /// When the settings are not those of the kind.
    pub fn new(choice: &Choice<dyn PerturbationEncoder>, declare: &mut Declare<'_>) -> Result<Self, String> {
        let body = (choice.build())(choice.table(), declare)?;
        let (width, table) = (body.width(), Init::TruncatedNormal(INIT_SD));
        let Declare { registry, group, vocabulary } = declare;
        let null = registry.plain(*group, "perturbation.null".into(), &[width], Init::TruncatedNormal(1.0));
        let mut of = |name: &str, names: &[String]| {
            registry.plain(*group, format!("perturbation.{name}"), &[rows(names), width], table)
        };
        let (kind, context) = (of("kind", &vocabulary.kinds), of("context", &vocabulary.contexts));
        Ok(Self { body, null, kind, context })
    }

    /// Condition tokens and vectors: those of the targets, then kind and context.
    pub fn forward(&self, params: &ParamSet, queries: &EncodedQueries) -> Condition {
        let Targets { tokens, mask, vector } = self.body.targets(params, queries);
        let perturbed = queries.n_targets().gt(0).to_kind(Kind::Float);
        let is_null = queries.null.unsqueeze(1);
        let null = &params[self.null] * &is_null;
        // The null condition stands in the first token's place, where a null query has no target.
        let first = tokens.narrow(1, 0, 1) + null.unsqueeze(1);
        let rest = tokens.size()[1] - 1;
        let tokens = Tensor::cat(&[first, tokens.narrow(1, 1, rest)], 1);
        let first_mask = mask.narrow(1, 0, 1).logical_or(&is_null.gt(0.5));
        let mask = Tensor::cat(&[first_mask, mask.narrow(1, 1, rest)], 1);
        let kind = Tensor::embedding(&params[self.kind], &queries.kinds, -1, false, false).unsqueeze(1);
        let context = Tensor::embedding(&params[self.context], &queries.contexts, -1, false, false).unsqueeze(1);
        let always = mask.narrow(1, 0, 1).ones_like();
        Condition {
            tokens: Tensor::cat(&[tokens, kind, context], 1),
            mask: Tensor::cat(&[&mask, &always, &always], 1),
            vector: vector + null,
            perturbed: perturbed.maximum(&queries.null),
        }
    }

    /// Width of a token and of a vector.
    pub fn width(&self) -> i64 {
        self.body.width()
    }

    /// Tokens of a condition, padding included.
    pub fn tokens(&self) -> u64 {
        self.body.tokens() + 2
    }

    /// Multiply-adds of a condition.
    pub fn macs(&self) -> u64 {
        self.body.macs()
    }
}

#[cfg(test)]
mod tests;
