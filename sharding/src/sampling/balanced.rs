//! Batches balanced by perturbation, the control counted as one.
//!
//! Guarantee: the slots of all batches of a run, in order, go round the perturbations: each round holds every
//! perturbation once, in an order of its own, so after any number of slots no perturbation is ahead of another by
//! more than one cell. The cells of a perturbation come without replacement: all of them once, in random order,
//! then all again in another. Both are keyed permutations, so a batch costs no table and depends on nothing asked
//! before.

use std::collections::BTreeMap;

use super::{SamplingError, share};
use crate::labels::Labels;
use crate::permutation::Permutation;
use crate::philox::{Philox, Purpose};

/// Tells the order of a round from the order of cells, whose second key is a perturbation.
const ROUND_ORDER: u64 = u64::MAX;

/// Batches in which all perturbations have equal shares.
#[derive(Clone, Debug)]
pub struct Balanced {
    seed: u64,
    batch: usize,
    n_rows: usize,
    /// Perturbation, and the positions of its cells in the list of rows.
    groups: Vec<(u32, Vec<u64>)>,
}

impl Balanced {
    /// Batches of `batch` cells out of `rows`.
    ///
    /// # Errors
    /// When `batch` is 0, a row has no labels, or no cell is perturbed.
    pub fn new(labels: &Labels, rows: &[u64], batch: usize, seed: u64) -> Result<Self, SamplingError> {
        if batch == 0 {
            return Err(SamplingError::Zero { setting: "batch" });
        }
        let mut groups: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (place, &row) in (0_u64..).zip(rows) {
            let perturbation = labels.perturbation.get(row as usize);
            let &perturbation = perturbation.ok_or(SamplingError::Row { row, cells: labels.n_cells() })?;
            groups.entry(perturbation).or_default().push(place);
        }
        if groups.keys().all(|&perturbation| perturbation == 0) {
            return Err(SamplingError::NoPerturbed { cells: rows.len() });
        }
        Ok(Self { seed, batch, n_rows: rows.len(), groups: groups.into_iter().collect() })
    }

    /// The perturbations that take part, the control among them where it has cells; rising.
    pub fn perturbations(&self) -> impl Iterator<Item = u32> {
        self.groups.iter().map(|(perturbation, _)| *perturbation)
    }

