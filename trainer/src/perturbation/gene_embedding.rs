//! P1: a learned vector for each target gene.
//!
//! A gene that was not trained on has a random row: nothing is known about it.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use toml::Table;

use super::{PerturbationEncoder, Targets, rows};
use crate::batch::query::{EncodedQueries, MAX_TARGETS};
use crate::component::{Declare, Settings, read};
use crate::params::{Init, ParamId, ParamSet};

/// How the targets of a combination are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Effects add (CPA).
    Sum,
    /// Effects are averaged, which halves those of a pair.
    Mean,
}

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneEmbedding {
    /// Width of a perturbation vector.
    pub width: i64,
    /// Combination rule.
    pub combine: Combine,
}

impl Default for GeneEmbedding {
    fn default() -> Self {
        Self { width: 128, combine: Combine::Sum }
    }
}

impl Settings for GeneEmbedding {
    fn check(&self) -> Result<(), String> {
        if self.width > 0 { Ok(()) } else { Err(format!("width = {} must be positive", self.width)) }
    }
}

#[derive(Debug)]
struct Network {
    settings: GeneEmbedding,
    table: ParamId,
}

pub(super) fn build(table: &Table, declare: &mut Declare<'_>) -> Result<Box<dyn PerturbationEncoder>, String> {
    let settings: GeneEmbedding = read(table)?;
    let shape = [rows(&declare.vocabulary.targets), settings.width];
    let name = "perturbation.targets".to_owned();
    let table = declare.registry.plain(declare.group, name, &shape, Init::TruncatedNormal(1.0));
    Ok(Box::new(Network { settings, table }))
}

impl PerturbationEncoder for Network {
    fn targets(&self, params: &ParamSet, queries: &EncodedQueries) -> Targets {
        let mask = queries.targets.ge(0);
        let rows = Tensor::embedding(&params[self.table], &queries.targets.clamp_min(0), -1, false, false);
        let tokens = rows * mask.to_kind(Kind::Float).unsqueeze(2);
        let sum = tokens.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
        let vector = match self.settings.combine {
            Combine::Sum => sum,
            Combine::Mean => sum / queries.n_targets().clamp_min(1.0).unsqueeze(1),
        };
        Targets { tokens, mask, vector }
    }

    fn width(&self) -> i64 {
        self.settings.width
    }

    fn tokens(&self) -> u64 {
        MAX_TARGETS as u64
    }

    fn macs(&self) -> u64 {
        0
    }
}
