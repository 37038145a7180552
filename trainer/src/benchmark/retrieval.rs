//! Retrieval over the held-out conditions of a context, in every space.

use std::collections::BTreeSet;

use ndarray::{Array1, Array2, Axis};

use super::score::Values;
use super::view::View;
use crate::metric::{MetricError, chance, no_change, rank};

/// The change of a group of cells against the control, in every space.
#[derive(Clone, Debug)]
pub(super) struct Change {
    spaces: Vec<(&'static str, Array1<f64>)>,
}

impl Change {
    /// The change of `view` against `control`; `genes` are those of the expression space.
    pub(super) fn of(view: &View, control: &View, genes: &[usize]) -> Self {
        let expression = (&view.mean - &control.mean).select(Axis(0), genes);
        let mut spaces = vec![("expression", expression), ("pca50", &view.components.mean - &control.components.mean)];
        if let (Some(here), Some(there)) = (&view.embedding, &control.embedding) {
            spaces.push(("embedding", &here.mean - &there.mean));
        }
        if no_change(view.mean.view(), control.mean.view()) {
            // What is left is rounding, which must not rank anything.
            for (_, change) in &mut spaces {
                change.fill(0.0);
            }
        }
        Self { spaces }
    }
}

/// Ranks the right condition for every prediction. `contexts`, `truths` and `predictions` run over the conditions.
///
/// A condition that is alone in its context has no retrieval: its values are `None`.
pub(super) fn retrieve(
    contexts: &[u32],
    truths: &[Change],
    predictions: &[Change],
) -> Result<Vec<Values>, MetricError> {
    let mut values = vec![Values::new(); truths.len()];
    for context in contexts.iter().collect::<BTreeSet<_>>() {
        let members: Vec<usize> = (0..truths.len()).filter(|&at| contexts[at] == *context).collect();
        let spaces = members.first().map_or(0, |&first| truths[first].spaces.len());
        for space in 0..spaces {
            let candidates = stack(members.iter().map(|&member| &truths[member].spaces[space].1));
            for (place, &member) in members.iter().enumerate() {
                let (name, query) = &predictions[member].spaces[space];
                let defined = members.len() > 1 && !query.is_empty();
                let found = defined.then(|| rank(query.view(), candidates.view(), place)).transpose()?;
                values[member].insert(format!("retrieval_top1_{name}"), found.map(|found| found.top1));
                values[member].insert(format!("retrieval_mrr_{name}"), found.map(|found| found.reciprocal));
            }
        }
    }
    Ok(values)
}

/// What ranking by lot would score, for every condition.
pub(super) fn by_chance(contexts: &[u32], truths: &[Change]) -> Vec<Values> {
    let of = |context: u32, truth: &Change| {
        let rivals = contexts.iter().filter(|&&other| other == context).count();
        let (top1, reciprocal) = chance(rivals);
        let defined = |value| (rivals > 1).then_some(value);
        let spaces = truth.spaces.iter().flat_map(|(space, _)| {
            [
                (format!("retrieval_top1_{space}"), defined(top1)),
                (format!("retrieval_mrr_{space}"), defined(reciprocal)),
            ]
        });
        spaces.collect()
    };
    contexts.iter().zip(truths).map(|(&context, truth)| of(context, truth)).collect()
}

/// Vectors of equal length as the rows of a matrix.
fn stack<'a>(rows: impl ExactSizeIterator<Item = &'a Array1<f64>> + Clone) -> Array2<f64> {
    let length = rows.clone().next().map_or(0, Array1::len);
    let mut matrix = Array2::zeros((rows.len(), length));
    matrix.rows_mut().into_iter().zip(rows).for_each(|(mut target, row)| target.assign(row));
    matrix
}
