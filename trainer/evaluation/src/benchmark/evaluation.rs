//! What an evaluation needs, and one of its conditions.

use super::exchange::Share;
use super::space::Encoder;
use crate::fold::{Components, Condition, Group, TestCells, TrainingMeans};

/// Settings of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationConfig {
    /// Held-out cells that a condition needs; others are reported as dropped.
    pub min_cells: u64,
    /// Cells a side that distances between sets are taken of at most; half of them are a bag of control cells.
    pub set_cells: usize,
    /// Samples that a method that samples is asked for at least, for one condition.
    pub samples: usize,
    /// Genes of the expression metrics: those with the highest training control mean.
    pub top_genes: usize,
    /// Principal components that were asked for; fewer where the training cells span fewer dimensions.
    pub components: usize,
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Draws of cells and controls within the bootstrap.
    pub cell_draws: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Training seeds behind the methods, as they are to stand in the results.
    pub seeds: Vec<u64>,
    /// Points of the embedding figure.
    pub figure_points: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            min_cells: 10,
            set_cells: 128,
            samples: 512,
            top_genes: 1000,
            components: 50,
            resamples: 10_000,
            cell_draws: 100,
            seed: 0,
            seeds: Vec::new(),
            figure_points: 2000,
        }
    }
}

/// What an evaluation needs besides the methods.
pub struct Evaluation<'a> {
    /// Statistics of the training fold.
    pub train: &'a TrainingMeans,
    /// Held-out cells.
    pub test: &'a TestCells,
    /// Components of the training cells.
    pub components: &'a Components,
    /// The frozen encoders in whose embeddings the methods are scored, in the order of the held-out latents.
    pub encoders: &'a [Encoder<'a>],
    /// The part of the conditions that this process tries.
    pub share: Share<'a>,
    /// Settings.
    pub config: EvaluationConfig,
}

/// One held-out condition with enough cells.
pub(super) struct Item<'a> {
    pub(super) condition: Condition,
    pub(super) group: &'a Group,
    pub(super) strata: Vec<&'static str>,
    /// Whether both singles of the double were trained on.
    pub(super) both_seen: bool,
    /// Whether training saw other cells of the condition.
    pub(super) seen: bool,
    /// Whether that is to be said of it, others of the conditions being unseen.
    pub(super) marked_seen: bool,
}
