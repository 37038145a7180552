//! Control partners: for each cell a control cell to compare it with.
//!
//! Guarantee: the partner is a control of the same fold and the same context, of the same batch where the
//! fold has one there, else of any batch of the context (counted as a fallback). It is a pure function of
//! (seed, epoch, cell), so it does not depend on ranks, threads or restarts, and it is drawn anew in every
//! epoch. A cell is never its own partner unless its context has no other control in the fold.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::labels::Labels;
use crate::philox::{Philox, Purpose};

const OUTSIDE: u32 = u32::MAX;

/// Draws control partners inside one fold.
#[derive(Clone, Debug)]
pub struct Pairing {
    seed: u64,
    /// Pool of every cell of the store, [`OUTSIDE`] where the cell is not in the fold.
    pool_of: Vec<u32>,
    pools: Vec<Vec<u64>>,
    report: PairingReport,
}

/// How the perturbed cells of a fold find their controls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairingReport {
    /// Perturbed cells whose own batch has controls.
    pub same_batch: u64,
    /// Perturbed cells that fall back to another batch of their context.
    pub fallback: u64,
    /// Names of the (context, batch) pairs that fall back, with the number of perturbed cells in each.
    pub fallback_batches: Vec<(String, String, u64)>,
}

/// Why control partners cannot be drawn.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PairingError {
    /// Perturbed cells without any control to compare them with.
    #[error(
        "pairing: context `{context}` has {cells} perturbed cells but no control cell in the fold; \
         check the control label given at import, import control cells of `{context}`, or leave the context out"
    )]
    NoControl {
        /// The context without controls.
        context: String,
        /// Perturbed cells of the fold in it.
        cells: u64,
    },
    /// A partner would cross the fold.
    #[error("pairing: cell {cell} is not in the fold; ask only for cells of the rows the pairing was made with")]
    OutsideFold {
        /// The cell asked for.
        cell: u64,
    },
}

impl Pairing {
    /// The pairing inside a fold: `rows` are its cells, controls and perturbed.
    ///
    /// # Errors
    /// When a context has perturbed cells in the fold but no control, or a row is not in `labels`.
    pub fn new(labels: &Labels, rows: &[u64], seed: u64) -> Result<Self, PairingError> {
        if let Some(&cell) = rows.iter().find(|&&row| row >= labels.n_cells() as u64) {
            return Err(PairingError::OutsideFold { cell });
        }
        let pools = Pools::of(labels, rows);
        let mut pool_of = vec![OUTSIDE; labels.n_cells()];
        let mut tally = Tally::default();
        for &row in rows {
            let cell = row as usize;
            let (context, batch) = (labels.context[cell], labels.batch[cell]);
            let (pool, same_batch) = pools.find(context, batch, labels.is_control(cell));
            match pool {
                Some(pool) => pool_of[cell] = pool,
                None => *tally.lacking.entry(context).or_default() += 1,
            }
            if !labels.is_control(cell) {
                tally.count(context, batch, same_batch);
            }
        }
        if let Some((&context, &cells)) = tally.lacking.first_key_value() {
            return Err(PairingError::NoControl { context: labels.contexts[context as usize].clone(), cells });
        }
        Ok(Self { seed, pool_of, pools: pools.members, report: tally.report(labels) })
    }

    /// How many perturbed cells are paired inside their batch, and which fall back.
    pub fn report(&self) -> &PairingReport {
        &self.report
    }

    /// The control partner of `cell` in `epoch`.
    ///
    /// # Errors
    /// When `cell` is not in the fold.
    pub fn partner(&self, epoch: u64, cell: u64) -> Result<u64, PairingError> {
        let pool = match self.pool_of.get(cell as usize) {
            Some(&pool) if pool != OUTSIDE => &self.pools[pool as usize],
            _ => return Err(PairingError::OutsideFold { cell }),
        };
        let mut random = Philox::new(self.seed, Purpose::Pairing, epoch, cell);
        // A control draws among the others: the last takes the place of the cell itself.
        Ok(match pool.binary_search(&cell) {
            Ok(own) if pool.len() > 1 => {
                let at = random.below(pool.len() as u64 - 1) as usize;
                pool[if at == own { pool.len() - 1 } else { at }]
            }
            _ => pool[random.below(pool.len() as u64) as usize],
        })
    }

