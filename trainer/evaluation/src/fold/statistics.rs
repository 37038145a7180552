//! All statistics of both folds, gathered in one pass over the store.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use syncyte_sharding::labels::Perturbation;

use super::reader::{FoldReader, Side};
use super::rows::Rows;
use super::{
    Components, ComponentsBuilder, ComponentsConfig, FoldError, HeldOutBuilder, HeldOutConfig, TestCells,
    TrainingMeans, TrainingMeansBuilder,
};

/// Names that the labels of a store count in, and the split that its cells are dealt by.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Id of the split.
    pub split: &'a str,
    /// Genes.
    pub genes: &'a [String],
    /// Perturbations, the control first.
    pub perturbations: &'a [Perturbation],
    /// Contexts.
    pub contexts: &'a [String],
}

/// Embeds cells: one matrix (cells × dimensions) an encoder.
pub type Embed<'a> = dyn Fn(ArrayView2<'_, f32>) -> Result<Vec<Array2<f32>>, FoldError> + 'a;

/// What an evaluation knows of both folds.
#[derive(Debug)]
pub struct Statistics {
    /// Means of the training conditions.
    pub train: Arc<TrainingMeans>,
    /// Held-out cells.
    pub test: TestCells,
    /// Components of the training cells.
    pub components: Components,
}

impl Statistics {
    /// Gathers them; `done` is told how many cells of the store lie behind.
    ///
    /// # Errors
    /// When cells cannot be read or embedded, a value is not finite, or a fold lacks perturbed cells or controls.
    pub fn gather(
        cells: &FoldReader<'_>,
        names: &Names<'_>,
        components: ComponentsConfig,
        held_out: HeldOutConfig,
        embed: &Embed<'_>,
        done: &mut dyn FnMut(usize),
    ) -> Result<Self, FoldError> {
        let Names { split, genes, perturbations, contexts } = *names;
        let mut train = TrainingMeansBuilder::new(split, genes, perturbations);
        let mut components = ComponentsBuilder::new(split, genes, components);
        let mut test = HeldOutBuilder::new(split, genes, perturbations, contexts, held_out);
        cells.visit(done, &mut |side, labels, cells| match side {
            Side::Training => {
                train.add(labels, Rows::Dense(cells))?;
                components.add(labels, Rows::Dense(cells))
            }
            Side::HeldOut => {
                let latents = embed(cells)?;
                let latents: Vec<_> = latents.iter().map(|latents| latents.view()).collect();
                test.add(labels, Rows::Dense(cells), &latents)
            }
        })?;
        Ok(Self { train: Arc::new(train.finish()?), test: test.finish()?, components: components.finish()? })
    }
}
