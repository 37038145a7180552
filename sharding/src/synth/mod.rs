//! The planted-truth generator: stores whose every effect is known, so that a claim can be checked.
//!
//! A panel of genes with modules is planted first, then the effect of every condition, then every cell. The
//! target of a perturbation is a gene of the panel, and its home module decides the program it drives. The
//! members of a module also vary together in control cells, so an unseen perturbation can be predicted from
//! data, but in [`World::W0`], where it cannot. Results on such a store are always labelled synthetic.
//!
//! Guarantee: the store is a pure function of its [`SynthConfig`]. Memory is bounded by a block of cells, the
//! labels and the effects of the conditions; the truth lies beside the cells ([`Truth::load`]).

mod check;
mod condition;
mod config;
mod counts;
mod course;
mod design;
mod double;
mod effect;
mod elementary;
mod expectation;
mod features;
#[cfg(test)]
mod gates;
mod generator;
mod graph;
mod linear;
mod lines;
mod negbin;
mod network;
mod oracle;
mod panel;
mod preset;
mod program;
mod protein;
mod response;
mod screen;
mod settings;
mod single;
mod state;
mod stream;
mod truth;
mod world;
mod write;

use std::path::PathBuf;

use thiserror::Error;

use crate::anndata::AnnDataError;
use crate::store::StoreError;

pub use condition::{Condition, Guide, Interaction, InteractionClass};
pub use config::SynthConfig;
pub use course::{Curve, Setting};
pub use features::{
    CourseConfig, CycleConfig, GraphConfig, GuideConfig, LineConfig, NetworkConfig, ProteinConfig, ScreenConfig,
};
pub use generator::{Block, Generator};
pub use lines::Line;
pub use oracle::Oracle;
pub use preset::Preset;
pub use protein::Protein;
pub use truth::{Planted, Truth};
pub use world::World;
pub use write::write_store;

/// Why a planted-truth store could not be made or its truth not be read.
#[derive(Debug, Error)]
pub enum SynthError {
    /// A preset that is not offered.
    #[error("there is no preset `{name}`: the presets are demo, medium and replogle")]
    UnknownPreset {
        /// What was asked for.
        name: String,
    },
    /// A world that is not offered.
    #[error(
        "there is no world `{name}`: the worlds are W0 (no information), W1 (linear-Gaussian), W2 (counts), W3 (and \
         guides, cell cycle), W4 (and a gene network), W5 (and effects that differ between lines)"
    )]
    UnknownWorld {
        /// What was asked for.
        name: String,
    },
    /// A configuration that cannot be generated.
    #[error("synthetic store: {message}")]
    Config {
        /// What is wrong and what would be right.
        message: String,
    },
    /// A store without planted truth.
    #[error("{} holds no planted truth: only stores made by `store synth` do", store.display())]
    NoTruth {
        /// The store.
        store: PathBuf,
    },
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The truth could not be written or read.
    #[error(transparent)]
    AnnData(#[from] AnnDataError),
}

#[cfg(test)]
fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let covariance: f64 = a.iter().zip(b).map(|(x, y)| (x - mean_a) * (y - mean_b)).sum();
    let spread = |values: &[f64], mean: f64| values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    covariance / (spread(a, mean_a) * spread(b, mean_b)).sqrt()
}
