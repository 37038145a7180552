//! Points of the embedding figure: measured and predicted cells on the two leading components, fitted jointly.

use ndarray::{Array2, Axis, concatenate};

use super::results::EmbeddingPoint;
use super::space::{Cells, evenly};
use crate::linalg::{LinalgError, principal_axes};

/// Collects cells, a bounded number a condition.
pub(super) struct Figure {
    share: usize,
    stride: usize,
    seen: usize,
    groups: Vec<(String, bool, Array2<f64>)>,
}

impl Figure {
    /// Room for `max_points` points of `conditions` conditions, half of them predictions.
    pub(super) fn new(max_points: usize, conditions: usize) -> Self {
        let half = max_points / 2;
        let stride = conditions.div_ceil(half.max(1)).max(1);
        let share = half / conditions.div_ceil(stride).max(1);
        Self { share, stride, seen: 0, groups: Vec::new() }
    }

    /// Adds a condition: its measured and its predicted cells, in the embedding or else in the components.
    pub(super) fn add(&mut self, perturbation: &str, truth: &Cells, predicted: &Cells) {
        if self.share > 0 && self.seen.is_multiple_of(self.stride) {
            for (cells, is_prediction) in [(truth, false), (predicted, true)] {
                let space = cells.embedding.as_ref().unwrap_or(&cells.components);
                self.groups.push((perturbation.into(), is_prediction, evenly(space, self.share)));
            }
        }
        self.seen += 1;
    }

    /// Projects all of them on their two leading components.
    pub(super) fn points(self) -> Result<Vec<EmbeddingPoint>, LinalgError> {
        let views: Vec<_> = self.groups.iter().map(|(_, _, cells)| cells.view()).collect();
        // No groups, or groups of unequal width, which scoring has refused before.
        let Ok(all) = concatenate(Axis(0), &views) else { return Ok(Vec::new()) };
        let Some(mean) = all.mean_axis(Axis(0)) else { return Ok(Vec::new()) };
        let (axes, _) = principal_axes((&all - &mean).view(), 2)?;
        let mut points = Vec::with_capacity(all.nrows());
        for (perturbation, predicted, cells) in self.groups {
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
}
