//! Bags of cells of one condition with control bags of the same batches.
//!
//! Guarantee: a bag holds no cell twice, and the control bag as many cells. Where the condition is matched, both
//! have the same number of cells of every batch: perturbed cells of batches without enough controls stay out of
//! the bag. A condition that would not fill a bag of [`MATCHED_CELLS`] in this way is not matched: it takes
//! controls of its own batches as far as they go and others of its context for the rest, and the report names it.
//! Every epoch goes through all conditions once, in a new order.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::{SamplingError, share};
use crate::labels::Labels;
use crate::permutation::Permutation;
use crate::philox::{Philox, Purpose};

/// Cells of a bag below which exact matching of batches is given up.
pub const MATCHED_CELLS: usize = 16;
/// Tells the order of the conditions from other streams of the same purpose.
const CONDITION_ORDER: u64 = 77;

/// A condition: which cells it has, as positions in the list of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Index of the perturbation; never the control.
    pub perturbation: u32,
    /// Index of the context.
    pub context: u32,
    /// Index of the kind of perturbation.
    pub kind: u32,
    /// Positions of its cells, rising.
    pub places: Vec<usize>,
    /// Whether its control bags have exactly its batches.
    pub matched: bool,
}

/// Perturbed cells of one condition and as many controls, as positions in the list of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bag {
    /// Number of the condition in [`Bags::conditions`].
    pub condition: usize,
    /// Perturbed cells.
    pub perturbed: Vec<usize>,
    /// Control cells.
    pub control: Vec<usize>,
}

/// How the conditions find their controls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BagReport {
    /// Conditions whose control bags have exactly their batches.
    pub matched: usize,
    /// Names of perturbation and context of the others, with their cells.
    pub unmatched: Vec<(String, String, usize)>,
}

/// All bags of a fold.
#[derive(Clone, Debug)]
pub struct Bags {
    conditions: Vec<Condition>,
    controls: Controls,
    batch_of: Vec<u32>,
    report: BagReport,
    size: usize,
    seed: u64,
}

/// Control cells by context and by (context, batch), as positions.
#[derive(Clone, Debug, Default)]
struct Controls {
    of_context: BTreeMap<u32, Vec<usize>>,
    of_batch: BTreeMap<(u32, u32), Vec<usize>>,
}

impl Bags {
    /// Bags of at most `size` cells out of `rows`.
    ///
    /// # Errors
    /// When `size` is 0, a row has no labels, no cell is perturbed, or a context has perturbed cells but no
    /// control.
    pub fn new(labels: &Labels, rows: &[u64], seed: u64, size: usize) -> Result<Self, SamplingError> {
        if size == 0 {
            return Err(SamplingError::Zero { setting: "size" });
        }
        let mut groups: BTreeMap<(u32, u32, u32), Vec<usize>> = BTreeMap::new();
        let mut controls = Controls::default();
        let mut batch_of = Vec::with_capacity(rows.len());
        for (place, &row) in rows.iter().enumerate() {
            let cell = row as usize;
            if cell >= labels.n_cells() {
                return Err(SamplingError::Row { row, cells: labels.n_cells() });
            }
            let (context, batch) = (labels.context[cell], labels.batch[cell]);
            batch_of.push(batch);
            if labels.is_control(cell) {
                controls.push(context, batch, place);
            } else {
                groups.entry((context, labels.perturbation[cell], labels.kind[cell])).or_default().push(place);
            }
        }
        let condition = |((context, perturbation, kind), places): ((u32, u32, u32), Vec<usize>)| {
            let matched = controls.match_batches(context, &places, &batch_of, size);
            Condition { perturbation, context, kind, places, matched }
        };
        let conditions: Vec<Condition> = groups.into_iter().map(condition).collect();
        check(&conditions, &controls, labels, rows.len())?;
        let report = BagReport::of(&conditions, labels);
        Ok(Self { conditions, controls, batch_of, report, size, seed })
    }

    /// The perturbed conditions, by context, perturbation and kind.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Positions of the control cells of a context.
    pub fn controls(&self, context: u32) -> &[usize] {
        self.controls.of_context.get(&context).map_or(&[], Vec::as_slice)
    }

    /// Which conditions are matched exactly.
    pub fn report(&self) -> &BagReport {
        &self.report
    }

    /// Bag `number` of `epoch`; an epoch has as many bags as there are conditions, and a number past its end runs
    /// on into the following ones.
    pub fn bag(&self, epoch: u64, number: u64) -> Bag {
        let number = epoch * self.conditions.len() as u64 + number;
        let condition = self.conditions_of(number..number + 1)[0];
        self.draw(condition, number)
    }

    /// The bags of rank `rank` of `world` in step `step` of a run whose steps have `count` bags each.
    ///
    /// # Errors
    /// When `world` does not divide `count`, or `rank` is not below `world`.
    pub fn rank_bags(&self, step: u64, count: usize, rank: usize, world: usize) -> Result<Vec<Bag>, SamplingError> {
        let own = share(count, rank, world)?;
        let start = step * count as u64;
        Ok(own.map(|at| self.bag(0, start + at as u64)).collect())
    }

    /// The conditions of a step of `count` bags.
    pub fn step_conditions(&self, step: u64, count: usize) -> Vec<usize> {
        let start = step * count as u64;
        self.conditions_of(start..start + count as u64)
    }

