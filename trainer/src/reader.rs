//! Cells of a store in the form that an encoder reads.
//!
//! Guarantee: what is drawn at random follows from (seed, step, cell) alone.

use std::sync::Arc;

use syncyte_sharding::block::Block;
use syncyte_sharding::csr::Csr;
use syncyte_sharding::philox::{Philox, Purpose};
use syncyte_sharding::store::CellStore;
use tch::Tensor;

use crate::augmentation::{Augmentation, ViewKey, augmented};
use crate::batch::cells::{dense, dense_block, log_normalised};
use crate::batch::view::{Input, Tokens, View, expressed};

/// Expressed genes of a cell with their log-normalised values.
pub type Expressed = (Vec<u32>, Vec<f32>);

/// Makes views of cells; used by many threads.
pub struct CellReader {
    store: Arc<CellStore>,
    input: Input,
    augmentation: Box<dyn Augmentation>,
    seed: u64,
}

impl CellReader {
    /// For an encoder that reads `input`; `seed` is that of everything random.
    pub fn new(store: Arc<CellStore>, input: Input, augmentation: Box<dyn Augmentation>, seed: u64) -> Self {
        Self { store, input, augmentation, seed }
    }

    /// Seed of everything random.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Genes that are read of a cell, on average.
    pub fn genes_a_cell(&self) -> u64 {
        let expressed = self.store.nnz() / self.store.n_cells().max(1) as u64;
        match self.input {
            Input::Dense => self.store.n_genes() as u64,
            Input::Tokens { most: 0 } => expressed,
            Input::Tokens { most } => expressed.min(most as u64),
        }
    }

    /// Whole cells, as they are stored.
    pub fn whole(&self, rows: &[u64], cells: &Block, step: u64) -> View {
        match self.input {
            Input::Dense => View::Dense(dense_block(&self.store, rows, cells)),
            Input::Tokens { .. } => View::Tokens(Tokens::of(&self.expressed(rows, cells, step))),
        }
    }

    /// Random view number `view` of cells.
    pub fn augmented(&self, rows: &[u64], cells: &Block, step: u64, view: u64) -> View {
        let key = ViewKey { seed: self.seed, step, view };
        let values = augmented(&*self.augmentation, rows, &cells.to_csr(), key);
        match self.input {
            Input::Dense => View::Dense(Tensor::from_slice(&values).view([rows.len() as i64, cells.n_cols as i64])),
            Input::Tokens { most } => {
                let views = rows.iter().zip(values.chunks_exact(cells.n_cols.max(1)));
                let some: Vec<Expressed> =
                    views.map(|(&row, values)| self.at_most(most, row, step, expressed(values))).collect();
                View::Tokens(Tokens::of(&some))
            }
        }
    }

    /// The expressed genes of cells, as many as the encoder reads.
    pub fn expressed(&self, rows: &[u64], cells: &Block, step: u64) -> Vec<Expressed> {
        let most = if let Input::Tokens { most } = self.input { most } else { 0 };
        let cells = cells.to_csr();
        let cell =
            |(at, &row): (usize, &u64)| self.at_most(most, row, step, log_normalised(&self.store, row, cells.row(at)));
        rows.iter().enumerate().map(cell).collect()
    }

    /// Cells of these genes alone, in the form that the encoder reads.
    pub fn view_of(&self, cells: &[Expressed]) -> View {
        match self.input {
            Input::Dense => View::Dense(scattered(cells, self.store.n_genes())),
            Input::Tokens { .. } => View::Tokens(Tokens::of(cells)),
        }
    }

    /// At most so many genes of a cell, drawn at random, in their order.
    fn at_most(&self, most: usize, row: u64, step: u64, (genes, values): Expressed) -> Expressed {
        if most == 0 || genes.len() <= most {
            return (genes, values);
        }
        let mut random = Philox::new(self.seed, Purpose::Subsample, row, step);
        let mut kept = chosen(&mut random, genes.len(), most);
        kept.sort_unstable();
        kept.into_iter().map(|at| (genes[at], values[at])).unzip()
    }
}

/// `most` of the first `n` numbers, each set of them as likely as any other, in the order drawn.
pub(crate) fn chosen(random: &mut Philox, n: usize, most: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    for at in 0..most.min(n) {
        all.swap(at, at + random.below((n - at) as u64) as usize);
    }
    all.truncate(most);
    all
}

/// Dense expression of cells of which some genes are given.
fn scattered(cells: &[Expressed], genes: usize) -> Tensor {
    let mut dense = vec![0.0_f32; cells.len() * genes];
    for (row, (own, values)) in cells.iter().enumerate() {
        for (&gene, &value) in own.iter().zip(values) {
            dense[row * genes + gene as usize] = value;
        }
    }
    Tensor::from_slice(&dense).view([cells.len() as i64, genes as i64])
}

/// Whole cells of a store in a form, with all of their genes.
pub fn view(store: &CellStore, input: Input, rows: &[u64], cells: &Csr) -> View {
    match input {
        Input::Dense => View::Dense(dense(store, rows, cells)),
        Input::Tokens { .. } => {
            let cell = |(at, &row): (usize, &u64)| log_normalised(store, row, cells.row(at));
            View::Tokens(Tokens::of(&rows.iter().enumerate().map(cell).collect::<Vec<_>>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::batch::view::of_expression;

    #[test]
    fn every_gene_is_kept_as_often_as_any_other_and_none_twice() {
        let mut counts = [0_u32; 10];
        for cell in 0..20_000 {
            let mut random = Philox::new(3, Purpose::Mask, cell, 0);
            let kept = chosen(&mut random, 10, 4);
            let mut distinct = kept.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), 4);
            for gene in kept {
                counts[gene] += 1;
            }
        }
        // Chi-squared with 9 degrees of freedom is above 27.9 once in a thousand.
        let chi: f64 = counts.iter().map(|&n| (f64::from(n) - 8000.0).powi(2) / 8000.0).sum();
        assert!(chi < 27.9, "{counts:?}");
        assert_eq!(chosen(&mut Philox::new(3, Purpose::Mask, 0, 0), 3, 9).len(), 3);
    }

    #[test]
    fn tokens_are_the_expressed_genes_and_dense_rows_hold_the_same() {
        let x = Tensor::from_slice(&[0.0_f32, 1.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]).view([3, 4]);
        let View::Tokens(tokens) = of_expression(Input::Tokens { most: 0 }, &x) else {
            panic!("tokens were asked for")
        };
        assert_eq!(Vec::<i64>::try_from(tokens.genes.view([-1])).unwrap(), [1, 3, 0, 0, 0, 0]);
        assert_eq!(Vec::<f32>::try_from(tokens.values.view([-1])).unwrap(), [1.5, 0.5, 0.0, 0.0, 2.0, 0.0]);
        assert_eq!(tokens.mask.sum(Kind::Int64).int64_value(&[]), 3);
        let cells = [(vec![1, 3], vec![1.5, 0.5]), (vec![], vec![]), (vec![0], vec![2.0])];
        assert_eq!(scattered(&cells, 4), x);
    }
}
