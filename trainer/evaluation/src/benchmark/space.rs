//! The spaces that cells are measured in: expression, principal components, the embedding of the frozen encoder.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::method::Method;
use crate::fold::Components;
use crate::metric::role::Space;

/// Why an encoder failed; whatever the encoder says.
pub type EncodeError = Box<dyn std::error::Error + Send + Sync>;

/// What a frozen encoder does: log-normalised cells × genes to cells × dimensions.
pub type Encode<'a> = dyn Fn(ArrayView2<'_, f32>) -> Result<Array2<f32>, EncodeError> + Sync + 'a;

/// A frozen encoder, in whose embedding methods are scored.
pub struct Encoder<'a> {
    /// Name of the space, e.g. `embedding`.
    pub name: String,
    /// What tells it from other encoders: the hash of its parameters.
    pub id: String,
    /// The encoder. It sees measured cells and the cells of methods that predict no latent of its own.
    pub encode: Box<Encode<'a>>,
}

/// A latent prediction: the number of the encoder in whose embedding it lies, and cells × dimensions.
pub(super) type Latent<'a> = Option<(usize, &'a Array2<f32>)>;

/// A mean, or a change of a mean, in every space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Centre {
    pub(super) expression: Array1<f64>,
    pub(super) components: Array1<f64>,
    /// By encoder.
    pub(super) embeddings: Vec<Array1<f64>>,
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
            embeddings: self.embeddings.iter().zip(&other.embeddings).map(|(left, right)| of(left, right)).collect(),
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

    /// The vector in a space besides expression.
    pub(super) fn of_cells(&self, space: Space) -> ArrayView1<'_, f64> {
        match space {
            Space::Embedding(at) => self.embeddings[at].view(),
            _ => self.components.view(),
        }
    }
}

/// Cells in the spaces that distances between sets are taken in.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) components: Array2<f64>,
    /// By encoder.
    pub(super) embeddings: Vec<Array2<f64>>,
}

impl Cells {
    pub(super) fn n(&self) -> usize {
        self.components.nrows()
    }

    /// Some of the cells.
    pub(super) fn select(&self, places: &[usize]) -> Self {
        let of = |rows: &Array2<f64>| rows.select(Axis(0), places);
        Self { components: of(&self.components), embeddings: self.embeddings.iter().map(of).collect() }
    }

    /// `n` of the cells at even distances, all where there are no more.
    pub(super) fn evenly(&self, n: usize) -> Self {
        let of = |rows: &Array2<f64>| evenly(rows, n);
        Self { components: of(&self.components), embeddings: self.embeddings.iter().map(of).collect() }
    }

    /// These cells, then the other ones.
    pub(super) fn and(&self, other: &Self) -> Self {
        let embeddings = self.embeddings.iter().zip(&other.embeddings);
        Self {
            components: stack(&self.components, &other.components),
            embeddings: embeddings.map(|(first, second)| stack(first, second)).collect(),
        }
    }

    /// The spaces.
    pub(super) fn spaces(&self) -> impl Iterator<Item = (Space, &Array2<f64>)> {
        let embeddings = self.embeddings.iter().enumerate().map(|(at, rows)| (Space::Embedding(at), rows));
        std::iter::once((Space::Components, &self.components)).chain(embeddings)
    }
}

/// What brings cells into the spaces.
#[derive(Clone, Copy)]
pub(super) struct Viewer<'a> {
    pub(super) components: &'a Components,
    pub(super) encoders: &'a [Encoder<'a>],
}

impl Viewer<'_> {
    /// Cells (cells × genes); `latent` where a method predicts in an embedding.
    pub(super) fn cells(&self, cells: ArrayView2<'_, f32>, latent: Latent<'_>) -> Result<Cells, EncodeError> {
        let embedding = |(at, encoder): (usize, &Encoder<'_>)| match latent {
            Some((own, latent)) if own == at => Ok(latent.mapv(f64::from)),
            _ => Ok::<_, EncodeError>((encoder.encode)(cells)?.mapv(f64::from)),
        };
        let embeddings = self.encoders.iter().enumerate().map(embedding).collect::<Result<_, _>>()?;
        Ok(Cells { components: self.components.project(cells), embeddings })
    }

    /// The encoder that a method predicts in, by number.
    pub(super) fn encoder_of(&self, method: &dyn Method) -> Option<usize> {
        let id = method.encoder()?;
        self.encoders.iter().position(|encoder| encoder.id == id)
    }

    /// A mean over cells of which expression and embeddings are known.
    pub(super) fn centre(&self, mean: &Array1<f64>, latents: &[Array1<f64>]) -> Result<Centre, EncodeError> {
        if self.encoders.len() > latents.len() {
            return Err("the held-out cells were gathered without their embeddings".into());
        }
        let embeddings = latents[..self.encoders.len()].to_vec();
        Ok(Centre { expression: mean.clone(), components: self.components.project_mean(mean.view()), embeddings })
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
