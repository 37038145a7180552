//! Who is who: condition, context, batch, guide, dose and time of every cell.
//!
//! Guarantee: a pure function of the configuration. Without confounding every condition has its share of the cells of
//! every batch and context to within one cell, and of each guide to within two; batches lie one after the other, as
//! lanes are sequenced, and inside a batch the conditions are shuffled.

use crate::labels::{Labels, Perturbation};

use super::config::SynthConfig;
use super::course::Setting;
use super::effect::GUIDES;
use super::lines::Line;
use super::stream::{Part, stream};

/// Where a cell stands in the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) condition: usize,
    pub(super) context: usize,
    pub(super) batch: usize,
    pub(super) guide: usize,
    pub(super) setting: usize,
}

/// Assignment of every cell.
pub(super) struct Design {
    condition: Vec<u32>,
    context: Vec<u32>,
    batch: Vec<u32>,
    /// Guide and setting in one number.
    treatment: Vec<u16>,
}

impl Design {
    pub(super) fn plant(config: &SynthConfig, settings: &[Setting]) -> Self {
        let controls = config.control_cells();
        let perturbations = config.perturbations();
        let (batches, contexts, treatments) = (config.batches, config.contexts, GUIDES * settings.len());
        // Rounds through batches and contexts shift the treatment by what brings every treatment to every batch.
        let round = batches * contexts;
        let shift = (1..=treatments).find(|shift| coprime(round + shift, treatments)).unwrap_or(1);
        let mut decks: Vec<Vec<(u32, u32, u16)>> = vec![Vec::new(); batches];
        for at in 0..config.cells {
            let (condition, visit) = match at.checked_sub(controls) {
                None => (0, at),
                Some(perturbed) => (1 + perturbed % perturbations, perturbed / perturbations),
            };
            // Starting every condition at another batch keeps the batches equally large.
            let stratum = visit + condition;
            let context = stratum / batches % contexts;
            let treatment = (stratum + stratum / round * shift) % treatments;
            let batch = if condition > 0 && confounded(config, visit) { condition } else { stratum } % batches;
            decks[batch].push((condition as u32, context as u32, treatment as u16));
        }
        let mut design = Self { condition: Vec::new(), context: Vec::new(), batch: Vec::new(), treatment: Vec::new() };
        for (batch, deck) in decks.iter_mut().enumerate() {
            stream(config.seed, Part::Design, batch).shuffle(deck);
            for &(condition, context, treatment) in deck.iter() {
                design.condition.push(condition);
                design.context.push(context);
                design.batch.push(batch as u32);
                design.treatment.push(treatment);
            }
        }
        design
    }

    /// Number of cells.
    pub(super) fn cells(&self) -> usize {
        self.condition.len()
    }

    /// Where a cell stands.
    pub(super) fn place(&self, cell: usize) -> Place {
        let treatment = usize::from(self.treatment[cell]);
        Place {
            condition: self.condition[cell] as usize,
            context: self.context[cell] as usize,
            batch: self.batch[cell] as usize,
            guide: treatment % GUIDES,
            setting: treatment / GUIDES,
        }
    }

    /// The labels of the store.
    pub(super) fn labels(self, config: &SynthConfig, lines: &[Line], perturbations: Vec<Perturbation>) -> Labels {
        let cells = self.condition.len();
        Labels {
            perturbations,
            perturbation: self.condition,
            contexts: lines.iter().map(|line| line.name.clone()).collect(),
            context: self.context,
            batches: (1..=config.batches).map(|lane| format!("lane{lane}")).collect(),
            batch: self.batch,
            kinds: vec![if config.activation { "CRISPRa" } else { "CRISPRi" }.into()],
            kind: vec![0; cells],
        }
    }
}

/// Whether a visit to a condition is one of those that the condition's own batch takes.
fn confounded(config: &SynthConfig, visit: usize) -> bool {
    let taken = |visits: usize| (visits as f64 * config.confounding).floor();
    taken(visit + 1) > taken(visit)
}

fn coprime(a: usize, b: usize) -> bool {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{Design, Place};
    use crate::synth::course::Setting;
    use crate::synth::{Preset, SynthConfig, World};

    fn plant(config: &SynthConfig, settings: usize) -> Vec<Place> {
        let design = Design::plant(config, &vec![Setting { dose: None, time: None }; settings]);
        (0..design.cells()).map(|cell| design.place(cell)).collect()
    }

    /// Cells of every condition by a key.
    fn counts(places: &[Place], keys: usize, key: impl Fn(&Place) -> usize) -> HashMap<usize, Vec<usize>> {
        let mut counts: HashMap<usize, Vec<usize>> = HashMap::new();
        for place in places {
            counts.entry(place.condition).or_insert_with(|| vec![0; keys])[key(place)] += 1;
        }
        counts
    }

    fn spread(counts: &[usize]) -> usize {
        counts.iter().max().unwrap() - counts.iter().min().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_condition_has_its_share_of_every_batch_guide_and_setting(
            cells in 1_500_usize..4_000, batches in 1_usize..5, contexts in 1_usize..3, settings in 1_usize..7,
            seed: u64
        ) {
            let demo = SynthConfig::preset(Preset::Demo, World::W2, seed);
            let config = SynthConfig { cells, contexts, batches, ..demo };
            prop_assert!(config.validate().is_ok());
            let places = plant(&config, settings);
            prop_assert_eq!(places.len(), cells);
            prop_assert!(places.is_sorted_by_key(|place| place.batch));
            let strata = counts(&places, batches * contexts, |place| place.batch * contexts + place.context);
            prop_assert_eq!(strata.len(), 1 + config.perturbations());
            for row in strata.values() {
                prop_assert!(spread(row) <= 1, "{:?}", row);
            }
            let totals: Vec<usize> = strata.iter().filter(|(at, _)| **at > 0).map(|(_, row)| row.iter().sum()).collect();
            prop_assert!(spread(&totals) <= 1);
            // The control, with hundreds of cells, meets every guide and setting in every batch.
            let joint = counts(&places, batches * 2 * settings, |place| {
                (place.batch * 2 + place.guide) * settings + place.setting
            });
            if joint[&0].iter().sum::<usize>() >= 2 * joint[&0].len() * contexts {
                prop_assert!(joint[&0].iter().all(|&cells| cells > 0), "{:?}", joint[&0]);
            }
            let guides = counts(&places, 2, |place| place.guide);
            for row in guides.values() {
                prop_assert!(spread(row) <= 2, "{:?}", row);
            }
        }
    }

    #[test]
    fn confounding_ties_conditions_to_batches() {
        let share_of_largest = |confounding: f64| {
            let config = SynthConfig { confounding, ..SynthConfig::preset(Preset::Demo, World::W2, 1) };
            let counts = counts(&plant(&config, 1), 3, |place| place.batch);
            let row = &counts[&7];
            *row.iter().max().unwrap() as f64 / row.iter().sum::<usize>() as f64
        };
        assert!((share_of_largest(0.0) - 1.0 / 3.0).abs() < 0.02);
        assert!((share_of_largest(0.6) - (0.6 + 0.4 / 3.0)).abs() < 0.03);
        assert!((share_of_largest(1.0) - 1.0).abs() < 1e-12);
    }
}
