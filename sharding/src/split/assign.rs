//! Assignment of cells to folds, one function a scheme.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fold, Scheme, Shares, SplitError, SplitOptions};
use crate::labels::{Labels, Perturbation};
use crate::philox::{Philox, Purpose};

/// Streams of [`Purpose::Split`]: what is shuffled.
#[derive(Clone, Copy)]
enum Shuffle {
    /// Cells of one (context, perturbation).
    Cells = 0,
    /// Target genes.
    Genes = 1,
    /// Combinations of two.
    Doubles = 2,
}

/// Fold of every cell.
pub(super) fn folds(labels: &Labels, options: &SplitOptions) -> Result<Vec<Fold>, SplitError> {
    let held_out = held_out_context(labels, options)?;
    let (seed, shares) = (options.seed, options.shares.unwrap_or_default());
    let mut folds = vec![Fold::Train; labels.n_cells()];
    let by_condition = match options.scheme {
        Scheme::Cells | Scheme::Context => None,
        Scheme::Perturbations => Some(by_gene(labels, seed, shares)),
        Scheme::Doubles => Some(by_order(labels, options)),
        Scheme::Column => return Err(SplitError::NoColumn),
    };
    for ((context, perturbation), mut cells) in strata(labels) {
        let is_control = perturbation == 0;
        if let (Some(by_condition), false) = (&by_condition, is_control) {
            fill(&mut folds, &cells, by_condition[perturbation as usize]);
        } else if !is_control && held_out == Some(context) {
            fill(&mut folds, &cells, Fold::Test);
        } else {
            let number = u64::from(context) * labels.perturbations.len() as u64 + u64::from(perturbation);
            shuffle(seed, Shuffle::Cells, number, &mut cells);
            let [train, val, test] = parts(&cells, shares);
            fill(&mut folds, train, Fold::Train);
            fill(&mut folds, val, Fold::Val);
            // Outside the held-out context only controls are tested against.
            fill(&mut folds, test, if held_out.is_some() && !is_control { Fold::Train } else { Fold::Test });
        }
    }
    Ok(folds)
}

/// Cells by (context, perturbation).
fn strata(labels: &Labels) -> BTreeMap<(u32, u32), Vec<usize>> {
    let mut strata: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    for cell in 0..labels.n_cells() {
        strata.entry((labels.context[cell], labels.perturbation[cell])).or_default().push(cell);
    }
    strata
}

/// Target genes by shares; a condition goes where its most held-out target is.
fn by_gene(labels: &Labels, seed: u64, shares: Shares) -> Vec<Fold> {
    let genes: BTreeSet<&str> = present(labels).flat_map(|(_, p)| p.targets.iter().map(String::as_str)).collect();
    let mut genes: Vec<&str> = genes.into_iter().collect();
    shuffle(seed, Shuffle::Genes, 0, &mut genes);
    let parts = parts(&genes, shares);
    let fold_of: BTreeMap<&str, Fold> = Fold::ALL
        .into_iter()
        .zip(parts)
        .flat_map(|(fold, genes)| genes.iter().map(move |&gene| (gene, fold)))
        .collect();
    let mut folds = vec![Fold::Train; labels.perturbations.len()];
    for (index, perturbation) in present(labels) {
        let held = perturbation.targets.iter().filter_map(|gene| fold_of.get(gene.as_str()));
        folds[index] = held.copied().max().unwrap_or(Fold::Train);
    }
    folds
}

/// Singles train; doubles by shares if there are some, else half train, a quarter val, a quarter test; larger
/// combinations test.
fn by_order(labels: &Labels, options: &SplitOptions) -> Vec<Fold> {
    let mut folds = vec![Fold::Train; labels.perturbations.len()];
    for (index, _) in present(labels).filter(|(_, perturbation)| perturbation.targets.len() > 2) {
        folds[index] = Fold::Test;
    }
    let mut doubles: Vec<usize> =
        present(labels).filter(|(_, perturbation)| perturbation.targets.len() == 2).map(|(index, _)| index).collect();
    shuffle(options.seed, Shuffle::Doubles, 0, &mut doubles);
    let (val, test) = if let Some(shares) = options.shares {
        let [_, val, test] = parts(&doubles, shares);
        (val, test)
    } else {
        let held_out = &doubles[doubles.len().div_ceil(2)..];
        held_out.split_at(held_out.len() / 2)
    };
    fill(&mut folds, val, Fold::Val);
    fill(&mut folds, test, Fold::Test);
    folds
}

/// Perturbations that have cells.
fn present(labels: &Labels) -> impl Iterator<Item = (usize, &Perturbation)> {
    let mut has_cells = vec![false; labels.perturbations.len()];
    for &index in &labels.perturbation {
        has_cells[index as usize] = true;
    }
    labels.perturbations.iter().enumerate().filter(move |(index, _)| has_cells[*index])
}

fn held_out_context(labels: &Labels, options: &SplitOptions) -> Result<Option<u32>, SplitError> {
    let contexts = || labels.contexts.join(", ");
    match (options.scheme, &options.hold_out) {
        (Scheme::Context, _) if labels.contexts.len() < 2 => Err(SplitError::OneContext { context: contexts() }),
        (Scheme::Context, None) => Err(SplitError::NoHoldOut { contexts: contexts() }),
        (Scheme::Context, Some(name)) => match labels.contexts.iter().position(|context| context == name) {
            Some(index) => Ok(Some(index as u32)),
            None => Err(SplitError::UnknownContext { name: name.clone(), contexts: contexts() }),
        },
        (scheme, Some(name)) => Err(SplitError::HoldOutUnused { name: name.clone(), scheme }),
        (_, None) => Ok(None),
    }
}

fn shuffle<T>(seed: u64, what: Shuffle, number: u64, items: &mut [T]) {
    Philox::new(seed, Purpose::Split, what as u64, number).shuffle(items);
}

/// Cuts a shuffled list into train, val and test, with the nearest whole numbers to their shares in val and in test.
fn parts<T>(items: &[T], shares: Shares) -> [&[T]; 3] {
    let (val, test) = shares.counts(items.len());
    let (val, rest) = items.split_at(val);
    let (test, train) = rest.split_at(test);
    [train, val, test]
}

fn fill(folds: &mut [Fold], items: &[usize], fold: Fold) {
    for &item in items {
        folds[item] = fold;
    }
}
