//! Distances between sets of cells.

use super::super::Estimator;
use super::{Ceiling, DISTANCE, Function, Metric, OF_CELLS};
use crate::metric::role::Unit;

/// Its ceiling is what as many cells of the true distribution would score: `2 δ / n`, with the mean distance δ between two
/// measured cells, where a cell counts as its own neighbour.
pub(in crate::metric) static ENERGY: Metric = Metric {
    name: "energy_{space}",
    title: "Energy distance ({space})",
    definition: "2δ − σ − σ with Euclidean distances between equally many predicted and measured cells, at most {cells} a \
                 side, in {where}; means over all n² pairs.",
    spaces: OF_CELLS,
    function: Function::Sets(|sets, x, y| sets.euclidean.energy(x, y, Estimator::V)),
    ceiling: Ceiling::Sets(|sets| sets.euclidean.spread().map(|spread| 2.0 * spread / sets.n as f64)),
    oracle: ["energy", "euclid_v"],
    ..DISTANCE
};

/// The unbiased forms, which may be negative and have a ceiling of 0.
const UNBIASED: Metric = Metric {
    range: [None, None],
    not_negative: true,
    spaces: OF_CELLS,
    ceiling: Ceiling::Sets(|sets| (sets.n > 1).then_some(0.0)),
    ..DISTANCE
};

pub(in crate::metric) static ENERGY_U: Metric = Metric {
    name: "energy_u_{space}",
    title: "Energy distance, unbiased ({space})",
    definition: "The same with within-group means over n(n − 1) pairs, which does not depend on the number of cells; a \
                 value below 0 counts as 0 in comparisons; {where}.",
    function: Function::Sets(|sets, x, y| sets.euclidean.energy(x, y, Estimator::U)),
    oracle: ["energy", "euclid_u"],
    ..UNBIASED
};

pub(in crate::metric) static E_DISTANCE: Metric = Metric {
    name: "edist_{space}",
    title: "E-distance, squared ({space})",
    definition: "scPerturb's form: squared Euclidean distances, n(n − 1) pairs; sees the mean shift only; {where}.",
    unit: Unit::Squared,
    function: Function::Sets(|sets, x, y| sets.squared.energy(x, y, Estimator::U)),
    oracle: ["energy", "sqeuclid_u"],
    ..UNBIASED
};