    /// The control partners of `cells` in `epoch`, in their order.
    ///
    /// # Errors
    /// When a cell is not in the fold.
    pub fn partners(&self, epoch: u64, cells: &[u64]) -> Result<Vec<u64>, PairingError> {
        cells.iter().map(|&cell| self.partner(epoch, cell)).collect()
    }
}

/// The controls of a fold by (context, batch) and by context, each list sorted.
struct Pools {
    of_batch: BTreeMap<(u32, u32), u32>,
    of_context: BTreeMap<u32, u32>,
    members: Vec<Vec<u64>>,
}

impl Pools {
    fn of(labels: &Labels, rows: &[u64]) -> Self {
        let mut pools = Self { of_batch: BTreeMap::new(), of_context: BTreeMap::new(), members: Vec::new() };
        let mut controls: Vec<u64> = rows.iter().copied().filter(|&row| labels.is_control(row as usize)).collect();
        controls.sort_unstable();
        controls.dedup();
        for row in controls {
            let (context, batch) = (labels.context[row as usize], labels.batch[row as usize]);
            let members = &mut pools.members;
            let mut open = || {
                members.push(Vec::new());
                members.len() as u32 - 1
            };
            let of_batch = *pools.of_batch.entry((context, batch)).or_insert_with(&mut open);
            let of_context = *pools.of_context.entry(context).or_insert_with(&mut open);
            pools.members[of_batch as usize].push(row);
            pools.members[of_context as usize].push(row);
        }
        pools
    }

    /// The pool to draw from, and whether it is that of the batch.
    fn find(&self, context: u32, batch: u32, is_control: bool) -> (Option<u32>, bool) {
        // A control that is alone in its batch would only find itself there.
        let enough = if is_control { 2 } else { 1 };
        let of_batch = self.of_batch.get(&(context, batch)).copied();
        match of_batch.filter(|&pool| self.members[pool as usize].len() >= enough) {
            Some(pool) => (Some(pool), true),
            None => (self.of_context.get(&context).copied(), false),
        }
    }
}

#[derive(Default)]
struct Tally {
    same_batch: u64,
    fallback: BTreeMap<(u32, u32), u64>,
    lacking: BTreeMap<u32, u64>,
}

impl Tally {
    fn count(&mut self, context: u32, batch: u32, same_batch: bool) {
        if same_batch {
            self.same_batch += 1;
        } else {
            *self.fallback.entry((context, batch)).or_default() += 1;
        }
    }

