//! Resampling of cells: by how much the mean of a group of cells moves when its cells are drawn again.
//!
//! Guarantee: the draws of a group depend on (seed, group, number of the draw) alone, so that all methods, and all
//! conditions of a context, meet the same resampled cells and controls. The kept cells stand for all: their
//! deviations are scaled to the variance of a mean over all cells of the group, times [`STEP`].

use ndarray::{Array1, Array2, Axis};
use syncyte_sharding::philox::{Philox, Purpose};

use super::space::{Cells, Centre, column_means};

/// How far a draw goes from the measured cells towards the drawn ones; deviations are divided by it again. A full draw has
/// twice the noise of the measured means, which lowers every correlation and with it how much that correlation seems to
/// vary; half the way, the first order of it remains.
pub(super) const STEP: f64 = 0.5;

/// Which group is drawn again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    /// One half of the cells of a condition, by its place in the list.
    Condition(usize, usize),
    /// The cells of a condition that distances are taken of.
    Set(usize),
    /// One half of the controls of a context.
    Controls(u32, usize),
    /// The cells of a prediction, which start from the controls of a context.
    Predicted(u32),
}

impl Drawn {
    /// A number of its own for every group.
    fn stream(self) -> u64 {
        match self {
            Self::Condition(at, half) => 2 * at as u64 + half as u64,
            Self::Set(at) => (1 << 60) + at as u64,
            Self::Controls(context, half) => (1 << 62) + 2 * u64::from(context) + half as u64,
            Self::Predicted(context) => (1 << 61) + u64::from(context),
        }
    }
}

/// Weights of `n` cells in every draw (draws × cells), [`STEP`] of the way from equal ones to those of a bootstrap draw; a
/// row sums to 1.
pub(super) fn weights(seed: u64, drawn: Drawn, draws: usize, n: usize) -> Array2<f64> {
    let mut weights = Array2::from_elem((draws, n), (1.0 - STEP) / n.max(1) as f64);
    for (draw, mut row) in weights.rows_mut().into_iter().enumerate() {
        // The plain bootstrap of the conditions has the streams with second number 0.
        let mut random = Philox::new(seed, Purpose::Bootstrap, drawn.stream(), 1 + draw as u64);
        (0..n).for_each(|_| row[random.below(n as u64) as usize] += STEP / n as f64);
    }
    weights
}

/// How far the mean of a group moves, draw by draw.
#[derive(Clone, Debug)]
pub(super) struct Deviations {
    expression: Array2<f64>,
    components: Array2<f64>,
    embeddings: Vec<Array2<f64>>,
}

impl Deviations {
    /// Of a group of `n` cells of which these (cells × genes, and in the other spaces) are kept.
    pub(super) fn new(weights: &Array2<f64>, dense: &Array2<f32>, cells: &Cells, n: u64) -> Self {
        let kept = dense.nrows() as f64;
        // Of one cell nothing is known about its spread.
        let scale = if kept < 2.0 { 0.0 } else { (kept / (kept - 1.0) * kept / n.max(1) as f64).sqrt() };
        let centred = weights - 1.0 / kept.max(1.0);
        let of = |rows: &Array2<f64>| centred.dot(&(rows - &column_means(rows))) * scale;
        Self {
            expression: of(&dense.mapv(f64::from)),
            components: of(&cells.components),
            embeddings: cells.embeddings.iter().map(of).collect(),
        }
    }

    /// The deviation in a draw.
    pub(super) fn at(&self, draw: usize) -> Centre {
        let row = |rows: &Array2<f64>| rows.row(draw).to_owned();
        Centre {
            expression: row(&self.expression),
            components: row(&self.components),
            embeddings: self.embeddings.iter().map(row).collect(),
        }
    }

    /// Number of draws.
    pub(super) fn draws(&self) -> usize {
        self.components.nrows()
    }

    /// The same with some of the genes.
    pub(super) fn of_genes(&self, genes: &[usize]) -> Self {
        Self { expression: self.expression.select(Axis(1), genes), ..self.clone() }
    }
}

/// Equal weights.
pub(super) fn equal(n: usize) -> Array1<f64> {
    Array1::from_elem(n, 1.0 / n.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Axis};
    use syncyte_sharding::philox::{Philox, Purpose};

    use super::{Deviations, Drawn, STEP, weights};
    use crate::benchmark::space::Cells;

    #[test]
    fn deviations_have_the_variance_of_a_mean_over_all_cells() {
        let mut random = Philox::new(3, Purpose::Trial, 0, 0);
        let dense = Array2::from_shape_simple_fn((50, 20), || 2.0 * random.normal() as f32);
        let cells = Cells { components: dense.mapv(f64::from), embeddings: vec![] };
        let drawn = weights(1, Drawn::Condition(4, 0), 2000, 50);
        assert!(drawn.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-9));
        let deviations = Deviations::new(&drawn, &dense, &cells, 800);
        let sampling = cells.components.var_axis(Axis(0), 1.0) / 800.0;
        let found = deviations.expression.map_axis(Axis(0), |column| column.mapv(|x| x * x).mean().unwrap_or(0.0));
        let ratio = found.sum() / sampling.sum() / STEP.powi(2);
        assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
        assert!((deviations.expression.mean().unwrap()).abs() < 0.01);
    }

    #[test]
    fn every_group_has_draws_of_its_own_and_one_cell_never_moves() {
        let of = |drawn| weights(1, drawn, 3, 9);
        assert_eq!(of(Drawn::Controls(0, 1)), of(Drawn::Controls(0, 1)));
        let all = [
            Drawn::Condition(0, 0),
            Drawn::Condition(0, 1),
            Drawn::Set(0),
            Drawn::Controls(0, 0),
            Drawn::Controls(0, 1),
        ]
        .map(of);
        assert!((0..all.len()).all(|a| (0..a).all(|b| all[a] != all[b])));
        let one = Array2::from_elem((1, 2), 3.0f32);
        let cells = Cells { components: one.mapv(f64::from), embeddings: vec![] };
        let deviations = Deviations::new(&weights(1, Drawn::Set(0), 3, 1), &one, &cells, 1);
        assert!(deviations.expression.iter().all(|deviation| deviation.abs() < 1e-12));
    }
}
