//! One group of cells in all spaces: mean expression, principal components, embedding.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::profile::Components;

/// Why an encoder failed; whatever the encoder says.
pub type EncodeError = Box<dyn std::error::Error + Send + Sync>;

/// A frozen encoder: log-normalised cells × genes to cells × dimensions.
pub type Encode<'a> = dyn Fn(ArrayView2<'_, f32>) -> Result<Array2<f32>, EncodeError> + 'a;

/// Coordinates of cells, and of their mean.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) cells: Array2<f64>,
    pub(super) mean: Array1<f64>,
}

/// A group of cells in all spaces.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) mean: Array1<f64>,
    pub(super) components: Space,
    pub(super) embedding: Option<Space>,
}

/// What makes views.
pub(super) struct Viewer<'a> {
    pub(super) components: &'a Components,
    pub(super) encode: Option<&'a Encode<'a>>,
}

impl Viewer<'_> {
    /// Views cells; `mean` where the mean over more cells than these is known, `latent` where a method
    /// predicts in the embedding.
    pub(super) fn view(
        &self,
        cells: ArrayView2<'_, f32>,
        mean: Option<&Array1<f64>>,
        latent: Option<&Array2<f32>>,
    ) -> Result<View, EncodeError> {
        let embedding = match (self.encode, latent) {
            (None, _) => None,
            (Some(_), Some(latent)) => Some(Space::of(latent.mapv(f64::from))),
            (Some(encode), None) => Some(Space::of(encode(cells)?.mapv(f64::from))),
        };
        let mean = mean.cloned().unwrap_or_else(|| column_means(&cells.mapv(f64::from)));
        let components =
            Space { cells: self.components.project(cells), mean: self.components.project_mean(mean.view()) };
        Ok(View { mean, components, embedding })
    }
}

impl Space {
    fn of(cells: Array2<f64>) -> Self {
        Self { mean: column_means(&cells), cells }
    }

    fn select(&self, rows: &[usize]) -> Self {
        Self::of(self.cells.select(Axis(0), rows))
    }
}

impl View {
    /// The view of some of the cells, which `dense` has the expression of.
    pub(super) fn select(&self, dense: ArrayView2<'_, f32>, rows: &[usize]) -> Self {
        Self {
            mean: column_means(&dense.select(Axis(0), rows).mapv(f64::from)),
            components: self.components.select(rows),
            embedding: self.embedding.as_ref().map(|space| space.select(rows)),
        }
    }
}

/// `n` rows at even distances, all where there are no more.
pub(super) fn evenly(rows: &Array2<f64>, n: usize) -> Array2<f64> {
    let have = rows.nrows();
    let picked: Vec<usize> = (0..n.min(have)).map(|at| at * have / n.min(have)).collect();
    rows.select(Axis(0), &picked)
}

fn column_means(cells: &Array2<f64>) -> Array1<f64> {
    cells.sum_axis(Axis(0)) / cells.nrows().max(1) as f64
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::evenly;

    #[test]
    fn rows_are_picked_at_even_distances_and_never_twice() {
        let rows = Array2::from_shape_fn((10, 1), |(row, _)| row as f64);
        assert_eq!(evenly(&rows, 4).into_raw_vec_and_offset().0, [0.0, 2.0, 5.0, 7.0]);
        assert_eq!(evenly(&rows, 99), rows);
    }
}
