//! The metrics, a family a file.

pub(super) mod change;
pub(super) mod error;
pub(super) mod retrieval;
pub(super) mod sets;

use super::Better;
use super::role::{Ceiling, Contrasted, Function, Metric, Space, Spaces, Unit, Value};

/// Both changes of the mean against references: a correlation or cosine.
const AGREEMENT: Metric = Metric {
    name: "",
    title: "",
    definition: "",
    unit: Unit::None,
    better: Better::Higher,
    range: [Some(-1.0), Some(1.0)],
    judged: true,
    not_negative: false,
    spaces: TOP,
    // Every metric says its own.
    function: Function::Means(|_| Ok(None)),
    ceiling: Ceiling::None,
    oracle: ["", ""],
};

/// An error or a distance.
const DISTANCE: Metric = Metric { unit: Unit::Value, better: Better::Lower, range: [Some(0.0), None], ..AGREEMENT };

const NONE: Spaces = Spaces { expression: None, components: false, embeddings: false };
const TOP: Spaces = Spaces { expression: Some(Space::Top), ..NONE };
/// Where distances between cells are taken.
const OF_CELLS: Spaces = Spaces { components: true, embeddings: true, ..NONE };
