//! Encoders of cells.

mod gene_mlp;
mod gene_transformer;

use std::fmt;

use serde_json::{Map, Value};
use tch::{Kind, Tensor};
use toml::Table;

pub use gene_mlp::GeneMlp;
pub use gene_transformer::GeneTransformer;

use crate::batch::view::{Input, State, View};
use crate::component::{Declare, Member, Role};
use crate::layer::dropout::DropoutKeys;
use crate::params::ParamSet;

/// Cells to states.
pub trait Encoder: fmt::Debug + Send + Sync {
    /// The form in which it reads cells.
    fn input(&self) -> Input;

    /// States of cells. Without `dropout` the pass is deterministic (teacher, inference).
    fn forward(&self, params: &ParamSet, cells: &View, dropout: Option<&DropoutKeys<'_>>) -> State;

    /// Width of a state.
    fn width(&self) -> i64;

    /// Tokens of the state of a cell of which `genes` are read.
    fn tokens(&self, genes: u64) -> u64;

    /// Multiply-adds of the forward pass of a cell of which `genes` are read.
    fn macs(&self, genes: u64) -> u64;

    /// What an exported model's `config.json` says of it, in the names that Hugging Face's tools use.
    fn export(&self) -> Map<String, Value>;
}

/// Expression of all `genes`, for an encoder that reads it; other forms are spread out.
fn as_dense(cells: &View, genes: u64) -> Tensor {
    match cells {
        View::Dense(x) => x.shallow_clone(),
        View::Tokens(tokens) => {
            let shape = [tokens.mask.size()[0], genes as i64];
            Tensor::zeros(shape, (Kind::Float, tokens.values.device())).scatter_add(1, &tokens.genes, &tokens.values)
        }
    }
}

impl Role for dyn Encoder {
    const SECTION: &'static str = "model.encoder";
    type Build = fn(&Table, &mut Declare<'_>) -> Result<Box<dyn Encoder>, String>;

    fn table() -> &'static [Member<Self>] {
        static TABLE: &[Member<dyn Encoder>] = &[
            Member::<dyn Encoder>::new::<GeneMlp>("gene_mlp", "E1", gene_mlp::build),
            Member::<dyn Encoder>::new::<GeneTransformer>("gene_transformer", "E4", gene_transformer::build),
        ];
        TABLE
    }

    fn renamed() -> &'static [(&'static str, &'static str)] {
        &[("e1", "gene_mlp")]
    }
}
