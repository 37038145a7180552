//! What a fitted thing carries of the fold it was fitted on.
//!
//! Guarantee: [`FittedOn::check`] passes only for the split (and so the store) that the thing was fitted under.

use serde::{Deserialize, Serialize};

use super::{Fold, Split, SplitError};
use crate::store::CellStore;

/// The fold that something was fitted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedOn {
    /// Hash of the store.
    pub data_hash: String,
    /// Hash of the split.
    pub split_hash: String,
    /// The fold.
    pub fold: Fold,
    /// Its cells.
    pub cells: u64,
}

impl FittedOn {
    fn train(split: &Split) -> Self {
        Self {
            data_hash: split.data_hash().to_owned(),
            split_hash: split.hash().to_owned(),
            fold: Fold::Train,
            cells: split.counts(Fold::Train).cells,
        }
    }

    /// The training fold of a split of this store.
    ///
    /// # Errors
    /// When the split was made for another store.
    pub fn train_of(store: &CellStore, split: &Split) -> Result<Self, SplitError> {
        if split.data_hash() == store.data_hash() {
            return Ok(Self::train(split));
        }
        Err(SplitError::OtherStore {
            path: "the split in use".into(),
            store: store.path().to_owned(),
            split_hash: split.data_hash().to_owned(),
            store_hash: store.data_hash().to_owned(),
        })
    }

    /// Whether `what` may be used under `split`.
    ///
    /// # Errors
    /// When it was fitted under another split, or not on the training fold.
    pub fn check(&self, what: &str, split: &Split) -> Result<(), SplitError> {
        if *self == Self::train(split) {
            return Ok(());
        }
        Err(SplitError::FittedElsewhere {
            what: what.to_owned(),
            fold: self.fold,
            fitted_on: self.split_hash.clone(),
            split: split.hash().to_owned(),
        })
    }
}
