//! What can be wrong with a split.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::{Fold, Scheme};
use crate::store::StoreError;

/// Why a split cannot be made, loaded or asked.
#[derive(Debug, Error)]
pub enum SplitError {
    /// No scheme of that name.
    #[error("unknown split scheme `{name}`; known: cells, perturbations, doubles, context")]
    UnknownScheme {
        /// The name given.
        name: String,
    },
    /// A fold has no perturbed cells.
    #[error("empty split: scheme `{scheme}` leaves no perturbed cell in {fold}; its rule: {rule}; to fix: {fix}")]
    Empty {
        /// The empty fold.
        fold: Fold,
        /// The scheme.
        scheme: Scheme,
        /// Its rule in words.
        rule: String,
        /// What would do.
        fix: String,
    },
    /// The scheme `column` is asked for without a column.
    #[error("scheme `column` is what --from-column NAME makes; name the column of obs, or use another scheme")]
    NoColumn,
    /// The table of cells cannot be read.
    #[error("{source}")]
    Table {
        /// Why.
        source: Box<StoreError>,
    },
    /// The column does not exist.
    #[error("--from-column: obs of the store has no column `{name}`; it has {columns}")]
    UnknownColumn {
        /// The name given.
        name: String,
        /// Columns of obs.
        columns: String,
    },
    /// A value of the column names no fold.
    #[error(
        "--from-column: `{wrong}` in column `{column}` names no fold; its values are {values}; right are train, val and test \
         (or training, valid, validation, dev, testing, holdout, ood), one for every cell"
    )]
    UnknownFold {
        /// The column.
        column: String,
        /// The value.
        wrong: String,
        /// All its values with their cells.
        values: String,
    },
    /// A fold has no control cells.
    #[error(
        "--from-column: column `{column}` gives no control cell to {fold}, and effects of a fold are measured against its \
         own controls; give it some, or use a --scheme, which splits the controls"
    )]
    NoControls {
        /// The column.
        column: String,
        /// The fold.
        fold: Fold,
    },
    /// The scheme `context` does not know which context to hold out.
    #[error("scheme `context` needs --hold-out NAME; contexts of this store: {contexts}")]
    NoHoldOut {
        /// Contexts of the store.
        contexts: String,
    },
    /// The context to hold out does not exist.
    #[error("--hold-out: no context `{name}` in this store; contexts: {contexts}")]
    UnknownContext {
        /// The name given.
        name: String,
        /// Contexts of the store.
        contexts: String,
    },
    /// Nothing would be left to train on.
    #[error("scheme `context` needs two contexts or more, and this store has only `{context}`; use another scheme")]
    OneContext {
        /// The only context.
        context: String,
    },
    /// A held-out context for a scheme that holds out none.
    #[error("--hold-out `{name}` has no meaning for scheme `{scheme}`; drop it or use --scheme context")]
    HoldOutUnused {
        /// The context given.
        name: String,
        /// The scheme.
        scheme: Scheme,
    },
    /// The split was made for another store.
    #[error(
        "{}: made for a store with data hash {split_hash}, but {} has {store_hash}; \
         split this store anew with `syncyte store split`", path.display(), store.display()
    )]
    OtherStore {
        /// The split file.
        path: PathBuf,
        /// The store.
        store: PathBuf,
        /// Data hash in the split.
        split_hash: String,
        /// Data hash of the store.
        store_hash: String,
    },
    /// The content does not match the hash recorded with it.
    #[error(
        "{}: content has hash {found}, but the file records {recorded}: it was changed after it was made; \
         make it anew with `syncyte store split`", path.display()
    )]
    Tampered {
        /// The split file.
        path: PathBuf,
        /// The hash in the file.
        recorded: String,
        /// The hash of its content.
        found: String,
    },
    /// The file is not a split.
    #[error("{}: not a split file: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The split has no such perturbation.
    #[error("perturbation `{name}` is absent from the split; {near}")]
    AbsentPerturbation {
        /// Canonical name.
        name: String,
        /// Near names, as a clause.
        near: String,
    },
    /// The perturbation has no training cells.
    #[error("perturbation `{name}` has no cell in train: the split holds it out ({folds} only)")]
    NotTrained {
        /// Canonical name.
        name: String,
        /// The folds that have it.
        folds: String,
    },
    /// Something that was fitted on one training fold is used with another.
    #[error(
        "{what} was fitted on the {fold} fold of split {fitted_on}, but split {split} is in use; fit it on the train \
         fold of this split"
    )]
    FittedElsewhere {
        /// What was fitted.
        what: String,
        /// The fold it was fitted on.
        fold: Fold,
        /// Hash of the split it was fitted under.
        fitted_on: String,
        /// Hash of the split in use.
        split: String,
    },
    /// The content cannot be written as JSON.
    #[error("split: cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}
