//! Which elements of the flat state a rank keeps moments for and updates.
//!
//! Guarantee: the elements of all ranks cover the state once. Moments lie one run behind the other, in order.

use std::ops::Range;

/// Runs of elements, ascending and disjoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    runs: Vec<Range<usize>>,
}

/// Elements of the flat state, and where their moments lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Elements.
    pub(super) range: Range<usize>,
    /// Their moments.
    pub(super) moments: Range<usize>,
}

impl Owned {
    /// These runs, in any order; empty ones are dropped.
    pub(super) fn new(runs: impl IntoIterator<Item = Range<usize>>) -> Self {
        let mut runs: Vec<_> = runs.into_iter().filter(|run| !run.is_empty()).collect();
        runs.sort_by_key(|run| run.start);
        Self { runs }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(ExactSizeIterator::len).sum()
    }

    /// The runs within `part` of the state.
    pub(super) fn within(&self, part: &Range<usize>) -> Vec<Run> {
        let mut at = 0;
        let mut found = Vec::new();
        for run in &self.runs {
            let range = run.start.max(part.start)..run.end.min(part.end);
            if !range.is_empty() {
                let start = at + range.start - run.start;
                found.push(Run { moments: start..start + range.len(), range });
            }
            at += run.len();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn parts_find_every_owned_element_once_with_its_moments(
            cuts in prop::collection::btree_set(0_usize..500, 2..20), part in (0_usize..500, 0_usize..500),
        ) {
            let cuts: Vec<usize> = cuts.into_iter().collect();
            let runs: Vec<_> = cuts.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
            let owned = Owned::new(runs.iter().rev().cloned());
            let part = part.0.min(part.1)..part.0.max(part.1);
            // Element by element: the n-th owned element has the n-th moment.
            let wanted: Vec<_> = runs.iter().cloned().flatten().enumerate().filter(|(_, i)| part.contains(i)).collect();
            let found: Vec<_> = owned.within(&part).into_iter().flat_map(|run| run.moments.zip(run.range)).collect();
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(owned.len(), runs.iter().map(ExactSizeIterator::len).sum::<usize>());
        }
    }
}
