//! Fractional counts made whole: those of tools that subtract ambient RNA or share reads between genes.
//!
//! Guarantee: what a value becomes follows from the value, its cell and its gene alone, not from blocks, threads or what
//! else is imported.

use crate::csr::Csr;
use crate::philox::{Philox, Purpose};
use crate::store::Rounding;

/// Rounds a block whose first row is the cell `first` of the import. What becomes 0 stays as a stored zero.
pub(super) fn apply(rounding: Rounding, first: usize, block: &mut Csr) {
    for row in 0..block.n_rows() {
        for at in block.indptr[row]..block.indptr[row + 1] {
            let value = block.values[at];
            if value.fract() != 0.0 {
                block.values[at] = round(rounding, value, (first + row) as u64, block.indices[at]);
            }
        }
    }
}

fn round(rounding: Rounding, value: f32, cell: u64, gene: u32) -> f32 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Stochastic => {
            let up = Philox::new(0, Purpose::Rounding, cell, gene.into()).next_f64() < f64::from(value.fract());
            value.floor() + f32::from(u8::from(up))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stochastic_rounding_keeps_the_mean_and_does_not_depend_on_blocks() {
        let (cells, genes) = (2000, 5);
        let value = |gene: u32| 0.3 + gene as f32;
        let block = |rows: std::ops::Range<usize>| {
            let mut block = Csr::empty(genes);
            for _ in rows.clone() {
                block.indices.extend(0..genes as u32);
                block.values.extend((0..genes as u32).map(value));
                block.indptr.push(block.indices.len());
            }
            apply(Rounding::Stochastic, rows.start, &mut block);
            block.values
        };
        let whole = block(0..cells);
        assert!(whole.iter().all(|value| value.fract() == 0.0));
        assert_eq!(whole[700 * genes..900 * genes], block(700..900)[..]);
        for gene in 0..genes {
            let mean = whole.iter().skip(gene).step_by(genes).sum::<f32>() / cells as f32;
            assert!((mean - value(gene as u32)).abs() < 0.04, "{mean} of gene {gene}");
        }
    }

    #[test]
    fn the_nearest_whole_number_is_that_of_numpy() {
        let round = |value| round(Rounding::Nearest, value, 0, 0);
        assert_eq!([0.5, 1.5, 2.5, 2.51, 0.49].map(round), [0.0, 2.0, 2.0, 3.0, 0.0]);
    }
}
