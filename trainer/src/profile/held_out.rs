//! The held-out cells: exact means over all of them and a bounded sample of each condition.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2};
use syncyte_sharding::csr::Csr;
use syncyte_sharding::labels::Perturbation;

use super::rows::{Condition, RowLabel, Rows};
use super::sample::Sample;
use super::{ProfileError, require_split};

/// How many held-out cells are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOutConfig {
    /// Cells kept of each condition.
    pub max_cells: usize,
    /// Control cells kept of each context; they are the cells that every method starts from.
    pub max_control_cells: usize,
    /// Seed of the choice of cells.
    pub seed: u64,
}

impl Default for HeldOutConfig {
    fn default() -> Self {
        Self { max_cells: 256, max_control_cells: 512, seed: 0 }
    }
}

/// Held-out cells of one condition, or the held-out controls of one context.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Number of held-out cells, kept or not.
    pub n: u64,
    /// Mean over all held-out cells.
    pub mean: Array1<f64>,
    /// The kept cells, ascending.
    pub cells: Vec<u64>,
    /// Rows of the kept cells.
    pub rows: Csr,
}

impl Kept {
    /// The kept cells, all values.
    pub fn dense(&self) -> Array2<f32> {
        let mut dense = Array2::zeros((self.rows.n_rows(), self.rows.n_cols));
        for (row, mut target) in dense.rows_mut().into_iter().enumerate() {
            let (genes, values) = self.rows.row(row);
            genes.iter().zip(values).for_each(|(&gene, &value)| target[gene as usize] = value);
        }
        dense
    }
}

struct Growing {
    n: u64,
    sum: Array1<f64>,
    sample: Sample,
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

    /// Adds a block of held-out cells, perturbed or control.
    ///
    /// # Errors
    /// When labels, genes and rows do not fit, or a value is not finite.
    pub fn add(&mut self, labels: &[RowLabel], rows: Rows<'_>) -> Result<(), ProfileError> {
        rows.check(labels, &self.genes)?;
        let (config, n_genes, known) = (self.config, self.genes.len(), self.perturbations.len());
        for (row, label) in labels.iter().enumerate() {
            let Condition { context, perturbation, .. } = label.condition;
            if perturbation as usize >= known {
                return Err(ProfileError::Perturbation { cell: label.cell, perturbation, known });
            }
            let empty =
                |capacity| Growing { n: 0, sum: Array1::zeros(n_genes), sample: Sample::new(capacity, config.seed) };
            let growing = if label.is_control() {
                self.controls.entry(context).or_insert_with(|| empty(config.max_control_cells))
            } else {
                self.conditions.entry(label.condition).or_insert_with(|| empty(config.max_cells))
            };
            growing.n += 1;
            rows.add_to(row, &mut growing.sum);
            growing.sample.offer(label.cell, rows, row);
        }
        Ok(())
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// When there is no perturbed cell, or a context with perturbed cells has no held-out control.
    pub fn finish(self) -> Result<TestCells, ProfileError> {
        let fold = "held-out";
        if self.conditions.is_empty() {
            return Err(ProfileError::Empty { fold });
        }
        if let Some(condition) = self.conditions.keys().find(|at| !self.controls.contains_key(&at.context)) {
            return Err(ProfileError::NoControl { context: condition.context, fold });
        }
        let n_genes = self.genes.len();
        let kept = |growing: Growing| {
            let (cells, rows) = growing.sample.into_cells(n_genes);
            Kept { n: growing.n, mean: growing.sum / growing.n as f64, cells, rows }
        };
        Ok(TestCells {
            split_id: self.split_id,
            genes: self.genes,
            perturbations: self.perturbations,
            contexts: self.contexts,
            controls: self.controls.into_iter().map(|(context, growing)| (context, kept(growing))).collect(),
            conditions: self.conditions.into_iter().map(|(condition, growing)| (condition, kept(growing))).collect(),
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
    controls: BTreeMap<u32, Kept>,
    conditions: BTreeMap<Condition, Kept>,
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
    pub fn require_split(&self, split_id: &str) -> Result<(), ProfileError> {
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
    pub fn controls(&self) -> &BTreeMap<u32, Kept> {
        &self.controls
    }

    /// Held-out conditions.
    pub fn conditions(&self) -> &BTreeMap<Condition, Kept> {
        &self.conditions
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};
    use syncyte_sharding::labels::Perturbation;

    use super::{HeldOutBuilder, HeldOutConfig, TestCells};
    use crate::profile::{Condition, ProfileError, RowLabel, Rows};

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
            builder.add(&labels, Rows::Dense(rows.slice(s![block.clone(), ..]))).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn the_mean_is_over_all_cells_and_the_sample_is_bounded_however_the_blocks_fall() {
        let (one, many) = (gather(&[0..30, 30..60]), gather(&[40..60, 0..13, 13..40]));
        let condition = Condition { context: 0, kind: 0, perturbation: 1 };
        let kept = &one.conditions()[&condition];
        assert_eq!((kept.n, kept.cells.len(), one.controls()[&0].cells.len()), (30, 8, 4));
        assert_eq!(kept, &many.conditions()[&condition]);
        let mean: f64 = (0..30).map(|half| f64::from(((2 * half + 1) * 2) % 5)).sum::<f64>() / 30.0;
        assert!((kept.mean[2] - mean).abs() < 1e-12);
        let dense = kept.dense();
        assert!(
            kept.cells.iter().zip(dense.rows()).all(|(&cell, row)| (row[2] - ((cell * 2) % 5) as f32).abs() < 1e-6)
        );
    }

    #[test]
    fn a_context_without_held_out_controls_is_an_error() {
        let perturbations = [Perturbation::control(), Perturbation::of(["A".into()])];
        let mut builder = HeldOutBuilder::new("s", &["a".into()], &perturbations, &[], HeldOutConfig::default());
        let label = RowLabel { cell: 0, condition: Condition { context: 2, kind: 0, perturbation: 1 } };
        builder.add(&[label], Rows::Dense(array![[1.0f32]].view())).unwrap();
        assert!(matches!(builder.finish(), Err(ProfileError::NoControl { context: 2, fold: "held-out" })));
    }
}
