//! Splits: which cells train, which choose models, which test.
//!
//! Guarantee: every cell of a store is in exactly one fold; what a scheme holds out of training is in no
//! training label, alone or combined; control cells are themselves split, so no test effect is measured
//! against a training control. A split is a pure function of (labels, scheme, seed, shares), or of a column of the data. Its file carries the
//! hash of the store it was made for and a hash of its own content, and is refused where either differs.

mod assign;
mod column;
mod conditions;
mod error;
mod file;
mod fitted;
mod scheme;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use conditions::Condition;
pub use error::SplitError;
pub use fitted::FittedOn;
pub use scheme::Scheme;
pub use shares::Shares;

use crate::labels::{CONTROL, Labels};

/// One part of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fold {
    /// Cells that models are fitted on.
    Train,
    /// Cells that choose between models.
    Val,
    /// Cells that results are reported on.
    Test,
}

impl Fold {
    /// All folds, in the order train, val, test.
    pub const ALL: [Fold; 3] = [Fold::Train, Fold::Val, Fold::Test];

    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Fold::Train => "train",
            Fold::Val => "val",
            Fold::Test => "test",
        }
    }
}

impl std::fmt::Display for Fold {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

/// Size of one fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoldCounts {
    /// Cells, controls included.
    pub cells: u64,
    /// Control cells.
    pub control_cells: u64,
    /// Conditions with at least one cell, the control not counted.
    pub conditions: u64,
}

/// What to split, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitOptions {
    /// The rule.
    pub scheme: Scheme,
    /// Seed of the shuffles; 42 where nothing else is said.
    pub seed: u64,
    /// The context that the scheme `context` holds out.
    pub hold_out: Option<String>,
    /// Sizes of the folds; those of the scheme where there are none: 70/15/15, doubles 50/25/25.
    pub shares: Option<Shares>,
}

impl SplitOptions {
    /// A scheme with seed 42, its usual shares and no held-out context.
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, seed: 42, hold_out: None, shares: None }
    }
}

/// A frozen split of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    scheme: Scheme,
    rule: String,
    seed: u64,
    hold_out: Option<String>,
    data_hash: String,
    folds: Vec<Fold>,
    counts: [FoldCounts; 3],
    conditions: BTreeMap<String, Condition>,
    hash: String,
}

impl Split {
    /// Splits the cells of a store whose hash is `data_hash`.
    ///
    /// # Errors
    /// When the held-out context is missing, unknown or not wanted by the scheme, or when a fold comes out
    /// empty: the error names the rule and what would do.
    pub fn make(labels: &Labels, data_hash: &str, options: &SplitOptions) -> Result<Self, SplitError> {
        let folds = assign::folds(labels, options)?;
        Self::of_folds(labels, data_hash, options, options.scheme.rule(options), folds)?.sealed()
    }

    /// The split that these folds are, none of them empty; its hash is still to be set.
    fn of_folds(
        labels: &Labels,
        data_hash: &str,
        options: &SplitOptions,
        rule: String,
        folds: Vec<Fold>,
    ) -> Result<Self, SplitError> {
        let (counts, conditions) = conditions::tabulate(labels, &folds);
        let split = Self {
            scheme: options.scheme,
            rule,
            seed: options.seed,
            hold_out: options.hold_out.clone(),
            data_hash: data_hash.to_owned(),
            folds,
            counts,
            conditions,
            hash: String::new(),
        };
        split.require_full_folds()?;
        Ok(split)
    }

    /// The same with the hash of its content.
    fn sealed(mut self) -> Result<Self, SplitError> {
        self.hash = file::content_hash(&self)?;
        Ok(self)
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The rule in words.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Seed of the shuffles.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The held-out context of the scheme `context`.
    pub fn hold_out(&self) -> Option<&str> {
        self.hold_out.as_deref()
    }

    /// Hash of the store that was split.
    pub fn data_hash(&self) -> &str {
        &self.data_hash
    }

    /// SHA-256 over the content of the split.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Number of cells of the store.
    pub fn n_cells(&self) -> usize {
        self.folds.len()
    }

    /// Size of a fold.
    pub fn counts(&self, fold: Fold) -> FoldCounts {
        self.counts[fold as usize]
    }

    /// Fold of a cell.
    ///
    /// # Panics
    /// When `cell` is not below [`Split::n_cells`].
    pub fn fold_of(&self, cell: usize) -> Fold {
        self.folds[cell]
    }

    /// Cells of a fold, in rising order.
    pub fn rows(&self, fold: Fold) -> Vec<u64> {
        let mut rows = Vec::with_capacity(self.counts(fold).cells as usize);
        rows.extend((0_u64..).zip(&self.folds).filter(|&(_, &held)| held == fold).map(|(cell, _)| cell));
        rows
    }

    /// Conditions by canonical name, the control among them.
    pub fn conditions(&self) -> &BTreeMap<String, Condition> {
        &self.conditions
    }

    /// Names of the perturbations with cells in a fold, in rising order; the control is not among them.
    pub fn perturbations(&self, fold: Fold) -> Vec<&str> {
        let in_fold = self.conditions.iter().filter(|(_, condition)| condition.cells_in(fold) > 0);
        in_fold.map(|(name, _)| name.as_str()).filter(|&name| name != CONTROL).collect()
    }

    /// A condition by name; targets may come in any order.
    ///
    /// # Errors
    /// When the split has no such condition: the error lists near ones.
    pub fn condition(&self, name: &str) -> Result<&Condition, SplitError> {
        let canonical = conditions::canonical(name);
        self.conditions.get(&canonical).ok_or_else(|| SplitError::AbsentPerturbation {
            name: canonical.clone(),
            near: conditions::near(&canonical, self.conditions.keys()),
        })
    }

    /// Whether a perturbation may be asked of something fitted on the training fold.
    ///
    /// # Errors
    /// When the split has no such condition (near ones are listed), or has it outside the training fold only.
    pub fn check_trained(&self, name: &str) -> Result<(), SplitError> {
        let condition = self.condition(name)?;
        if condition.cells_in(Fold::Train) > 0 {
            return Ok(());
        }
        Err(SplitError::NotTrained { name: conditions::canonical(name), folds: condition.fold_names() })
    }

    /// Held-out combinations of two by how many of their targets training saw alone: 0, 1 or 2.
    pub fn seen_classes(&self, fold: Fold) -> [u64; 3] {
        let mut classes = [0; 3];
        for condition in self.conditions.values().filter(|condition| condition.cells_in(fold) > 0) {
            if let (2, Some(seen)) = (condition.n_targets, condition.seen) {
                classes[seen as usize] += 1;
            }
        }
        classes
    }

    fn require_full_folds(&self) -> Result<(), SplitError> {
        let perturbed = |fold: &Fold| self.counts(*fold).cells - self.counts(*fold).control_cells;
        // Splitting the cells of a store without perturbations is sound: it can still be pretrained on.
        let only_controls = self.scheme == Scheme::Cells && Fold::ALL.iter().all(|fold| perturbed(fold) == 0);
        let size = |fold: &Fold| if only_controls { self.counts(*fold).cells } else { perturbed(fold) };
        match Fold::ALL.into_iter().find(|fold| size(fold) == 0) {
            Some(fold) => Err(SplitError::Empty {
                fold,
                scheme: self.scheme,
                rule: self.rule.clone(),
                fix: self.scheme.remedy().to_owned(),
            }),
            None => Ok(()),
        }
    }
}
