//! Strata of the held-out conditions.

use syncyte_sharding::labels::Perturbation;

use crate::fold::{Condition, TrainingMeans};

/// Every stratum in the order of the table.
pub(super) const ALL: [&str; 4] = [EVERY, SINGLES, DOUBLES, BOTH_SEEN];

pub(super) const EVERY: &str = "test/all";
const SINGLES: &str = "test/singles";
const DOUBLES: &str = "test/doubles";
/// Doubles whose two single perturbations were trained on in the same context.
const BOTH_SEEN: &str = "test/doubles_both_seen";

/// The strata of a condition, the widest first.
pub(super) fn of(condition: &Condition, perturbation: &Perturbation, train: &TrainingMeans) -> Vec<&'static str> {
    let single_seen =
        |target: &String| train.seen(condition.context, condition.kind, &Perturbation::of([target.clone()]).name);
    match perturbation.targets.len() {
        1 => vec![EVERY, SINGLES],
        2 if perturbation.targets.iter().all(single_seen) => vec![EVERY, DOUBLES, BOTH_SEEN],
        2 => vec![EVERY, DOUBLES],
        _ => vec![EVERY],
    }
}

/// The stratum that a row of the per-condition table names: single, double or neither.
pub(super) fn finest(strata: &[&'static str]) -> &'static str {
    strata.get(1).copied().unwrap_or(EVERY)
}

/// Takes out every stratum that holds the same conditions as the next wider one: it would only repeat its numbers.
pub(super) fn drop_repeats<'a>(strata: impl Iterator<Item = &'a mut Vec<&'static str>>) {
    let mut strata: Vec<_> = strata.collect();
    // Strata are nested, so equal counts are equal conditions; the narrowest goes first.
    for (narrow, wide) in [(BOTH_SEEN, DOUBLES), (DOUBLES, EVERY), (SINGLES, EVERY)] {
        let count = |name| strata.iter().filter(|of| of.contains(&name)).count();
        if count(narrow) == count(wide) {
            for of in &mut strata {
                of.retain(|&name| name != narrow);
            }
        }
    }
}

/// Whether the stratum of doubles with both singles seen is among them.
pub(super) fn both_seen(strata: &[&'static str]) -> bool {
    strata.contains(&BOTH_SEEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stratum_that_repeats_a_wider_one_is_taken_out() {
        let mut doubles_only = vec![vec![EVERY, DOUBLES, BOTH_SEEN]; 3];
        drop_repeats(doubles_only.iter_mut());
        assert_eq!(doubles_only, vec![vec![EVERY]; 3]);
        let mixed = vec![vec![EVERY, SINGLES], vec![EVERY, DOUBLES], vec![EVERY, DOUBLES, BOTH_SEEN]];
        let mut kept = mixed.clone();
        drop_repeats(kept.iter_mut());
        assert_eq!(kept, mixed);
    }
}
