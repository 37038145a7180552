//! The spaces that cells are measured in: expression, principal components, the embedding of the frozen encoder.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use crate::profile::Components;

/// Why an encoder failed; whatever the encoder says.
pub type EncodeError = Box<dyn std::error::Error + Send + Sync>;

/// A frozen encoder: log-normalised cells × genes to cells × dimensions.
pub type Encode<'a> = dyn Fn(ArrayView2<'_, f32>) -> Result<Array2<f32>, EncodeError> + 'a;

/// A mean, or a change of a mean, in every space.
#[derive(Clone, Debug)]
pub(super) struct Centre {
    pub(super) expression: Array1<f64>,
    pub(super) components: Array1<f64>,
    pub(super) embedding: Option<Array1<f64>>,
}

impl Centre {
    /// `a · self + b · other`.
    pub(super) fn combine(&self, a: f64, other: &Self, b: f64) -> Self {
        let of = |left: &Array1<f64>, right: &Array1<f64>| {
            ndarray::Zip::from(left).and(right).map_collect(|&left, &right| a * left + b * right)
        };
        Self {
            expression: of(&self.expression, &other.expression),
            components: of(&self.components, &other.components),
            embedding: self.embedding.as_ref().zip(other.embedding.as_ref()).map(|(left, right)| of(left, right)),
        }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        self.combine(1.0, other, 1.0)
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        self.combine(1.0, other, -1.0)
    }

    /// The same with some of the genes.
    pub(super) fn of_genes(&self, genes: &[usize]) -> Self {
        Self { expression: self.expression.select(Axis(0), genes), ..self.clone() }
    }

    /// The spaces besides expression, with their names.
    pub(super) fn spaces(&self) -> impl Iterator<Item = (&'static str, ArrayView1<'_, f64>)> {
        let embedding = self.embedding.as_ref().map(|embedding| ("embedding", embedding.view()));
        std::iter::once(("pca50", self.components.view())).chain(embedding)
    }
}

/// Cells in the spaces that distances between sets are taken in.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) components: Array2<f64>,
    pub(super) embedding: Option<Array2<f64>>,
}

impl Cells {
    pub(super) fn n(&self) -> usize {
        self.components.nrows()
    }

    /// Some of the cells.
    pub(super) fn select(&self, places: &[usize]) -> Self {
        let of = |rows: &Array2<f64>| rows.select(Axis(0), places);
        Self { components: of(&self.components), embedding: self.embedding.as_ref().map(of) }
    }

    /// `n` of the cells at even distances, all where there are no more.
    pub(super) fn evenly(&self, n: usize) -> Self {
        Self { components: evenly(&self.components, n), embedding: self.embedding.as_ref().map(|rows| evenly(rows, n)) }
    }

    /// These cells, then the other ones.
    pub(super) fn and(&self, other: &Self) -> Self {
        let embedding = self.embedding.as_ref().zip(other.embedding.as_ref());
        Self {
            components: stack(&self.components, &other.components),
            embedding: embedding.map(|(first, second)| stack(first, second)),
        }
    }

    /// The spaces, with their names.
    pub(super) fn spaces(&self) -> impl Iterator<Item = (&'static str, &Array2<f64>)> {
        let embedding = self.embedding.as_ref().map(|embedding| ("embedding", embedding));
        std::iter::once(("pca50", &self.components)).chain(embedding)
    }
}

/// What brings cells into the spaces.
#[derive(Clone, Copy)]
pub(super) struct Viewer<'a> {
    pub(super) components: &'a Components,
    pub(super) encode: Option<&'a Encode<'a>>,
}

impl Viewer<'_> {
    /// Cells (cells × genes); `latent` where a method predicts in the embedding.
    pub(super) fn cells(&self, cells: ArrayView2<'_, f32>, latent: Option<&Array2<f32>>) -> Result<Cells, EncodeError> {
        let embedding = match (self.encode, latent) {
            (None, _) => None,
            (Some(_), Some(latent)) => Some(latent.mapv(f64::from)),
            (Some(encode), None) => Some(encode(cells)?.mapv(f64::from)),
        };
        Ok(Cells { components: self.components.project(cells), embedding })
    }

    /// A mean over cells of which expression and embedding are known.
    pub(super) fn centre(&self, mean: &Array1<f64>, latent: Option<&Array1<f64>>) -> Result<Centre, EncodeError> {
        if self.encode.is_some() && latent.is_none() {
            return Err("the held-out cells were gathered without their embeddings".into());
        }
        let embedding = self.encode.and(latent).cloned();
        Ok(Centre { expression: mean.clone(), components: self.components.project_mean(mean.view()), embedding })
    }
}

/// `n` rows at even distances, all where there are no more.
pub(super) fn evenly(rows: &Array2<f64>, n: usize) -> Array2<f64> {
    let have = rows.nrows();
    let picked: Vec<usize> = (0..n.min(have)).map(|at| at * have / n.min(have)).collect();
    rows.select(Axis(0), &picked)
}

/// Mean of every column; zero of no rows.
pub(super) fn column_means(rows: &Array2<f64>) -> Array1<f64> {
    rows.sum_axis(Axis(0)) / rows.nrows().max(1) as f64
}

fn stack(first: &Array2<f64>, second: &Array2<f64>) -> Array2<f64> {
    let mut all = Array2::zeros((first.nrows() + second.nrows(), first.ncols()));
    let (mut above, mut below) = all.view_mut().split_at(Axis(0), first.nrows());
    above.assign(first);
    below.assign(second);
    all
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
