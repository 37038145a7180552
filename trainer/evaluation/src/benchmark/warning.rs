//! What makes the numbers of an evaluation less sure than they look, in sentences for the reader of the verdict.

use std::collections::BTreeMap;

use super::results::ResultRow;
use super::table::Above;

/// Held-out controls of a context below which a warning is due.
const FEW_HELD_OUT: u64 = 50;
/// Training controls of a context below which a warning is due.
const FEW_TRAINING: u64 = 100;
/// Conditions of a split below which a warning is due.
const FEW_CONDITIONS: usize = 5;

/// Controls of a context: its name, held-out and training cells.
pub(super) struct Controls {
    pub(super) context: String,
    pub(super) held_out: u64,
    pub(super) training: u64,
}

/// Warnings of contexts with few controls.
pub(super) fn few_controls(contexts: &[Controls]) -> Vec<String> {
    let few = |n: fn(&Controls) -> u64, least: u64| -> Option<String> {
        let few = contexts.iter().filter(|context| n(context) < least);
        let few: Vec<String> = few.map(|context| format!("{} ({})", context.context, n(context))).collect();
        (!few.is_empty()).then(|| few.join(", "))
    };
    let held_out = few(|context| context.held_out, FEW_HELD_OUT).map(|contexts| {
        format!(
            "Fewer than {FEW_HELD_OUT} held-out control cells in {contexts}: what every change there is measured from is itself \
             uncertain, so changes of all conditions err alike, correlations with them are lowered for every method (see the \
             ceiling) and intervals are wide."
        )
    });
    let training = few(|context| context.training, FEW_TRAINING).map(|contexts| {
        format!(
            "Fewer than {FEW_TRAINING} training control cells in {contexts}: every method that adds a training change to controls \
             carries their noise, which the training mean does not."
        )
    });
    held_out.into_iter().chain(training).collect()
}

/// Warnings of splits with few conditions.
pub(super) fn few_conditions(rows: &[ResultRow]) -> Vec<String> {
    let mut splits: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        let n = splits.entry(&row.split).or_default();
        *n = (*n).max(row.n_conditions);
    }
    let few = splits.into_iter().filter(|(_, n)| *n < FEW_CONDITIONS);
    let sentence = |(split, n): (&str, usize)| match n {
        0 | 1 => format!("{split} has one condition: nothing can be judged on it."),
        n => format!(
            "{split} has only {n} conditions (fewer than {FEW_CONDITIONS}): an interval over so few is itself uncertain, and too \
             narrow more often than it should be."
        ),
    };
    few.map(sentence).collect()
}

/// Warnings of methods that score better than the truth could.
pub(super) fn above_ceiling(found: &[Above<'_>]) -> Vec<String> {
    let mut by_metric: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for Above { split, metric, method, value, ceiling } in found {
        let text = format!("{} ({value:.3} against {ceiling:.3})", method.title);
        by_metric.entry((split, &metric.title)).or_default().push(text);
    }
    let sentence = |((split, metric), methods): ((&str, &str), Vec<String>)| {
        format!(
            "On {split}, {metric}: better than the truth itself would score, given the cells that were measured: {}. Such a \
             value comes from something that the prediction shares with the measurement besides the effect; do not believe it.",
            methods.join(", ")
        )
    };
    by_metric.into_iter().map(sentence).collect()
}

/// Warning of splits in which conditions that training saw stand beside such that it did not.
pub(super) fn mixed(split: &str, seen: usize, unseen: usize) -> Option<String> {
    (seen > 0 && unseen > 0).then(|| {
        format!(
            "{split} mixes {seen} conditions that training saw (other cells of them) with {unseen} that it did not: a mean over \
             both answers neither question. The rows of single conditions carry the flag `seen_in_training`."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Controls, few_conditions, few_controls, mixed};
    use crate::benchmark::results::ResultRow;

    #[test]
    fn few_controls_and_few_conditions_are_said() {
        let contexts = [("A", 49, 100), ("B", 50, 99), ("C", 50, 100)].map(|(context, held_out, training)| Controls {
            context: context.into(),
            held_out,
            training,
        });
        let warnings = few_controls(&contexts);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("held-out control cells in A (49):"), "{warnings:?}");
        assert!(warnings[1].contains("training control cells in B (99):"), "{warnings:?}");
        let of = |n_conditions| {
            few_conditions(&[ResultRow { split: "test/all".into(), n_conditions, ..ResultRow::default() }])
        };
        assert!(
            of(5).is_empty() && of(4)[0].contains("only 4 conditions") && of(1)[0].contains("nothing can be judged")
        );
        assert!(mixed("test/all", 2, 0).is_none() && mixed("test/all", 2, 3).is_some());
    }
}