    /// The conditions of a range of bags, counted through the run.
    fn conditions_of(&self, bags: Range<u64>) -> Vec<usize> {
        let n = self.conditions.len() as u64;
        let mut order: Option<(u64, Permutation)> = None;
        let of_bag = |at: u64| {
            let epoch = at / n;
            let fresh = || {
                let mut random = Philox::new(self.seed, Purpose::Order, epoch, CONDITION_ORDER);
                (epoch, Permutation::new(n, &mut random))
            };
            let held = order.take().filter(|(held, _)| *held == epoch).unwrap_or_else(fresh);
            order.insert(held).1.get(at % n) as usize
        };
        bags.map(of_bag).collect()
    }

    /// A bag of a condition; `at` tells it from other bags of that condition.
    ///
    /// # Panics
    /// When there is no such condition.
    pub fn draw(&self, condition: usize, at: u64) -> Bag {
        let entry = &self.conditions[condition];
        let mut random = Philox::new(self.seed, Purpose::Bag, at, condition as u64);
        let size = self.size.min(entry.places.len()).min(self.controls(entry.context).len());
        let perturbed = self.draw_perturbed(&mut random, entry, size);
        let wanted = count_batches(&perturbed, &self.batch_of);
        let mut control = Vec::with_capacity(perturbed.len());
        for (batch, count) in wanted {
            let pool = self.controls.of_batch(entry.context, batch);
            control.extend(draw_distinct(&mut random, pool, count.min(pool.len())));
        }
        if control.len() < perturbed.len() {
            let drawn: HashSet<usize> = control.iter().copied().collect();
            let pool = self.controls(entry.context).iter().copied();
            let rest: Vec<usize> = pool.filter(|place| !drawn.contains(place)).collect();
            control.extend(draw_distinct(&mut random, &rest, perturbed.len() - control.len()));
        }
        Bag { condition, perturbed, control }
    }

    /// Up to `size` cells; of a matched condition no more of a batch than it has controls.
    fn draw_perturbed(&self, random: &mut Philox, condition: &Condition, size: usize) -> Vec<usize> {
        let room = |batch| {
            let controls = self.controls.of_batch(condition.context, batch).len();
            if condition.matched { controls } else { usize::MAX }
        };
        let mut left: BTreeMap<u32, usize> = BTreeMap::new();
        let fits = |place: &usize| {
            let batch = self.batch_of[*place];
            let left = left.entry(batch).or_insert_with(|| room(batch));
            let fits = *left > 0;
            *left -= usize::from(fits);
            fits
        };
        shuffled(random, &condition.places).filter(fits).take(size).collect()
    }
}

impl Controls {
    fn push(&mut self, context: u32, batch: u32, place: usize) {
        self.of_context.entry(context).or_default().push(place);
        self.of_batch.entry((context, batch)).or_default().push(place);
    }

    fn of_batch(&self, context: u32, batch: u32) -> &[usize] {
        self.of_batch.get(&(context, batch)).map_or(&[], Vec::as_slice)
    }

    /// Whether a bag with exactly matched batches is large enough.
    fn match_batches(&self, context: u32, places: &[usize], batch_of: &[u32], size: usize) -> bool {
        let of_batch = |(batch, cells): (u32, usize)| cells.min(self.of_batch(context, batch).len());
        let matched: usize = count_batches(places, batch_of).into_iter().map(of_batch).sum();
        matched >= MATCHED_CELLS.min(size).min(places.len())
    }
}

impl BagReport {
    fn of(conditions: &[Condition], labels: &Labels) -> Self {
        let name = |condition: &Condition| {
            let perturbation = labels.perturbations[condition.perturbation as usize].name.clone();
            (perturbation, labels.contexts[condition.context as usize].clone(), condition.places.len())
        };
        let unmatched: Vec<_> = conditions.iter().filter(|condition| !condition.matched).map(name).collect();
        Self { matched: conditions.len() - unmatched.len(), unmatched }
    }
}

fn check(conditions: &[Condition], controls: &Controls, labels: &Labels, cells: usize) -> Result<(), SamplingError> {
    if conditions.is_empty() {
        return Err(SamplingError::NoPerturbed { cells });
    }
    let Some(lost) = conditions.iter().find(|condition| !controls.of_context.contains_key(&condition.context)) else {
        return Ok(());
    };
    let of_context = conditions.iter().filter(|condition| condition.context == lost.context);
    let cells = of_context.map(|condition| condition.places.len()).sum();
    Err(SamplingError::NoControl { context: labels.contexts[lost.context as usize].clone(), cells })
}

pub(super) fn count_batches(places: &[usize], batch_of: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for &place in places {
        *counts.entry(batch_of[place]).or_default() += 1;
    }
    counts
}

/// The items in random order, drawn as they are asked for (Fisher–Yates from the front).
fn shuffled<'a>(random: &'a mut Philox, from: &[usize]) -> impl Iterator<Item = usize> + use<'a> {
    let mut pool = from.to_vec();
    (0..pool.len()).map(move |at| {
        let other = at + random.below((pool.len() - at) as u64) as usize;
        pool.swap(at, other);
        pool[at]
    })
}

/// `count` distinct items.
fn draw_distinct(random: &mut Philox, from: &[usize], count: usize) -> Vec<usize> {
    shuffled(random, from).take(count).collect()
}
