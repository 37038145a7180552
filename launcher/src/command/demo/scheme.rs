//! Which split a demo makes: the one asked for, or one that these cells allow, and why.

use std::path::Path;

use anyhow::Result;
use syncyte_sharding::labels::Labels;
use syncyte_sharding::split::{Scheme, Split};
use syncyte_sharding::store::CellStore;

use crate::command::store::split::SplitArguments;

/// Combinations of two that make holding half of them out worthwhile; with fewer, cells are held out.
const ENOUGH_DOUBLES: usize = 20;

/// Splits a store as asked for, or as its cells allow; gives the split and why it is that one.
///
/// # Errors
/// When the split that was asked for cannot be made, or none can.
pub(super) fn split(store: &CellStore, asked: &SplitArguments, out: &Path) -> Result<(Split, String)> {
    let (split, why) = if asked.is_decided() {
        (asked.make(store)?, "as asked for".to_owned())
    } else if asked.hold_out().is_some() {
        (asked.with_scheme(Scheme::Context).make(store)?, "since a context is held out".to_owned())
    } else {
        chosen(store, asked)?
    };
    split.save(out)?;
    Ok((split, why))
}

/// The first scheme that can be made, of those that suit the labels.
fn chosen(store: &CellStore, asked: &SplitArguments) -> Result<(Split, String)> {
    let doubles = doubles(store.labels());
    let mut why = if doubles >= ENOUGH_DOUBLES {
        format!("since {doubles} combinations of two are enough to hold half of them out")
    } else {
        format!("since {doubles} combinations of two are too few to hold some out (of {ENOUGH_DOUBLES})")
    };
    let mut schemes = vec![Scheme::Cells, Scheme::Perturbations];
    if doubles >= ENOUGH_DOUBLES {
        schemes.insert(0, Scheme::Doubles);
    }
    // The last one's error is the one to tell: it asks the least of the cells.
    let (last, others) = (Scheme::Cells, schemes);
    for scheme in others {
        match asked.with_scheme(scheme).make(store) {
            Ok(split) => return Ok((split, why)),
            Err(error) => why = format!("since {scheme} cannot be held out: {error}"),
        }
    }
    Ok((asked.with_scheme(last).make(store)?, why))
}

fn doubles(labels: &Labels) -> usize {
    labels.perturbations.iter().filter(|perturbation| perturbation.targets.len() == 2).count()
}
