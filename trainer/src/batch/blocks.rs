//! Blocks of genes that a predictor is asked for.

use tch::{Device, Kind, Tensor};

use crate::device::moved;

/// The same number of blocks for every cell, padded at the end to the largest.
#[derive(Debug)]
pub struct Blocks {
    /// Places of the genes in the vocabulary `[B, K, M]`, 0 in the padding.
    pub genes: Tensor,
    /// Which of them are there `[B, K, M]`.
    pub mask: Tensor,
}

impl Blocks {
    /// Of cells with as many blocks each.
    pub fn of(cells: &[Vec<Vec<u32>>]) -> Self {
        let blocks = cells.first().map_or(0, Vec::len);
        let largest = cells.iter().flatten().map(Vec::len).max().unwrap_or(0);
        let n = cells.len() * blocks * largest;
        let (mut genes, mut mask) = (vec![0_i64; n], vec![false; n]);
        for (at, block) in cells.iter().flatten().enumerate() {
            for (place, &gene) in block.iter().enumerate() {
                genes[at * largest + place] = i64::from(gene);
                mask[at * largest + place] = true;
            }
        }
        let shape = [cells.len() as i64, blocks as i64, largest as i64];
        Self { genes: Tensor::from_slice(&genes).view(shape), mask: Tensor::from_slice(&mask).view(shape) }
    }

    /// Blocks of a cell.
    pub fn per_cell(&self) -> i64 {
        self.mask.size()[1]
    }

    /// The same on a device.
    #[must_use]
    pub fn on(&self, device: Device) -> Self {
        Self { genes: moved(&self.genes, device), mask: moved(&self.mask, device) }
    }

    /// Genes of every block, in f32 `[B, K]`.
    pub fn sizes(&self) -> Tensor {
        self.mask.sum_dim_intlist([2_i64].as_slice(), false, Kind::Float)
    }
}