    fn report(&self, labels: &Labels) -> PairingReport {
        let name = |(&(context, batch), &cells): (&(u32, u32), &u64)| {
            (labels.contexts[context as usize].clone(), labels.batches[batch as usize].clone(), cells)
        };
        PairingReport {
            same_batch: self.same_batch,
            fallback: self.fallback.values().sum(),
            fallback_batches: self.fallback.iter().map(name).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Pairing, PairingError};
    use crate::labels::{Labels, Perturbation};

    /// Labels from (perturbation, context, batch) of every cell; perturbation 0 is the control.
    fn labels(cells: &[(u32, u32, u32)]) -> Labels {
        Labels {
            perturbations: vec![
                Perturbation::control(),
                Perturbation::of(["A".into()]),
                Perturbation::of(["B".into()]),
            ],
            perturbation: cells.iter().map(|cell| cell.0).collect(),
            contexts: (0..3).map(|i| format!("line{i}")).collect(),
            context: cells.iter().map(|cell| cell.1).collect(),
            batches: (0..4).map(|i| format!("batch{i}")).collect(),
            batch: cells.iter().map(|cell| cell.2).collect(),
            kinds: vec!["unknown".into()],
            kind: vec![0; cells.len()],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_partner_never_leaves_the_fold_or_the_context_and_keeps_the_batch_where_it_can(
            mut cells in prop::collection::vec((0_u32..3, 0_u32..3, 0_u32..4), 1..120),
            in_fold in prop::collection::vec(any::<bool>(), 130),
            epoch in 0_u64..4,
        ) {
            cells.extend([(0, 0, 0), (0, 1, 0), (0, 2, 0)]);
            let controls_at = cells.len() - 3;
            let rows: Vec<u64> =
                (0..cells.len()).filter(|&cell| in_fold[cell] || cell >= controls_at).map(|cell| cell as u64).collect();
            let pairing = Pairing::new(&labels(&cells), &rows, 5).unwrap();
            let mut fallback = 0;
            for &row in &rows {
                let cell = cells[row as usize];
                let partner = pairing.partner(epoch, row).unwrap();
                let control = cells[partner as usize];
                prop_assert!(rows.contains(&partner) && control.0 == 0 && control.1 == cell.1);
                let others = |batch: Option<u32>| {
                    let fits = |other: &&u64| {
                        let candidate = cells[**other as usize];
                        candidate.0 == 0 && candidate.1 == cell.1 && batch.is_none_or(|batch| candidate.2 == batch)
                    };
                    rows.iter().filter(fits).filter(|other| **other != row).count()
                };
                prop_assert!(others(Some(cell.2)) == 0 || control.2 == cell.2);
                prop_assert!(others(None) == 0 || partner != row);
                fallback += u64::from(cell.0 != 0 && others(Some(cell.2)) == 0);
            }
            let report = pairing.report();
            prop_assert_eq!(report.fallback, fallback);
            prop_assert_eq!(report.fallback_batches.iter().map(|(.., cells)| cells).sum::<u64>(), fallback);
            let perturbed = rows.iter().filter(|&&row| cells[row as usize].0 != 0).count() as u64;
            prop_assert_eq!(report.same_batch + report.fallback, perturbed);
        }
    }

    #[test]
    fn partners_depend_on_epoch_and_cell_alone_and_spread_evenly() {
        let cells: Vec<(u32, u32, u32)> = (0..300).map(|cell| (u32::from(cell >= 10), 0, 0)).collect();
        let rows: Vec<u64> = (0..300).collect();
        let pairing = Pairing::new(&labels(&cells), &rows, 9).unwrap();
        let backwards: Vec<u64> = rows.iter().rev().copied().collect();
        let mut again = pairing.partners(1, &backwards).unwrap();
        again.reverse();
        assert_eq!(pairing.partners(1, &rows).unwrap(), again);
        assert_ne!(pairing.partners(1, &rows).unwrap(), pairing.partners(2, &rows).unwrap());
        let mut drawn = [0.0_f64; 10];
        for epoch in 0..50 {
            for partner in pairing.partners(epoch, &rows[10..]).unwrap() {
                drawn[partner as usize] += 1.0;
            }
        }
        let chi2: f64 = drawn.iter().map(|count| (count - 1450.0).powi(2) / 1450.0).sum();
        assert!(chi2 < 27.9, "chi-squared {chi2} on 9 degrees of freedom");
    }

    #[test]
    fn controls_draw_each_other_evenly() {
        let cells = [(0, 0, 0); 4];
        let pairing = Pairing::new(&labels(&cells), &[0, 1, 2, 3], 1).unwrap();
        let mut drawn = [0; 4];
        (0..3000).for_each(|epoch| drawn[pairing.partner(epoch, 1).unwrap() as usize] += 1);
        assert_eq!(drawn[1], 0);
        assert!([0, 2, 3].iter().all(|&at| (900..1100).contains(&drawn[at])), "{drawn:?}");
    }

    #[test]
    fn a_context_without_controls_is_named() {
        let cells = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 1)];
        let error = Pairing::new(&labels(&cells), &[0, 1, 2, 3], 0).unwrap_err();
        assert_eq!(error, PairingError::NoControl { context: "line1".into(), cells: 2 });
        assert!(error.to_string().contains("control label"));
    }

    #[test]
    fn a_cell_outside_the_fold_is_refused() {
        let cells = [(0, 0, 0), (1, 0, 0), (1, 0, 0)];
        let pairing = Pairing::new(&labels(&cells), &[0, 1], 0).unwrap();
        assert_eq!(pairing.partner(0, 2), Err(PairingError::OutsideFold { cell: 2 }));
        assert_eq!(pairing.partner(0, 99), Err(PairingError::OutsideFold { cell: 99 }));
        assert!(Pairing::new(&labels(&cells), &[5], 0).is_err());
    }
}
