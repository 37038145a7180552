//! The held-out cells by condition, and the held-out controls by context.

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use syncyte_sharding::labels::Perturbation;

use super::group::{Group, Growing};
use super::rows::{Condition, RowLabel, Rows};
use super::{FoldError, require_split};

/// How many held-out cells are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOutConfig {
    /// Cells kept of each condition, for the distances between sets.
    pub max_cells: usize,
    /// Control cells kept of each context; they are the cells that methods start from.
    pub max_control_cells: usize,
    /// Seed of the choice of cells.
    pub seed: u64,
}

impl Default for HeldOutConfig {
    fn default() -> Self {
        Self { max_cells: 128, max_control_cells: 2048, seed: 0 }
    }
}

/// Gathers the held-out cells, block by block.
pub struct HeldOutBuilder {
    split_id: String,
    genes: Vec<String>,
    perturbations: Vec<Perturbation>,
    contexts: Vec<String>,
    config: HeldOutConfig,
    controls: BTreeMap<u32, Growing>,
    conditions: BTreeMap<Condition, Growing>,
}

impl HeldOutBuilder {
    /// Starts with no cells; `perturbations` and `contexts` are the lists that the labels count in.
    pub fn new(
        split_id: &str,
        genes: &[String],
        perturbations: &[Perturbation],
        contexts: &[String],
        config: HeldOutConfig,
    ) -> Self {
        Self {
            split_id: split_id.into(),
            genes: genes.to_vec(),
            perturbations: perturbations.to_vec(),
            contexts: contexts.to_vec(),
            config,
            controls: BTreeMap::new(),
            conditions: BTreeMap::new(),
        }
    }

