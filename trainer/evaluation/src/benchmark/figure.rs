//! Points of the embedding figure: measured and predicted cells on the two leading components, fitted jointly.

use ndarray::{Array2, Axis, concatenate};

use super::results::EmbeddingPoint;
use super::space::{Cells, evenly};
use crate::linalg::{LinalgError, principal_axes};

/// Cells of one condition: its name, whether they are predicted, and the cells in the space of the figure.
pub(super) type Points = (String, bool, Array2<f64>);

/// Which cells the figure shows: a bounded number a condition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    share: usize,
    stride: usize,
    /// The embedding whose cells are shown, where there is one; else the components.
    encoder: Option<usize>,
}

impl Figure {
    /// Room for `max_points` points of `conditions` conditions, half of them predictions.
    pub(super) fn new(max_points: usize, conditions: usize, encoder: Option<usize>) -> Self {
        let half = max_points / 2;
        let stride = conditions.div_ceil(half.max(1)).max(1);
        let share = half / conditions.div_ceil(stride).max(1);
        Self { share, stride, encoder }
    }

    /// Those of the condition number `at`: its measured and its predicted cells.
    pub(super) fn of(&self, at: usize, perturbation: &str, truth: &Cells, predicted: &Cells) -> Vec<Points> {
        if self.share == 0 || !at.is_multiple_of(self.stride) {
            return Vec::new();
        }
        let one = |(cells, is_prediction): (&Cells, bool)| {
            let space = self.encoder.map_or(&cells.components, |encoder| &cells.embeddings[encoder]);
            (perturbation.to_owned(), is_prediction, evenly(space, self.share))
        };
        [(truth, false), (predicted, true)].map(one).into()
    }
}

/// Projects the cells of all conditions on their two leading components.
pub(super) fn project(groups: Vec<Points>) -> Result<Vec<EmbeddingPoint>, LinalgError> {
    let views: Vec<_> = groups.iter().map(|(_, _, cells)| cells.view()).collect();
    // No groups, or groups of unequal width, which scoring has refused before.
    let Ok(all) = concatenate(Axis(0), &views) else { return Ok(Vec::new()) };
    let Some(mean) = all.mean_axis(Axis(0)) else { return Ok(Vec::new()) };
    let (axes, _) = principal_axes((&all - &mean).view(), 2)?;
    let mut points = Vec::with_capacity(all.nrows());
    for (perturbation, predicted, cells) in groups {
        let coordinates = (&cells - &mean).dot(&axes.t());
        points.extend(coordinates.rows().into_iter().map(|row| EmbeddingPoint {
            x: row.first().copied().unwrap_or_default(),
            y: row.get(1).copied().unwrap_or_default(),
            perturbation: perturbation.clone(),
            predicted,
        }));
    }
    Ok(points)
}
