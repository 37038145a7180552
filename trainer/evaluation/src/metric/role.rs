//! What a metric of the table is: name, unit, direction, range, function, ceiling and oracle, in one place.
//!
//! Guarantee: a metric is one constant ([`Metric`]) and one line of [`METRICS`](super::METRICS); names, headings and
//! definitions are made from it for every space that it is taken in, and nowhere else.

use ndarray::{Array1, ArrayView1};

use super::{Better, Distances, MetricError, Rank};

/// Where a metric is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Expression of the genes with the highest training control mean.
    Top,
    /// Expression of all genes.
    All,
    /// Expression of the top genes without the targets of any held-out condition.
    Untargeted,
    /// Principal components of the training cells.
    Components,
    /// The embedding of a frozen encoder, by its number.
    Embedding(usize),
}

/// Which spaces a metric is taken in, besides the one that its name goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spaces {
    /// In expression, and which genes of it.
    pub expression: Option<Space>,
    /// In principal components.
    pub components: bool,
    /// In every embedding.
    pub embeddings: bool,
}

/// Kinds of numbers, whose unit follows the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A correlation, a cosine or a share.
    None,
    /// That of a value in the space.
    Value,
    /// Its square.
    Squared,
}

/// What distinguishes a condition from the others, in expression of the top genes.
#[derive(Clone, Copy, Debug)]
pub struct Contrasted<'a> {
    /// The measured mean less that of the others.
    pub truth: ArrayView1<'a, f64>,
    /// The predicted mean less that of the other predictions.
    pub predicted: ArrayView1<'a, f64>,
    /// Mean of the controls, which tells the rounding of values as large as they are.
    pub level: ArrayView1<'a, f64>,
}

/// A value; `None` where it is undefined.
pub type Value = Result<Option<f64>, MetricError>;

/// How a value is worked out.
#[derive(Clone, Copy)]
pub enum Function {
    /// From means of one condition.
    Means(fn(&Sides<'_>) -> Value),
    /// From sets of measured and predicted cells, weighted.
    Sets(fn(&SetDistances, &Array1<f64>, &Array1<f64>) -> Option<f64>),
    /// From the place of the right condition among all of a context, and what ranking by lot would score among so many.
    Rank(fn(&Rank) -> f64, fn(usize) -> f64),
    /// From what distinguishes a condition from the others.
    Others(fn(&Contrasted<'_>) -> Value),
}

/// What the true mean would score given the cells that were measured.
#[derive(Clone, Copy)]
pub enum Ceiling {
    /// Not known.
    None,
    /// In closed form from the sampling variances of the measured mean.
    Variances(fn(ArrayView1<'_, f64>) -> Option<f64>),
    /// From the agreement of halves, as correlations (centred) or cosines of changes against the controls.
    Agreement {
        /// Whether vectors are centred first.
        centred: bool,
    },
    /// As [`Ceiling::Agreement`] of the means themselves.
    MeanAgreement,
    /// From the distances among the measured cells.
    Sets(fn(&SetDistances) -> Option<f64>),
    /// From the agreement of halves, each less the mean of the other conditions.
    Others,
}

/// One metric.
pub struct Metric {
    /// Name; `{space}` stands for the space, `{top}` for the number of top genes.
    pub name: &'static str,
    /// Heading, with the same marks.
    pub title: &'static str,
    /// One sentence; besides, `{where}` names the space in words and `{cells}` is the cap of sets.
    pub definition: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Better direction.
    pub better: Better,
    /// Least and greatest value.
    pub range: [Option<f64>; 2],
    /// Whether methods are judged by it.
    pub judged: bool,
    /// Whether values below zero count as zero in comparisons.
    pub not_negative: bool,
    /// Where it is taken.
    pub spaces: Spaces,
    /// How it is worked out.
    pub function: Function,
    /// What the truth would score.
    pub ceiling: Ceiling,
    /// File and entry of `tests/oracle/fixtures` that the function is checked against.
    pub oracle: [&'static str; 2],
}

/// Distances between equally many measured and predicted cells, and within either set.
#[derive(Clone, Debug)]
pub struct SetDistances {
    /// Cells a side.
    pub n: usize,
    /// Euclidean.
    pub euclidean: Distances,
    /// Squared.
    pub squared: Distances,
}

/// Means of one condition in one space, as measured or as drawn again.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// Of the measured cells.
    pub truth: ArrayView1<'a, f64>,
    /// Predicted from all controls.
    pub predicted: ArrayView1<'a, f64>,
    /// Of all controls.
    pub control: ArrayView1<'a, f64>,
    /// Prediction and controls of either half of the controls; `None` where a half has no cell.
    pub halves: Option<[[ArrayView1<'a, f64>; 2]; 2]>,
    /// Mean of the training controls, in expression.
    pub train_control: Option<ArrayView1<'a, f64>>,
    /// Mean over the training conditions of their means, in expression; `None` without any.
    pub centroid: Option<ArrayView1<'a, f64>>,
}

impl Sides<'_> {
    /// The mean of a function over both assignments of the halves of the controls: the truth is referred to one of them, the
    /// prediction to the other. The function gets the measured change, the prediction and the controls it started from.
    /// `None` where a half has no cell or one assignment is undefined.
    pub(super) fn crossed(
        &self,
        metric: impl Fn(Array1<f64>, ArrayView1<'_, f64>, ArrayView1<'_, f64>) -> Value,
    ) -> Value {
        let Some(halves) = self.halves else { return Ok(None) };
        let one = |half: usize| {
            let [predicted, control] = halves[half];
            metric(&self.truth - &halves[1 - half][1], predicted, control)
        };
        Ok(one(0)?.zip(one(1)?).map(|(first, second)| f64::midpoint(first, second)))
    }
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
