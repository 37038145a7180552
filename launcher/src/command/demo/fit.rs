//! The configuration of a demo fitted to its cells: batches that the training fold fills and the ranks share, noise that
//! the values allow, an evaluation that the held-out cells allow.
//!
//! Guarantee: what the cells allow as it is stays as it is; what is changed is said, with the reason.

use syncyte_sharding::split::{Fold, Split};
use syncyte_sharding::store::{CellStore, ValueKind};
use syncyte_trainer::component::Choice;
use syncyte_trainer::config::Config;
use syncyte_trainer::pretext::Cells;
use syncyte_trainer::task;

/// Fewer held-out cells give a condition no mean worth comparing.
const FEWEST_HELD_OUT: usize = 2;

/// Fits a configuration to the cells; gives what was changed and why.
///
/// # Errors
/// In words, when no fitting helps: no perturbed cell trains, or fewer than there are ranks.
pub(super) fn fit(config: &mut Config, store: &CellStore, split: &Split, ranks: usize) -> Result<Vec<String>, String> {
    let mut said = Vec::new();
    let augmentation = (config.augmentation.build())(config.augmentation.table())?;
    if store.info().value_kind == ValueKind::Log1p && augmentation.needs_counts() {
        config.augmentation = Choice::of_kind("gaussian")?;
        said.push("the cells are log-normalised: augmentation.kind is set to \"gaussian\"".into());
    }
    said.extend(fit_batch(config, split, ranks)?);
    said.extend(share_evenly("diffusion.batch_size", &mut config.diffusion.batch_size, ranks));
    said.extend(share_evenly("finetune.conditions", &mut config.finetune.conditions, ranks));
    if config.evaluate.pool_validation && task::check_pooling(store.labels(), split).is_err() {
        config.evaluate.pool_validation = false;
        said.push(
            "validation and test ask different questions of what training saw: evaluate.pool_validation is set to false"
                .into(),
        );
    }
    said.extend(fit_evaluation(config, split));
    Ok(said)
}

/// Sets streams and batch to what the smallest phase of training can fill.
fn fit_batch(config: &mut Config, split: &Split, ranks: usize) -> Result<Option<String>, String> {
    let train = split.counts(Fold::Train);
    let mut paired = false;
    for choice in &config.objective.tasks {
        paired |= (choice.build())(choice.table())?.cells() == Cells::Perturbed;
    }
    let (cells, what) =
        if paired { (train.cells - train.control_cells, "perturbed cells") } else { (train.cells, "cells") };
    let unit = unit(config, ranks);
    let data = &mut config.data;
    let Some((streams, batch)) = fitted(cells as usize, data.streams, data.batch_size, unit) else {
        return Err(format!(
            "{cells} {what} train, fewer than the {unit} that {ranks} ranks share a batch of; run it with --ranks 1, or on more \
             cells"
        ));
    };
    if (streams, batch) == (data.streams, data.batch_size) {
        return Ok(None);
    }
    (data.streams, data.batch_size) = (streams, batch);
    Ok(Some(format!(
        "{cells} {what} train on {ranks} ranks: data.batch_size is set to {batch}, data.streams to {streams}"
    )))
}

/// What the number of streams has to be a multiple of.
fn unit(config: &Config, ranks: usize) -> usize {
    let engine = &config.engine;
    let shards = if engine.deterministic { engine.logical_shards.max(1) } else { ranks * engine.micro_batches.max(1) };
    if shards.is_multiple_of(ranks) { shards } else { shards * ranks }
}

/// Streams and batch that `cells` fill: those asked for where they will do, else fewer streams by halves, and the largest
/// batch that is a multiple of them.
fn fitted(cells: usize, streams: usize, batch: usize, unit: usize) -> Option<(usize, usize)> {
    if unit == 0 || cells < unit {
        return None;
    }
    let batch = batch.min(cells);
    let mut streams = if streams.is_multiple_of(unit) { streams } else { (streams / unit).max(1) * unit };
    while streams > batch.max(unit) {
        let half = streams / 2;
        streams = if half.is_multiple_of(unit) { half } else { (half / unit).max(1) * unit };
    }
    Some((streams, (batch / streams).max(1) * streams))
}

/// Rounds a number of things to a multiple of the ranks.
fn share_evenly(key: &str, count: &mut usize, ranks: usize) -> Option<String> {
    if *count > 0 && count.is_multiple_of(ranks) {
        return None;
    }
    *count = count.div_ceil(ranks).max(1) * ranks;
    Some(format!("{ranks} ranks share it: {key} is set to {count}"))
}

/// Lowers the number of held-out cells that a condition needs, where none has as many.
fn fit_evaluation(config: &mut Config, split: &Split) -> Option<String> {
    let pooled = config.evaluate.pool_validation;
    let perturbed = split.conditions().values().filter(|condition| condition.n_targets > 0);
    let held_out = |val: u64, test: u64| (if pooled { val + test } else { test }) as usize;
    let most = perturbed.map(|c| held_out(c.cells_in(Fold::Val), c.cells_in(Fold::Test))).max().unwrap_or(0);
    if most >= config.evaluate.min_cells {
        return None;
    }
    let least = most.max(FEWEST_HELD_OUT);
    config.evaluate.min_cells = least;
    Some(format!(
        "no perturbation has more than {most} held-out cells: evaluate.min_cells is set to {least}; so few cells can show that \
         it runs, not how well it predicts"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_filled_by_the_cells_and_shared_by_the_ranks() {
        assert_eq!(fitted(10_000, 64, 256, 2), Some((64, 256)), "what will do stays");
        assert_eq!(fitted(33, 64, 256, 2), Some((32, 32)));
        assert_eq!(fitted(33, 64, 256, 1), Some((32, 32)));
        assert_eq!(fitted(10_000, 64, 256, 3), Some((63, 252)));
        assert_eq!(fitted(2, 64, 256, 2), Some((2, 2)));
        assert_eq!(fitted(1, 64, 256, 2), None);
        assert_eq!(fitted(0, 64, 256, 1), None);
        for cells in 1..400 {
            for unit in 1..=9 {
                for (streams, batch) in [(64, 256), (16, 128), (1, 1), (24, 240)] {
                    let Some((new_streams, new_batch)) = fitted(cells, streams, batch, unit) else {
                        assert!(cells < unit);
                        continue;
                    };
                    assert!(new_streams.is_multiple_of(unit) && new_batch.is_multiple_of(new_streams));
                    assert!(
                        new_batch <= cells.max(unit) && new_batch > 0,
                        "{cells} {unit}: {new_streams}, {new_batch}"
                    );
                    assert!(new_batch <= cells, "{cells} cells do not fill {new_batch}");
                }
            }
        }
    }

    #[test]
    fn things_are_shared_by_all_ranks_alike() {
        let mut count = 256;
        assert_eq!(share_evenly("k", &mut count, 2), None);
        assert!(share_evenly("k", &mut count, 3).unwrap().contains("258"));
        assert_eq!(count, 258);
    }
}
