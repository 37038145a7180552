//! R5a: a query for every gene of a block; the block's state is the mean of what is predicted at them.

use tch::{Kind, Tensor};
use toml::Table;

use super::Pointer;
use crate::batch::blocks::Blocks;
use crate::component::{Declare, NoSettings};
use crate::layer::Linear;
use crate::params::{Init, ParamId, ParamSet};

/// Its settings: none.
pub type GeneQueries = NoSettings;

#[derive(Debug)]
struct Network {
    genes: ParamId,
    base: ParamId,
    map: Linear,
}

#[allow(clippy::unnecessary_wraps, reason = "the form that every kind is built in")]
pub(super) fn build(_table: &Table, declare: &mut Declare<'_>, width: i64) -> Result<Box<dyn Pointer>, String> {
    let Declare { registry, group, vocabulary } = declare;
    let (n, table) = (vocabulary.genes.len().max(1) as i64, Init::TruncatedNormal(1.0));
    Ok(Box::new(Network {
        genes: registry.plain(*group, "pointer.genes".into(), &[n, width], table),
        base: registry.plain(*group, "pointer.base".into(), &[width], table),
        map: Linear::with_init(
            registry,
            *group,
            "pointer.map",
            width,
            width,
            Init::TruncatedNormal(1.0 / (width as f64).sqrt()),
        ),
    }))
}

impl Pointer for Network {
    fn tokens(&self, params: &ParamSet, blocks: &Blocks) -> (Tensor, Option<Tensor>) {
        let size = blocks.mask.size();
        let flat = |x: &Tensor| x.reshape([size[0], size[1] * size[2]]);
        let genes = Tensor::embedding(&params[self.genes], &flat(&blocks.genes), -1, false, false);
        let queries = self.map.forward(params, &genes.to_kind(params.compute_kind())).to_kind(Kind::Float);
        (queries + &params[self.base], Some(flat(&blocks.mask)))
    }

    fn read(&self, predicted: &Tensor, blocks: &Blocks) -> Tensor {
        let size = blocks.mask.size();
        let each = predicted.to_kind(Kind::Float).reshape([size[0], size[1], size[2], -1]);
        let there = blocks.mask.to_kind(Kind::Float).unsqueeze(3);
        let sum = (each * there).sum_dim_intlist([2_i64].as_slice(), false, Kind::Float);
        sum / blocks.sizes().clamp_min(1.0).unsqueeze(2)
    }
}