    /// Batches of an epoch: as many as would hold every row once, and at least one.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.n_rows / self.batch).max(1) as u64
    }

    /// Global batch `step` of `epoch`, as positions in the list of rows. A step past the end of the epoch runs on
    /// into the following ones.
    pub fn batch(&self, epoch: u64, step: u64) -> Vec<u64> {
        self.slots(epoch, step, 0, self.batch)
    }

    /// The part of rank `rank` of `world` in a global batch: its slice of the slots.
    ///
    /// # Errors
    /// When `world` does not divide the batch, or `rank` is not below `world`.
    pub fn rank_batch(&self, epoch: u64, step: u64, rank: usize, world: usize) -> Result<Vec<u64>, SamplingError> {
        let own = share(self.batch, rank, world)?;
        Ok(self.slots(epoch, step, own.start, own.len()))
    }

    fn slots(&self, epoch: u64, step: u64, from: usize, count: usize) -> Vec<u64> {
        let n = self.groups.len() as u64;
        let first = (epoch * self.steps_per_epoch() + step) * self.batch as u64 + from as u64;
        let slots = first..first + count as u64;
        let mut places = Vec::with_capacity(count);
        for round in slots.start / n..slots.end.div_ceil(n) {
            let order = Permutation::new(n, &mut Philox::new(self.seed, Purpose::Balance, round, ROUND_ORDER));
            let of_round = slots.start.max(round * n)..slots.end.min((round + 1) * n);
            // A perturbation comes once a round, so the number of the round counts its cells.
            places.extend(of_round.map(|slot| self.cell(order.get(slot % n) as usize, round)));
        }
        places
    }

    /// The `number`-th cell that a group gives.
    fn cell(&self, group: usize, number: u64) -> u64 {
        let (perturbation, places) = &self.groups[group];
        let n = places.len() as u64;
        let mut random = Philox::new(self.seed, Purpose::Balance, number / n, u64::from(*perturbation));
        places[Permutation::new(n, &mut random).get(number % n) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::{Balanced, SamplingError};
    use crate::trial;

    /// Cells of the control and of three perturbations, `sizes` of each, in turn as long as they last.
    fn perturbations(sizes: [usize; 4]) -> Vec<u32> {
        let longest = sizes.into_iter().max().unwrap_or_default();
        let turn = |at| (0_u32..4).filter(move |&label| at < sizes[label as usize]);
        (0..longest).flat_map(turn).collect()
    }

    fn balanced(sizes: [usize; 4], batch: usize) -> Balanced {
        let perturbation = perturbations(sizes);
        let rows: Vec<u64> = (0..perturbation.len() as u64).collect();
        Balanced::new(&trial::labels(&["A", "B", "C"], perturbation), &rows, batch, 3).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn perturbations_have_equal_shares_and_cells_come_without_replacement(
            sizes in [0_usize..40, 1..40, 1..40, 1..40],
            batch in 1_usize..30,
            steps in 1_u64..60,
        ) {
            let (plan, label) = (balanced(sizes, batch), perturbations(sizes));
            let places: Vec<u64> = (0..steps).flat_map(|step| plan.batch(0, step)).collect();
            prop_assert_eq!(places.len() as u64, steps * batch as u64);
            let of_label = |wanted: u32| places.iter().copied().filter(move |&place| label[place as usize] == wanted);
            let shares: Vec<usize> = plan.perturbations().map(|wanted| of_label.clone()(wanted).count()).collect();
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{:?}", shares);
            for wanted in plan.perturbations() {
                let cells: Vec<u64> = of_label.clone()(wanted).collect();
                for pass in cells.chunks(sizes[wanted as usize]) {
                    prop_assert_eq!(pass.iter().collect::<HashSet<_>>().len(), pass.len());
                }
            }
        }

        #[test]
        fn the_ranks_together_serve_the_global_batch(sizes in [1_usize..40, 1..40, 1..40, 1..40], step in 0_u64..500) {
            let plan = balanced(sizes, 24);
            let whole = plan.batch(1, step);
            for world in [1, 2, 3, 4, 6, 8, 12, 24] {
                let ranks = (0..world).flat_map(|rank| plan.rank_batch(1, step, rank, world).unwrap());
                prop_assert_eq!(&ranks.collect::<Vec<_>>(), &whole, "world {}", world);
            }
        }
    }

    #[test]
    fn rounds_and_passes_are_shuffled_anew() {
        let plan = balanced([5, 5, 5, 5], 20);
        let (first, second) = (plan.batch(0, 0), plan.batch(0, 1));
        assert_ne!(first, second);
        let all: HashSet<u64> = first.iter().copied().collect();
        assert_eq!(all.len(), 20);
        let order =
            |batch: &[u64]| batch.chunks(4).map(|round| round.iter().map(|place| place % 4).collect()).collect();
        let rounds: Vec<Vec<u64>> = order(&first);
        assert!(rounds.windows(2).any(|pair| pair[0] != pair[1]));
        assert_eq!(plan.batch(0, plan.steps_per_epoch()), plan.batch(1, 0));
    }

    #[test]
    fn what_cannot_be_drawn_is_named() {
        let labels = trial::labels(&["A"], vec![0, 0, 1]);
        let make = |rows: &[u64], batch| Balanced::new(&labels, rows, batch, 0).unwrap_err();
        assert_eq!(make(&[0, 1], 4), SamplingError::NoPerturbed { cells: 2 });
        assert_eq!(make(&[0, 7], 4), SamplingError::Row { row: 7, cells: 3 });
        assert_eq!(make(&[0, 2], 0), SamplingError::Zero { setting: "batch" });
        let plan = balanced([2, 2, 2, 2], 6);
        assert_eq!(plan.rank_batch(0, 0, 1, 4), Err(SamplingError::Ranks { count: 6, rank: 1, world: 4 }));
    }
}
