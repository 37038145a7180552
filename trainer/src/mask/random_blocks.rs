//! M1: random blocks of the expressed genes.
//!
//! Of `n` expressed genes `max(K·min_target, ⌊ratio·n⌋)` are masked, but so many that a share of `min_context` stays; they are
//! dealt to `K` blocks of about one size.

use serde::{Deserialize, Serialize};
use syncyte_sharding::philox::Philox;
use toml::Table;

use super::Masker;
use crate::component::{Settings, read};
use crate::reader::chosen;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomBlocks {
    /// Share of the expressed genes that is masked.
    pub ratio: f64,
    /// Blocks, `K`.
    pub blocks: usize,
    /// Genes of a block at least, where the cell has enough.
    pub min_target: usize,
    /// Share of the expressed genes that the student sees at least.
    pub min_context: f64,
}

impl Default for RandomBlocks {
    fn default() -> Self {
        Self { ratio: 0.45, blocks: 4, min_target: 4, min_context: 0.25 }
    }
}

impl Settings for RandomBlocks {
    fn check(&self) -> Result<(), String> {
        for (key, share) in [("ratio", self.ratio), ("min_context", self.min_context)] {
            if !(share > 0.0 && share < 1.0) {
                return Err(format!("{key} = {share} must lie in (0, 1)"));
            }
        }
        if self.blocks > 0 { Ok(()) } else { Err("blocks = 0; at least one block is predicted".into()) }
    }
}

pub(super) fn build(table: &Table) -> Result<Box<dyn Masker>, String> {
    Ok(Box::new(read::<RandomBlocks>(table)?))
}

impl RandomBlocks {
    /// Genes that are masked of so many.
    fn masked(&self, n: usize) -> usize {
        let kept = (self.min_context * n as f64).ceil() as usize;
        let wanted = (self.blocks * self.min_target).max((self.ratio * n as f64).floor() as usize);
        wanted.min(n - kept.min(n))
    }
}

impl Masker for RandomBlocks {
    fn blocks(&self) -> usize {
        self.blocks
    }

    fn share(&self) -> f64 {
        self.ratio
    }

    fn draw(&self, random: &mut Philox, genes: &[u32]) -> Vec<Vec<u32>> {
        let masked = self.masked(genes.len());
        let drawn = chosen(random, genes.len(), masked);
        let block = |k: usize| {
            let own = masked * k / self.blocks..masked * (k + 1) / self.blocks;
            let mut block: Vec<u32> = drawn[own].iter().map(|&at| genes[at]).collect();
            block.sort_unstable();
            block
        };
        (0..self.blocks).map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use syncyte_sharding::philox::Purpose;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn blocks_are_disjoint_near_equal_and_leave_a_context(
            n in 0_u32..600, blocks in 1_usize..9, ratio in 0.05_f64..0.95, cell in any::<u64>(),
        ) {
            let mask = RandomBlocks { ratio, blocks, ..RandomBlocks::default() };
            let genes: Vec<u32> = (0..n).map(|gene| 7 * gene + 3).collect();
            let drawn = mask.draw(&mut Philox::new(1, Purpose::Mask, cell, 4), &genes);
            prop_assert_eq!(drawn.len(), blocks);
            let mut all: Vec<u32> = drawn.concat();
            all.sort_unstable();
            let masked = all.len();
            all.dedup();
            prop_assert_eq!(all.len(), masked, "no gene is in two blocks");
            prop_assert!(all.iter().all(|gene| genes.contains(gene)));
            prop_assert_eq!(masked, mask.masked(n as usize));
            prop_assert!(genes.len() - masked >= (0.25 * f64::from(n)).floor() as usize);
            let sizes: Vec<usize> = drawn.iter().map(Vec::len).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
        }
    }

    #[test]
    fn every_gene_is_masked_as_often_as_any_other_and_the_share_is_exact() {
        let mask = RandomBlocks::default();
        let genes: Vec<u32> = (0..40).collect();
        let mut counts = [0_u32; 40];
        let cells = 20_000;
        for cell in 0..cells {
            let drawn = mask.draw(&mut Philox::new(5, Purpose::Mask, cell, 0), &genes).concat();
            assert_eq!(drawn.len(), 18, "⌊0.45·40⌋");
            for gene in drawn {
                counts[gene as usize] += 1;
            }
        }
        let wanted = cells as f64 * 18.0 / 40.0;
        // Draws without replacement vary less than independent ones: chi-squared of 39 degrees is above 72 once in a thousand.
        let chi: f64 = counts.iter().map(|&n| (f64::from(n) - wanted).powi(2) / wanted).sum();
        assert!(chi < 72.0, "{counts:?}");
    }
}
