//! Folds that a column of the data names.
//!
//! Guarantee: every cell is in the fold that its value names, in one of the usual spellings; a value that names none, a
//! missing one, or a fold of perturbed cells without controls is an error that lists what there is.

use std::collections::BTreeMap;

use super::{Fold, Scheme, Split, SplitError, SplitOptions};
use crate::labels::Labels;
use crate::near;
use crate::store::CellStore;
use crate::text::as_text;

/// Values listed in an error, at most.
const LISTED: usize = 12;

impl Split {
    /// The split that the column `name` of a store's table of cells says.
    ///
    /// # Errors
    /// When there is no such column, a value names no fold (the error lists the values), or a fold lacks perturbed or
    /// control cells.
    pub fn from_column(store: &CellStore, name: &str) -> Result<Self, SplitError> {
        let obs = store.obs().map_err(|source| SplitError::Table { source: Box::new(source) })?;
        let Some(column) = obs.column(name) else {
            let names = obs.columns.iter().map(|column| column.name.as_str());
            let columns = near::by_likeness(name, names).join(", ");
            return Err(SplitError::UnknownColumn { name: name.into(), columns });
        };
        Self::of_values(store.labels(), store.data_hash(), name, &as_text(column))
    }

    pub(super) fn of_values(
        labels: &Labels,
        data_hash: &str,
        name: &str,
        values: &[Option<String>],
    ) -> Result<Self, SplitError> {
        let found: Option<Vec<Fold>> = values.iter().map(|value| fold(value.as_deref()?)).collect();
        let Some(folds) = found else { return Err(unknown(name, values)) };
        let rule = format!("the folds are those of the obs column `{name}`");
        let split = Self::of_folds(labels, data_hash, &SplitOptions::new(Scheme::Column), rule, folds)?;
        let lacks_controls = |fold: &Fold| split.counts(*fold).control_cells == 0;
        if let Some(fold) = Fold::ALL.into_iter().find(lacks_controls) {
            return Err(SplitError::NoControls { column: name.into(), fold });
        }
        split.sealed()
    }
}

/// The fold that a value names.
fn fold(value: &str) -> Option<Fold> {
    let word: String = value.chars().filter(char::is_ascii_alphanumeric).flat_map(char::to_lowercase).collect();
    match word.as_str() {
        "train" | "training" | "trainset" => Some(Fold::Train),
        "val" | "valid" | "validation" | "validate" | "dev" | "development" => Some(Fold::Val),
        "test" | "testing" | "testset" | "heldout" | "holdout" | "ood" => Some(Fold::Test),
        _ => None,
    }
}

fn unknown(column: &str, values: &[Option<String>]) -> SplitError {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value.as_deref().unwrap_or("(missing)")).or_default() += 1;
    }
    let more = counts.len().saturating_sub(LISTED);
    let named = counts.iter().take(LISTED).map(|(value, cells)| format!("{value} ({cells})"));
    let rest = (more > 0).then(|| format!("{more} more"));
    SplitError::UnknownFold {
        column: column.into(),
        wrong: counts.keys().copied().find(|value| fold(value).is_none()).unwrap_or_default().into(),
        values: named.chain(rest).collect::<Vec<_>>().join(", "),
    }
}
