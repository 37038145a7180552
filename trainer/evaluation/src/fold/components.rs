//! Principal components of the training cells: the common space that distances between groups of cells are
//! measured in.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::rows::{RowLabel, Rows};
use super::sample::Sample;
use super::{FoldError, require_split};
use crate::linalg::principal_axes;

/// Size of the fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentsConfig {
    /// Number of components; fewer where the cells span fewer dimensions.
    pub components: usize,
    /// Training cells that the fit uses.
    pub max_cells: usize,
    /// Seed of the choice of cells.
    pub seed: u64,
}

impl Default for ComponentsConfig {
    fn default() -> Self {
        Self { components: 50, max_cells: 2048, seed: 0 }
    }
}

/// Gathers the cells of the fit, block by block.
#[derive(Debug)]
pub struct ComponentsBuilder {
    split_id: String,
    genes: Vec<String>,
    config: ComponentsConfig,
    sample: Sample,
}

impl ComponentsBuilder {
    /// Starts with no cells.
    pub fn new(split_id: &str, genes: &[String], config: ComponentsConfig) -> Self {
        let sample = Sample::new(config.max_cells, config.seed);
        Self { split_id: split_id.into(), genes: genes.to_vec(), config, sample }
    }

    /// Adds a block of TRAIN cells, controls among them.
    ///
    /// # Errors
    /// When labels, genes and rows do not fit, or a value is not finite.
    pub fn add(&mut self, labels: &[RowLabel], rows: Rows<'_>) -> Result<(), FoldError> {
        rows.check(labels, &self.genes)?;
        labels.iter().enumerate().for_each(|(row, label)| self.sample.offer(label.cell, rows, row));
        Ok(())
    }

    /// Decomposes the kept cells.
    ///
    /// # Errors
    /// When there are none, or the decomposition fails.
    pub fn finish(self) -> Result<Components, FoldError> {
        let (_, rows) = self.sample.into_cells(self.genes.len());
        let mut cells = Array2::<f64>::zeros((rows.n_rows(), rows.n_cols));
        for (row, mut target) in cells.rows_mut().into_iter().enumerate() {
            let (genes, values) = rows.row(row);
            genes.iter().zip(values).for_each(|(&gene, &value)| target[gene as usize] = f64::from(value));
        }
        let mean = cells.mean_axis(Axis(0)).ok_or(FoldError::Empty { fold: "train" })?;
        cells -= &mean;
        let (axes, variances) = principal_axes(cells.view(), self.config.components)?;
        Ok(Components { split_id: self.split_id, mean, axes, variances })
    }
}

/// An affine map from log-normalised expression to principal components.
#[derive(Clone, Debug)]
pub struct Components {
    split_id: String,
    mean: Array1<f64>,
    axes: Array2<f64>,
    variances: Array1<f64>,
}

impl Components {
    /// Refuses to be used under another split.
    ///
    /// # Errors
    /// When `split_id` is not the split of the training cells.
    pub fn require_split(&self, split_id: &str) -> Result<(), FoldError> {
        require_split("set of principal components", &self.split_id, split_id)
    }

    /// Number of genes that it takes.
    pub fn n_genes(&self) -> usize {
        self.mean.len()
    }

    /// Variance along every component, descending.
    pub fn variances(&self) -> ArrayView1<'_, f64> {
        self.variances.view()
    }

    /// Coordinates of cells (cells × genes → cells × components).
    pub fn project(&self, cells: ArrayView2<'_, f32>) -> Array2<f64> {
        let mut centred = cells.mapv(f64::from);
        centred -= &self.mean;
        centred.dot(&self.axes.t())
    }

    /// Coordinates of a change of the mean profile.
    pub fn project_change(&self, change: ArrayView1<'_, f64>) -> Array1<f64> {
        self.axes.dot(&change)
    }

    /// Coordinates of a mean profile.
    pub fn project_mean(&self, mean: ArrayView1<'_, f64>) -> Array1<f64> {
        self.axes.dot(&(&mean - &self.mean))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Axis};

    use super::{ComponentsBuilder, ComponentsConfig};
    use crate::fold::{Condition, FoldError, RowLabel, Rows};

    #[derive(serde::Deserialize)]
    struct Stored {
        cells: Vec<Vec<f64>>,
        components: Vec<Vec<f64>>,
        variance: Vec<f64>,
    }

    fn labels(n: usize) -> Vec<RowLabel> {
        let condition = Condition { context: 0, kind: 0, perturbation: 0 };
        (0..n as u64).map(|cell| RowLabel { cell, condition }).collect()
    }

    #[test]
    fn components_agree_with_scikit_learn_up_to_sign() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/fixtures/pca_full.json"));
        let stored: Stored = serde_json::from_str(text).unwrap();
        // The accumulator takes `f32` cells, the oracle had `f64`: hence the axes to 1e-9 on the `f64` rows first.
        let cells = Array2::from_shape_fn((stored.cells.len(), 5), |(i, j)| stored.cells[i][j]);
        let centred = &cells - &cells.mean_axis(Axis(0)).unwrap();
        let (axes, variances) = crate::linalg::principal_axes(centred.view(), 3).unwrap();
        for (at, expected) in stored.components.iter().enumerate() {
            let overlap = axes.row(at).dot(&Array1::from(expected.clone()));
            assert!((overlap.abs() - 1.0).abs() < 1e-9 && (variances[at] - stored.variance[at]).abs() < 1e-9);
        }
        let single = cells.mapv(|value| value as f32);
        let genes: Vec<String> = (0..5).map(|gene| gene.to_string()).collect();
        let config = ComponentsConfig { components: 3, ..ComponentsConfig::default() };
        let mut builder = ComponentsBuilder::new("s", &genes, config);
        builder.add(&labels(12), Rows::Dense(single.view())).unwrap();
        let fitted = builder.finish().unwrap();
        assert!(fitted.variances().iter().zip(&stored.variance).all(|(a, b)| (a - b).abs() < 1e-4));
        let coordinates = fitted.project(single.view());
        let mean = fitted.project_mean(single.mapv(f64::from).mean_axis(Axis(0)).unwrap().view());
        assert!((coordinates.mean_axis(Axis(0)).unwrap() - mean).iter().all(|gap| gap.abs() < 1e-9));
    }

    #[test]
    fn no_cells_and_another_split_are_errors() {
        let genes = ["a".into(), "b".into()];
        let builder = ComponentsBuilder::new("s", &genes, ComponentsConfig::default());
        assert!(matches!(builder.finish(), Err(FoldError::Empty { .. })));
        let mut builder = ComponentsBuilder::new("s", &genes, ComponentsConfig::default());
        builder.add(&labels(2), Rows::Dense(ndarray::array![[1.0f32, 0.0], [0.0, 1.0]].view())).unwrap();
        assert!(matches!(builder.finish().unwrap().require_split("t"), Err(FoldError::OtherSplit { .. })));
    }
}
