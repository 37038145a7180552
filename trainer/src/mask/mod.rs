//! Masks: which genes of a cell its student does not see, and its teacher does.
//!
//! Guarantee: what is masked follows from (seed, step, cell) and from which genes are expressed, never from their values.
//! Blocks are disjoint, and the context is what is in none of them.

mod random_blocks;

use std::fmt;

use syncyte_sharding::philox::Philox;
use toml::Table;

pub use random_blocks::RandomBlocks;

use crate::component::{Member, Role};

/// Chooses the genes that are masked.
pub trait Masker: fmt::Debug + Send + Sync {
    /// Blocks of a cell.
    fn blocks(&self) -> usize;

    /// Share of the expressed genes that the blocks hold together, about.
    fn share(&self) -> f64;

    /// The blocks of a cell with these expressed genes.
    fn draw(&self, random: &mut Philox, genes: &[u32]) -> Vec<Vec<u32>>;
}

impl Role for dyn Masker {
    const SECTION: &'static str = "objective.tasks.mask";
    type Build = fn(&Table) -> Result<Box<dyn Masker>, String>;

    fn table() -> &'static [Member<Self>] {
        static TABLE: &[Member<dyn Masker>] =
            &[Member::<dyn Masker>::new::<RandomBlocks>("random_blocks", "M1", random_blocks::build)];
        TABLE
    }
}
