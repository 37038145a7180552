//! The condition table of a split: where the cells of every condition lie, and what training saw of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Fold, FoldCounts};
use crate::labels::{CONTROL, Labels, Perturbation};
use crate::near;

const NEAR: usize = 3;
/// From here on a name may have been meant.
const ALIKE: f64 = 0.5;

/// One condition of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Cells in train, val and test.
    pub cells: [u64; 3],
    /// Number of target genes.
    pub n_targets: u32,
    /// Of a combination held out of training: how many of its targets training saw alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u32>,
}

impl Condition {
    /// Cells of the condition in a fold.
    pub fn cells_in(&self, fold: Fold) -> u64 {
        self.cells[fold as usize]
    }

    pub(super) fn fold_names(&self) -> String {
        let names: Vec<&str> = Fold::ALL.iter().filter(|&&fold| self.cells_in(fold) > 0).map(|f| f.name()).collect();
        names.join(", ")
    }
}

/// Counts of the folds and the table of conditions.
pub(super) fn tabulate(labels: &Labels, folds: &[Fold]) -> ([FoldCounts; 3], BTreeMap<String, Condition>) {
    let mut cells = vec![[0_u64; 3]; labels.perturbations.len()];
    for (&perturbation, &fold) in labels.perturbation.iter().zip(folds) {
        cells[perturbation as usize][fold as usize] += 1;
    }
    let trained = |index: usize| cells[index][Fold::Train as usize] > 0;
    let singles: BTreeSet<&str> = (0..cells.len())
        .filter(|&index| trained(index) && labels.perturbations[index].targets.len() == 1)
        .map(|index| labels.perturbations[index].targets[0].as_str())
        .collect();
    let mut counts = [FoldCounts::default(); 3];
    let mut conditions = BTreeMap::new();
    for (index, perturbation) in labels.perturbations.iter().enumerate() {
        if cells[index].iter().all(|&count| count == 0) {
            continue;
        }
        for (fold, &count) in counts.iter_mut().zip(&cells[index]) {
            fold.cells += count;
            if perturbation.is_control() {
                fold.control_cells += count;
            } else {
                fold.conditions += u64::from(count > 0);
            }
        }
        let n_targets = perturbation.targets.len();
        let seen = || perturbation.targets.iter().filter(|gene| singles.contains(gene.as_str())).count() as u32;
        let held_out_combination = n_targets > 1 && !trained(index);
        let condition =
            Condition { cells: cells[index], n_targets: n_targets as u32, seen: held_out_combination.then(seen) };
        conditions.insert(perturbation.name.clone(), condition);
    }
    (counts, conditions)
}

/// The canonical spelling of a name whose targets are joined by `+` in any order.
pub(super) fn canonical(name: &str) -> String {
    let targets = name.split('+').map(str::trim).filter(|part| !part.is_empty() && *part != CONTROL);
    Perturbation::of(targets.map(str::to_owned)).name
}

/// The nearest names, as a clause of an error message.
pub(super) fn near<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> String {
    let names = near::by_likeness(name, names.map(String::as_str));
    let alike = names.iter().take_while(|other| near::likeness(name, other) >= ALIKE);
    let nearest: Vec<String> = alike.take(NEAR).map(|name| format!("`{name}`")).collect();
    if nearest.is_empty() {
        return format!("none of its {} conditions has a similar name", names.len());
    }
    format!("near ones: {}", nearest.join(", "))
}
