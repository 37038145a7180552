//! A bounded sample of cells: those with the lowest keys, where the key is a pure function of (seed, cell). So the
//! sample does not depend on the order in which the cells come.

use std::collections::BinaryHeap;

use syncyte_sharding::csr::Csr;
use syncyte_sharding::philox::{Purpose, draw};

use super::rows::Rows;

/// At most `capacity` cells.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    capacity: usize,
    seed: u64,
    heap: BinaryHeap<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: (u64, u64),
    genes: Vec<u32>,
    values: Vec<f32>,
}

impl Sample {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        Self { capacity, seed, heap: BinaryHeap::new() }
    }

    /// Offers a row; it is kept if its key is among the lowest so far.
    pub(super) fn offer(&mut self, cell: u64, rows: Rows<'_>, row: usize) {
        let key = (draw(self.seed, Purpose::Subsample, cell, 0), cell);
        if self.heap.len() == self.capacity {
            match self.heap.peek() {
                Some(worst) if key < worst.key => self.heap.pop(),
                _ => return,
            };
        }
        let (genes, values) = rows.non_zero(row);
        self.heap.push(Entry { key, genes, values });
    }

    /// The kept cells in ascending order, and their rows.
    pub(super) fn into_cells(self, n_genes: usize) -> (Vec<u64>, Csr) {
        let mut entries = self.heap.into_vec();
        entries.sort_unstable_by_key(|entry| entry.key.1);
        let mut rows = Csr::empty(n_genes);
        for entry in &entries {
            rows.push_row(&entry.genes, &entry.values);
        }
        (entries.iter().map(|entry| entry.key.1).collect(), rows)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::Sample;
    use crate::fold::Rows;

    #[test]
    fn the_kept_cells_do_not_depend_on_the_order_and_are_an_even_draw() {
        let rows = Array2::from_shape_fn((1000, 2), |(cell, gene)| (cell * 2 + gene) as f32);
        let kept = |order: &[usize]| {
            let mut sample = Sample::new(100, 5);
            for &cell in order {
                sample.offer(cell as u64, Rows::Dense(rows.view()), cell);
            }
            sample.into_cells(2)
        };
        let forward: Vec<usize> = (0..1000).collect();
        let backward: Vec<usize> = (0..1000).rev().collect();
        let (cells, block) = kept(&forward);
        assert_eq!((&cells, &block), (&kept(&backward).0, &kept(&backward).1));
        assert_eq!(cells.len(), 100);
        assert_eq!(block.row(7), (&[0, 1][..], &[cells[7] as f32 * 2.0, cells[7] as f32 * 2.0 + 1.0][..]));
        let early = cells.iter().filter(|&&cell| cell < 500).count();
        assert!((30..70).contains(&early), "{early} of 100 come from the first half");
    }
}
