//! R5b: a block by the mean of its genes' embeddings and the logarithm of its size.

use tch::{Kind, Tensor};
use toml::Table;

use super::Pointer;
use crate::batch::blocks::Blocks;
use crate::component::{Declare, NoSettings};
use crate::params::{Init, ParamId, ParamSet};

/// Its settings: none.
pub type BlockMean = NoSettings;

#[derive(Debug)]
struct Network {
    genes: ParamId,
    base: ParamId,
    size: ParamId,
}

#[allow(clippy::unnecessary_wraps, reason = "the form that every kind is built in")]
pub(super) fn build(_table: &Table, declare: &mut Declare<'_>, width: i64) -> Result<Box<dyn Pointer>, String> {
    let Declare { registry, group, vocabulary } = declare;
    let (n, table) = (vocabulary.genes.len().max(1) as i64, Init::TruncatedNormal(1.0));
    let mut declare = |name: &str, shape: &[i64], init| registry.plain(*group, format!("pointer.{name}"), shape, init);
    Ok(Box::new(Network {
        genes: declare("genes", &[n, width], table),
        base: declare("base", &[width], table),
        size: declare("size", &[width], Init::Zeros),
    }))
}

impl Pointer for Network {
    fn tokens(&self, params: &ParamSet, blocks: &Blocks) -> (Tensor, Option<Tensor>) {
        let (there, sizes) =
            (blocks.mask.to_kind(Kind::Float).unsqueeze(3), blocks.sizes().clamp_min(1.0).unsqueeze(2));
        let genes = Tensor::embedding(&params[self.genes], &blocks.genes, -1, false, false) * there;
        let mean = genes.sum_dim_intlist([2_i64].as_slice(), false, Kind::Float) / &sizes;
        (mean + &params[self.base] + sizes.log() * &params[self.size], None)
    }

    fn read(&self, predicted: &Tensor, _blocks: &Blocks) -> Tensor {
        predicted.shallow_clone()
    }
}
