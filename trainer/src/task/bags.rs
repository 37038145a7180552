//! Bags of cells of one condition with control bags of the same batches (D12).
//!
//! Guarantee: a bag holds no cell twice; the control bag has the same number of cells of each batch as the
//! perturbed bag wherever the batch has that many controls, and falls back to the context otherwise. Which bags
//! a step has is a pure function of (seed, step); ranks share its conditions.

use std::collections::BTreeMap;

use syncyte_sharding::labels::Labels;
use syncyte_sharding::philox::{Philox, Purpose};

use super::TaskError;

/// A condition of the training fold: where its cells are in the list of training cells.
#[derive(Clone, Debug)]
pub struct TrainCondition {
    /// Index of the perturbation; 0 is the control.
    pub perturbation: u32,
    /// Index of the context.
    pub context: u32,
    /// Index of the kind of perturbation.
    pub kind: u32,
    /// Places of its cells in the list of training cells.
    pub places: Vec<usize>,
}

/// Perturbed cells of one condition and as many controls, as places in the list of training cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bag {
    /// Number of the condition in [`Bags::conditions`].
    pub condition: usize,
    /// Perturbed cells.
    pub perturbed: Vec<usize>,
    /// Control cells.
    pub control: Vec<usize>,
}

/// All conditions of the training fold.
pub struct Bags {
    /// Perturbed conditions.
    pub conditions: Vec<TrainCondition>,
    /// Control cells of each context.
    controls: BTreeMap<u32, Vec<usize>>,
    /// Control cells of each (context, batch).
    by_batch: BTreeMap<(u32, u32), Vec<usize>>,
    batch_of: Vec<u32>,
    seed: u64,
}

impl Bags {
    /// Groups the training cells `rows`.
    ///
    /// # Errors
    /// When there is no perturbed condition, or one without controls in its context.
    pub fn new(labels: &Labels, rows: &[u64], seed: u64) -> Result<Self, TaskError> {
        let mut groups: BTreeMap<(u32, u32, u32), Vec<usize>> = BTreeMap::new();
        let (mut controls, mut by_batch) = (BTreeMap::<_, Vec<usize>>::new(), BTreeMap::<_, Vec<usize>>::new());
        let mut batch_of = Vec::with_capacity(rows.len());
        for (place, &row) in rows.iter().enumerate() {
            let cell = row as usize;
            let (context, batch) = (labels.context[cell], labels.batch[cell]);
            batch_of.push(batch);
            if labels.is_control(cell) {
                controls.entry(context).or_default().push(place);
                by_batch.entry((context, batch)).or_default().push(place);
            } else {
                groups.entry((context, labels.perturbation[cell], labels.kind[cell])).or_default().push(place);
            }
        }
        let conditions: Vec<_> = groups
            .into_iter()
            .map(|((context, perturbation, kind), places)| TrainCondition { perturbation, context, kind, places })
            .collect();
        if conditions.is_empty() {
            return Err(TaskError::Invalid("the training fold has no perturbed cells".into()));
        }
        if let Some(lost) = conditions.iter().find(|c| !controls.contains_key(&c.context)) {
            return Err(TaskError::Invalid(format!(
                "context `{}` has perturbed cells but no control in the training fold",
                labels.contexts[lost.context as usize]
            )));
        }
        Ok(Self { conditions, controls, by_batch, batch_of, seed })
    }

    /// Control cells of a context in the training fold.
    pub fn controls(&self, context: u32) -> &[usize] {
        self.controls.get(&context).map_or(&[], Vec::as_slice)
    }

    /// The conditions of a step over all ranks: each epoch goes through all of them in a new order.
    pub fn step_conditions(&self, step: u64, count: usize) -> Vec<usize> {
        let n = self.conditions.len() as u64;
        (0..count as u64)
            .map(|i| {
                let at = step * count as u64 + i;
                let mut order: Vec<usize> = (0..n as usize).collect();
                Philox::new(self.seed, Purpose::Order, at / n, 77).shuffle(&mut order);
                order[(at % n) as usize]
            })
            .collect()
    }

    /// The bag of a condition in a step, of at most `size` cells.
    pub fn draw(&self, condition: usize, step: u64, size: usize) -> Bag {
        let entry = &self.conditions[condition];
        let mut random = Philox::new(self.seed, Purpose::Bag, step, condition as u64);
        let size = size.min(entry.places.len()).min(self.controls(entry.context).len());
        let perturbed = draw_distinct(&mut random, &entry.places, size);
        let mut wanted: BTreeMap<u32, usize> = BTreeMap::new();
        for &place in &perturbed {
            *wanted.entry(self.batch_of[place]).or_default() += 1;
        }
        let mut control = Vec::with_capacity(size);
        for (batch, count) in wanted {
            let pool = self.by_batch.get(&(entry.context, batch)).map_or(&[][..], Vec::as_slice);
            control.extend(draw_distinct(&mut random, pool, count.min(pool.len())));
        }
        if control.len() < size {
            let rest: Vec<usize> =
                self.controls(entry.context).iter().copied().filter(|place| !control.contains(place)).collect();
            control.extend(draw_distinct(&mut random, &rest, size - control.len()));
        }
        Bag { condition, perturbed, control }
    }
}

/// `count` distinct items by a partial Fisher–Yates shuffle.
fn draw_distinct(random: &mut Philox, from: &[usize], count: usize) -> Vec<usize> {
    let mut pool = from.to_vec();
    for i in 0..count {
        let j = i + random.below((pool.len() - i) as u64) as usize;
        pool.swap(i, j);
    }
    pool.truncate(count);
    pool
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use syncyte_sharding::labels::Perturbation;

    use super::*;

    fn labels(cells: usize) -> Labels {
        let gene = |g: &str| Perturbation::of([g.to_owned()]);
        Labels {
            perturbations: vec![Perturbation::control(), gene("A"), gene("B")],
            perturbation: (0..cells as u32).map(|i| i % 3).collect(),
            contexts: vec!["all".into()],
            context: vec![0; cells],
            batches: vec!["b0".into(), "b1".into()],
            batch: (0..cells as u32).map(|i| (i / 3) % 2).collect(),
            kinds: vec!["CRISPRi".into()],
            kind: vec![0; cells],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bags_hold_no_cell_twice_and_match_batches(cells in 12_usize..200, step in 0_u64..50, size in 2_usize..20) {
            let labels = labels(cells);
            let rows: Vec<u64> = (0..cells as u64).collect();
            let bags = Bags::new(&labels, &rows, 9).unwrap();
            for condition in bags.step_conditions(step, 2) {
                let bag = bags.draw(condition, step, size);
                prop_assert_eq!(bag.perturbed.len(), bag.control.len());
                prop_assert_eq!(bag.control.iter().collect::<BTreeSet<_>>().len(), bag.control.len());
                prop_assert_eq!(bag.perturbed.iter().collect::<BTreeSet<_>>().len(), bag.perturbed.len());
                prop_assert!(bag.control.iter().all(|&p| labels.is_control(p)));
                prop_assert_eq!(&bag, &bags.draw(condition, step, size));
            }
        }
    }

    #[test]
    fn an_epoch_of_steps_visits_every_condition() {
        let labels = labels(60);
        let rows: Vec<u64> = (0..60).collect();
        let bags = Bags::new(&labels, &rows, 9).unwrap();
        let mut seen: Vec<usize> = (0..2).flat_map(|step| bags.step_conditions(step, 1)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
    }
}
