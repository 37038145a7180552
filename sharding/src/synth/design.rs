//! Who is who: condition, context and batch of every cell.
//!
//! Guarantee: a pure function of the configuration. Every condition has its share of the cells of every batch and
//! context to within one cell; batches lie one after the other, as lanes are sequenced, and inside a batch the
//! conditions are shuffled.

use crate::labels::{Labels, Perturbation};

use super::config::SynthConfig;
use super::stream::{Part, stream};

/// Assignment of every cell.
pub(super) struct Design {
    pub(super) condition: Vec<u32>,
    pub(super) context: Vec<u32>,
    pub(super) batch: Vec<u32>,
}

impl Design {
    pub(super) fn plant(config: &SynthConfig) -> Self {
        let controls = config.control_cells();
        let perturbations = config.perturbations();
        // Perturbed cells in turn; cell `at` of a stratum-free deck, dealt to the batches in turn.
        let condition_of = |at: usize| if at < controls { 0 } else { 1 + (at - controls) % perturbations };
        let visit_of = |at: usize| if at < controls { at } else { (at - controls) / perturbations };
        let mut decks: Vec<Vec<(u32, u32)>> = vec![Vec::new(); config.batches];
        for at in 0..config.cells {
            let (condition, visit) = (condition_of(at), visit_of(at));
            // Starting every condition at another batch keeps the batches equally large.
            let stratum = visit + condition;
            let context = stratum / config.batches % config.contexts;
            decks[stratum % config.batches].push((condition as u32, context as u32));
        }
        let mut design = Self { condition: Vec::new(), context: Vec::new(), batch: Vec::new() };
        for (batch, deck) in decks.iter_mut().enumerate() {
            stream(config.seed, Part::Design, batch).shuffle(deck);
            for &(condition, context) in deck.iter() {
                design.condition.push(condition);
                design.context.push(context);
                design.batch.push(batch as u32);
            }
        }
        design
    }

    /// The labels of the store.
    pub(super) fn labels(self, config: &SynthConfig, perturbations: Vec<Perturbation>) -> Labels {
        let cells = self.condition.len();
        Labels {
            perturbations,
            perturbation: self.condition,
            contexts: context_names(config.contexts),
            context: self.context,
            batches: (1..=config.batches).map(|lane| format!("lane{lane}")).collect(),
            batch: self.batch,
            kinds: vec!["CRISPRi".into()],
            kind: vec![0; cells],
        }
    }
}

/// Names of the contexts.
pub(super) fn context_names(contexts: usize) -> Vec<String> {
    (1..=contexts).map(|line| format!("line{line}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Design;
    use crate::synth::config::{Preset, SynthConfig, World};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_condition_has_its_share_of_every_batch(
            cells in 1_500_usize..4_000, batches in 1_usize..5, contexts in 1_usize..3, seed: u64
        ) {
            let demo = SynthConfig::preset(Preset::Demo, World::W2, seed);
            let config = SynthConfig { cells, contexts, batches, ..demo };
            prop_assert!(config.validate().is_ok());
            let design = Design::plant(&config);
            prop_assert_eq!(design.condition.len(), cells);
            prop_assert!(design.batch.is_sorted());
            let strata = batches * contexts;
            let mut counts = vec![vec![0_usize; strata]; 1 + config.perturbations()];
            for cell in 0..cells {
                let stratum = design.batch[cell] as usize * contexts + design.context[cell] as usize;
                counts[design.condition[cell] as usize][stratum] += 1;
            }
            for row in &counts {
                let (least, most) = (row.iter().min().unwrap(), row.iter().max().unwrap());
                prop_assert!(most - least <= 1, "{:?}", row);
            }
            let totals: Vec<usize> = counts[1..].iter().map(|row| row.iter().sum()).collect();
            prop_assert!(totals.iter().max().unwrap() - totals.iter().min().unwrap() <= 1);
        }
    }
}
