//! Pointers: which of several targets a predictor is asked for.
//!
//! Guarantee: a pointer is made of the names of genes alone; no value of a target reaches it.

mod block_mean;
mod gene_queries;

use std::fmt;

use tch::Tensor;
use toml::Table;

pub use block_mean::BlockMean;
pub use gene_queries::GeneQueries;

use crate::batch::blocks::Blocks;
use crate::component::{Declare, Member, Role};
use crate::params::ParamSet;

/// Makes pointers to blocks of genes.
pub trait Pointer: fmt::Debug + Send + Sync {
    /// Pointer tokens `[B, Q, d]`, which a predictor reads beside the tokens of the cell, and which of them are there
    /// `[B, Q]`, where not all are.
    fn tokens(&self, params: &ParamSet, blocks: &Blocks) -> (Tensor, Option<Tensor>);

    /// One state a block `[B, K, d]`, from what was predicted at the pointer tokens `[B, Q, d]`.
    fn read(&self, predicted: &Tensor, blocks: &Blocks) -> Tensor;
}

impl Role for dyn Pointer {
    const SECTION: &'static str = "model.pointer";
    type Build = fn(&Table, &mut Declare<'_>, i64) -> Result<Box<dyn Pointer>, String>;

    fn table() -> &'static [Member<Self>] {
        static TABLE: &[Member<dyn Pointer>] = &[
            Member::<dyn Pointer>::new::<BlockMean>("block_mean", "R5b", block_mean::build),
            Member::<dyn Pointer>::new::<GeneQueries>("gene_queries", "R5a", gene_queries::build),
        ];
        TABLE
    }
}

#[cfg(test)]
mod tests;
