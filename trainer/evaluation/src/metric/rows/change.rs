//! Agreement of the predicted with the measured change: Pearson-delta and cosine.

use ndarray::ArrayView1;

use super::super::{cosine, cosine_delta, pearson_delta};
use super::{AGREEMENT, Ceiling, Contrasted, Function, Metric, NONE, OF_CELLS, Spaces, Value};

/// The primary metric: both changes against disjoint halves of the held-out controls.
pub(in crate::metric) static CONTROL: Metric = Metric {
    name: "pearson_delta_control",
    title: "Pearson-delta (control)",
    definition: "Correlation over {where} of the predicted with the measured change of the mean profile against the \
                 held-out controls: the measured change against one half of them, the predicted against the other, \
                 averaged over both assignments; undefined for no predicted change.",
    function: Function::Means(|sides| {
        sides.crossed(|truth, predicted, control| change_correlation(truth.view(), predicted, control))
    }),
    ceiling: Ceiling::Agreement { centred: true },
    oracle: ["vector", "pearson_delta"],
    ..AGREEMENT
};

/// What distinguishes a condition from the other held-out ones.
pub(in crate::metric) static PERTURBED: Metric = Metric {
    name: "pearson_delta_perturbed",
    title: "Pearson-delta (perturbed)",
    definition: "Correlation over {where} of what distinguishes a condition from the others: the measured mean less the \
                 mean over the other held-out conditions, and the predicted mean less the mean over the other \
                 predictions; undefined for a method that predicts the same for all.",
    function: Function::Others(|Contrasted { truth, predicted, level }| {
        pearson_delta((truth + level).view(), (predicted + level).view(), *level)
    }),
    ceiling: Ceiling::Others,
    oracle: ["vector", "pearson_delta"],
    ..AGREEMENT
};

/// The same direction in components and embeddings.
pub(in crate::metric) static COSINE: Metric = Metric {
    name: "cosine_delta_{space}",
    title: "Cosine of change ({space})",
    definition: "Cosine of the predicted and measured change of the mean against the held-out controls, one half of them \
                 under either, in {where}.",
    spaces: OF_CELLS,
    function: Function::Means(|sides| {
        sides.crossed(|truth, predicted, control| cosine_delta((truth + control).view(), predicted, control))
    }),
    ceiling: Ceiling::Agreement { centred: false },
    oracle: ["vector", "cosine_delta"],
    ..AGREEMENT
};

/// Of the means themselves.
pub(in crate::metric) static COSINE_OF_MEANS: Metric = Metric {
    name: "cosine_{space}",
    title: "Cosine ({space})",
    definition: "Cosine of the predicted and measured mean in {where}; near 1 even for no change.",
    spaces: Spaces { embeddings: true, ..NONE },
    function: Function::Means(|sides| cosine(sides.truth, sides.predicted)),
    ceiling: Ceiling::MeanAgreement,
    oracle: ["vector", "cosine"],
    ..AGREEMENT
};

/// Forms as papers have them, which are shown and not judged: both sides share the noise of one mean.
const PLAIN: Metric = Metric { judged: false, ..AGREEMENT };

pub(in crate::metric) static CONTROL_PLAIN: Metric = Metric {
    name: "pearson_delta_control_published",
    title: "Pearson-delta (control, plain)",
    definition: "Both changes against the mean of all held-out controls; {where}. Both sides share the noise of that \
                 mean, which counts as agreement: shown for comparison with papers, not judged.",
    function: Function::Means(|sides| pearson_delta(sides.truth, sides.predicted, sides.control)),
    oracle: ["vector", "pearson_delta"],
    ..PLAIN
};

/// With the training control mean under the truth, as in the literature, which does not hold controls out: a change that
/// was fitted against those controls shares their noise with the truth.
pub(in crate::metric) static PUBLISHED: Metric = Metric {
    name: "pearson_delta_published",
    title: "Pearson-delta (as published)",
    definition: "The measured change against the training control mean over {where}, as in papers that do not hold \
                 controls out; a change that was fitted against those controls shares their noise. Not judged.",
    function: Function::Means(|sides| {
        let Some(train_control) = sides.train_control else { return Ok(None) };
        pearson_delta((&sides.truth + &sides.control - train_control).view(), sides.predicted, sides.control)
    }),
    oracle: ["vector", "pearson_delta"],
    ..PLAIN
};

pub(in crate::metric) static PERTURBED_PLAIN: Metric = Metric {
    name: "pearson_delta_perturbed_published",
    title: "Pearson-delta (perturbed, plain)",
    definition: "Both changes against the mean over training conditions of their means; {where}. Both sides share the \
                 noise of that mean, which counts as agreement: shown for comparison with papers, not judged.",
    function: Function::Means(|sides| match sides.centroid {
        Some(centroid) => pearson_delta(sides.truth, sides.predicted, centroid),
        None => Ok(None),
    }),
    oracle: ["vector", "pearson_delta"],
    ..PLAIN
};

pub(in crate::metric) static COSINE_PLAIN: Metric = Metric {
    name: "cosine_delta_{space}_published",
    title: "Cosine of change ({space}, plain)",
    definition: "Both changes against the mean of all held-out controls in {where}. Both sides share the noise of that \
                 mean, which counts as agreement: shown for comparison with papers, not judged.",
    spaces: OF_CELLS,
    function: Function::Means(|sides| cosine_delta(sides.truth, sides.predicted, sides.control)),
    oracle: ["vector", "cosine_delta"],
    ..PLAIN
};

/// Correlation of a measured change with that of a prediction; a change that is nothing but the rounding of values as large
/// as those of the controls counts as none.
fn change_correlation(
    truth: ArrayView1<'_, f64>,
    predicted: ArrayView1<'_, f64>,
    control: ArrayView1<'_, f64>,
) -> Value {
    pearson_delta((&truth + &control).view(), (&(&predicted - &control) + &control).view(), control)
}