    /// Adds a block of held-out cells, perturbed or control, in the order of the store; `latents` holds the embeddings of
    /// the rows (rows × dimensions), by encoder.
    ///
    /// # Errors
    /// When labels, genes, rows and embeddings do not fit, or a value is not finite.
    pub fn add(
        &mut self,
        labels: &[RowLabel],
        rows: Rows<'_>,
        latents: &[ArrayView2<'_, f32>],
    ) -> Result<(), FoldError> {
        rows.check(labels, &self.genes)?;
        if let Some(latents) = latents.iter().find(|latents| latents.nrows() != labels.len()) {
            return Err(FoldError::Labels { labels: labels.len(), rows: latents.nrows() });
        }
        let (config, n_genes, known) = (self.config, self.genes.len(), self.perturbations.len());
        for (row, label) in labels.iter().enumerate() {
            let Condition { context, perturbation, .. } = label.condition;
            if perturbation as usize >= known {
                return Err(FoldError::Perturbation { cell: label.cell, perturbation, known });
            }
            let empty = |capacity| Growing::new(n_genes, capacity, config.seed);
            let growing = if label.is_control() {
                self.controls.entry(context).or_insert_with(|| empty(config.max_control_cells))
            } else {
                self.conditions.entry(label.condition).or_insert_with(|| empty(config.max_cells))
            };
            growing.add(label.cell, rows, row, latents);
        }
        Ok(())
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// When there is no perturbed cell, or a context with perturbed cells has no held-out control.
    pub fn finish(self) -> Result<TestCells, FoldError> {
        let fold = "held-out";
        if self.conditions.is_empty() {
            return Err(FoldError::Empty { fold });
        }
        if let Some(condition) = self.conditions.keys().find(|at| !self.controls.contains_key(&at.context)) {
            return Err(FoldError::NoControl { context: condition.context, fold });
        }
        Ok(TestCells {
            split_id: self.split_id,
            genes: self.genes,
            perturbations: self.perturbations,
            contexts: self.contexts,
            controls: self.controls.into_iter().map(|(context, growing)| (context, growing.finish())).collect(),
            conditions: self.conditions.into_iter().map(|(condition, growing)| (condition, growing.finish())).collect(),
        })
    }
}

/// Held-out cells by condition, with the held-out controls of every context.
#[derive(Clone, Debug)]
pub struct TestCells {
    split_id: String,
    genes: Vec<String>,
    perturbations: Vec<Perturbation>,
    contexts: Vec<String>,
    controls: BTreeMap<u32, Group>,
    conditions: BTreeMap<Condition, Group>,
}

impl TestCells {
    /// Id of the split that the cells are held out under.
    pub fn split_id(&self) -> &str {
        &self.split_id
    }

    /// Refuses to be used under another split.
    ///
    /// # Errors
    /// When `split_id` is not the split of the cells.
    pub fn require_split(&self, split_id: &str) -> Result<(), FoldError> {
        require_split("set of held-out cells", &self.split_id, split_id)
    }

    /// Genes of the rows.
    pub fn genes(&self) -> &[String] {
        &self.genes
    }

    /// Perturbation of a condition.
    pub fn perturbation(&self, condition: &Condition) -> &Perturbation {
        &self.perturbations[condition.perturbation as usize]
    }

    /// Name of the context of a condition, or its number where it has none.
    pub fn context(&self, condition: &Condition) -> String {
        let at = condition.context as usize;
        self.contexts.get(at).cloned().unwrap_or_else(|| at.to_string())
    }

    /// Held-out controls by context.
    pub fn controls(&self) -> &BTreeMap<u32, Group> {
        &self.controls
    }

    /// Held-out conditions.
    pub fn conditions(&self) -> &BTreeMap<Condition, Group> {
        &self.conditions
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};
    use syncyte_sharding::labels::Perturbation;

    use super::{HeldOutBuilder, HeldOutConfig, TestCells};
    use crate::fold::{Condition, FoldError, Group, RowLabel, Rows};

    fn gather(blocks: &[std::ops::Range<usize>]) -> TestCells {
        let rows = Array2::from_shape_fn((60, 3), |(cell, gene)| ((cell * gene) % 5) as f32);
        let label = |cell: usize| RowLabel {
            cell: cell as u64,
            condition: Condition { context: 0, kind: 0, perturbation: (cell % 2) as u32 },
        };
        let perturbations = [Perturbation::control(), Perturbation::of(["A".into()])];
        let config = HeldOutConfig { max_cells: 8, max_control_cells: 4, seed: 1 };
        let genes = ["a".into(), "b".into(), "c".into()];
        let mut builder = HeldOutBuilder::new("s", &genes, &perturbations, &["all".into()], config);
        for block in blocks {
            let labels: Vec<_> = block.clone().map(label).collect();
            builder.add(&labels, Rows::Dense(rows.slice(s![block.clone(), ..])), &[]).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn means_and_variances_are_over_all_cells_and_the_sample_is_bounded_however_the_blocks_fall() {
        let (one, many) = (gather(std::slice::from_ref(&(0..60))), gather(&[0..13, 13..40, 40..60]));
        let condition = Condition { context: 0, kind: 0, perturbation: 1 };
        let group = &one.conditions()[&condition];
        assert_eq!(group, &many.conditions()[&condition]);
        let kept = |group: &Group| group.halves.each_ref().map(|half| (half.n, half.cells.len()));
        assert_eq!((group.n, kept(group), kept(&one.controls()[&0])), (30, [(15, 4), (15, 4)], [(15, 2), (15, 2)]));

        let values: Vec<f64> = (0..30).map(|at| f64::from(((2 * at + 1) * 2) % 5)).collect();
        let mean = values.iter().sum::<f64>() / 30.0;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 29.0;
        assert!((group.mean[2] - mean).abs() < 1e-12 && (group.variance[2] - variance).abs() < 1e-12);
        let first = values.iter().step_by(2).sum::<f64>() / 15.0;
        assert!((group.halves[0].mean[2] - first).abs() < 1e-12, "cells go to the halves in turn");
        assert!(group.halves[0].cells.iter().all(|cell| !group.halves[1].cells.contains(cell)));
        for half in &group.halves {
            let pairs = half.cells.iter().zip(half.dense().rows().into_iter().map(|row| row[2]).collect::<Vec<_>>());
            assert!(pairs.into_iter().all(|(&cell, value)| (value - ((cell * 2) % 5) as f32).abs() < 1e-6));
        }
    }

    #[test]
    fn embeddings_are_averaged_over_all_cells_of_each_half() {
        let perturbations = [Perturbation::control(), Perturbation::of(["A".into()])];
        let mut builder = HeldOutBuilder::new("s", &["a".into()], &perturbations, &[], HeldOutConfig::default());
        let label = |perturbation| RowLabel { cell: 0, condition: Condition { context: 0, kind: 0, perturbation } };
        let rows = Array2::zeros((3, 1));
        let latents = array![[1.0f32, 0.0], [2.0, 0.0], [6.0, 3.0]];
        let labels = [label(0), label(1), label(1)];
        builder.add(&labels, Rows::Dense(rows.view()), &[latents.view()]).unwrap();
        let cells = builder.finish().unwrap();
        let group = &cells.conditions()[&label(1).condition];
        assert_eq!(group.latents, [array![4.0, 1.5]]);
        assert_eq!(group.latent_variances, [array![8.0, 4.5]]);
        assert_eq!(group.halves[1].latents, [array![6.0, 3.0]]);
        let alone = &cells.controls()[&0];
        assert_eq!((alone.halves[1].n, alone.halves[1].latents.clone()), (0, vec![array![0.0, 0.0]]));
    }

    #[test]
    fn a_context_without_held_out_controls_is_an_error() {
        let perturbations = [Perturbation::control(), Perturbation::of(["A".into()])];
        let mut builder = HeldOutBuilder::new("s", &["a".into()], &perturbations, &[], HeldOutConfig::default());
        let label = RowLabel { cell: 0, condition: Condition { context: 2, kind: 0, perturbation: 1 } };
        builder.add(&[label], Rows::Dense(array![[1.0f32]].view()), &[]).unwrap();
        assert!(matches!(builder.finish(), Err(FoldError::NoControl { context: 2, fold: "held-out" })));
    }
}
