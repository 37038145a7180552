//! Whether validation and test cells may be evaluated together: only where both ask the same question.

use std::collections::{BTreeMap, BTreeSet};

use syncyte_sharding::labels::Labels;
use syncyte_sharding::split::{Fold, Split};

/// What training saw of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// Other cells of it.
    Cells,
    /// The perturbation, in other contexts.
    Elsewhere,
    /// Nothing.
    Nothing,
}

impl Seen {
    fn words(self) -> &'static str {
        match self {
            Self::Cells => "that training saw other cells of",
            Self::Elsewhere => "whose perturbation training saw in other contexts alone",
            Self::Nothing => "that training never saw",
        }
    }
}

/// Refuses to pool folds of which one holds conditions that training saw more of than of any of the other.
///
/// # Errors
/// A sentence that names such a condition and says what to do.
pub fn check(labels: &Labels, split: &Split) -> Result<(), String> {
    let condition = |cell: usize| (labels.context[cell], labels.kind[cell], labels.perturbation[cell]);
    let perturbed =
        |fold: Fold| split.rows(fold).into_iter().map(|row| row as usize).filter(|&cell| !labels.is_control(cell));
    let trained: BTreeSet<(u32, u32, u32)> = perturbed(Fold::Train).map(condition).collect();
    let anywhere: BTreeSet<(u32, u32)> = trained.iter().map(|&(_, kind, perturbation)| (kind, perturbation)).collect();
    let seen = |(context, kind, perturbation)| match () {
        () if trained.contains(&(context, kind, perturbation)) => Seen::Cells,
        () if anywhere.contains(&(kind, perturbation)) => Seen::Elsewhere,
        () => Seen::Nothing,
    };
    let classes = |fold: Fold| -> BTreeMap<Seen, (u32, u32, u32)> {
        perturbed(fold).map(condition).map(|condition| (seen(condition), condition)).collect()
    };
    let (val, test) = (classes(Fold::Val), classes(Fold::Test));
    let Some((seen, &(context, _, perturbation))) = val.iter().find(|(seen, _)| !test.contains_key(seen)) else {
        return Ok(());
    };
    if test.is_empty() {
        return Ok(());
    }
    let asked = test.keys().map(|seen| seen.words()).collect::<Vec<_>>().join(" or ");
    Err(format!(
        "evaluate.pool_validation: the validation fold holds conditions {}, e.g. `{}` in `{}`, but the test fold such {asked}: \
         under split scheme {} they are different questions and are not pooled; set evaluate.pool_validation = false",
        seen.words(),
        labels.perturbations[perturbation as usize].name,
        labels.contexts[context as usize],
        split.scheme().name()
    ))
}

#[cfg(test)]
mod tests {
    use syncyte_sharding::labels::{Labels, Perturbation};
    use syncyte_sharding::split::{Scheme, Split, SplitOptions};

    use super::check;

    /// Four perturbations and controls in each of three contexts, 20 cells each.
    fn labels() -> Labels {
        let n = 300;
        let perturbations =
            ["", "A", "B", "C", "D"].map(|target| Perturbation::of((!target.is_empty()).then(|| target.into())));
        Labels {
            perturbations: perturbations.to_vec(),
            perturbation: (0..n).map(|cell| cell % 5).collect(),
            contexts: ["x", "y", "z"].map(str::to_owned).to_vec(),
            context: (0..n).map(|cell| cell / 5 % 3).collect(),
            kinds: vec!["all".into()],
            kind: vec![0; n as usize],
            ..Labels::default()
        }
    }

    fn checked(scheme: Scheme, hold_out: Option<&str>) -> Result<(), String> {
        let options = SplitOptions { hold_out: hold_out.map(str::to_owned), ..SplitOptions::new(scheme) };
        let labels = labels();
        check(&labels, &Split::make(&labels, "hash", &options).unwrap())
    }

    #[test]
    fn folds_that_ask_the_same_are_pooled_and_a_held_out_context_is_not_mixed_with_seen_ones() {
        assert_eq!(checked(Scheme::Cells, None), Ok(()));
        assert_eq!(checked(Scheme::Perturbations, None), Ok(()));
        let error = checked(Scheme::Context, Some("z")).unwrap_err();
        for part in ["saw other cells of", "in other contexts alone", "context", "evaluate.pool_validation = false"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
