//! A cell store taken in again comes back as it was.
//!
//! Guarantee: labels with their targets, kind of values and quality control of a store of ours are taken as they are
//! recorded, so nothing is guessed and no option is needed; the columns that the store itself wrote are written anew
//! instead of being kept beside. What an option asks for is done all the same.

use super::ImportOptions;
use super::columns::{InputOptions, Keys, PCT_MT, RawLabels, SOURCE_ROW};
use super::rewrite::Rewriting;
use super::scale::Scale;
use super::source::MatrixPath;
use super::values::{Chosen, Reading, Values};
use crate::frame::{Column, ColumnData, Frame};
use crate::store::{OWN_COLUMNS, Recorded, ValueKind};

/// Label columns of a store.
const PERTURBATION: &str = "perturbation";
const CONTEXT: &str = "context";
const BATCH: &str = "batch";
const KIND: &str = "perturbation_kind";

/// The matrix of a store and what its values are, unless options ask for another.
pub(super) fn chosen(store: &Recorded, options: &ImportOptions) -> Option<Chosen> {
    let as_it_is = options.matrix.is_none() && options.values == Values::Auto && options.target_sum.is_none();
    let reading = match store.info.value_kind {
        ValueKind::Counts => Reading::Counts,
        ValueKind::Log1p => Reading::Scaled(Scale::STORE),
    };
    as_it_is.then_some(Chosen { matrix: MatrixPath::X, reading })
}

/// The label columns to read: those asked for, else the store's own.
pub(super) fn keys(asked: &Keys) -> Keys {
    let or = |asked: &Option<String>, own: &str| asked.clone().or_else(|| Some(own.to_owned()));
    Keys {
        perturbation: or(&asked.perturbation, PERTURBATION),
        context: or(&asked.context, CONTEXT),
        batch: or(&asked.batch, BATCH),
    }
}

/// Puts the recorded labels in the place of what their columns spell, where no option asks for something else.
pub(super) fn restore(labels: &mut RawLabels, store: &Recorded, asked: &InputOptions, options: &ImportOptions) {
    let own = &store.labels;
    let spell = |names: &[String], codes: &[u32]| codes.iter().map(|&code| names[code as usize].clone()).collect();
    if asked.keys.perturbation.is_none() {
        let names: Vec<String> = own.perturbations.iter().map(|perturbation| perturbation.name.clone()).collect();
        labels.perturbation = own.perturbation.iter().map(|&code| Some(names[code as usize].clone())).collect();
        if options.control.is_empty() && !options.strip_guide_suffix && options.rewriting == Rewriting::default() {
            labels.known.clone_from(&own.perturbations);
        }
    }
    if asked.keys.context.is_none() {
        labels.context = spell(&own.contexts, &own.context);
    }
    if asked.keys.batch.is_none() {
        labels.batch = spell(&own.batches, &own.batch);
    }
    if asked.kind.is_none() {
        labels.kind = spell(&own.kinds, &own.kind);
        labels.columns.kind = Some(KIND.into());
    }
}

/// Takes the columns that the store wrote, and that will be written anew, out of its table of cells; labels that an
/// option replaces stay. Gives back the mitochondrial percentages: they were measured before quality control took
/// genes, so they stand.
pub(super) fn strip(obs: &mut Frame, asked: &InputOptions, options: &ImportOptions) -> Option<Vec<f64>> {
    let replaced = |name: &str| match name {
        PERTURBATION => asked.keys.perturbation.is_some(),
        CONTEXT => asked.keys.context.is_some(),
        BATCH => asked.keys.batch.is_some(),
        KIND => asked.kind.is_some(),
        _ => false,
    };
    let pct_mt = match obs.column(PCT_MT) {
        Some(ColumnData::Float(percent)) => Some(percent.clone()),
        _ => None,
    };
    obs.columns.retain(|Column { name, .. }| match name.as_str() {
        PCT_MT => pct_mt.is_none(),
        SOURCE_ROW => options.shuffle.is_none(),
        name => !OWN_COLUMNS.contains(&name) || replaced(name),
    });
    pct_mt
}
