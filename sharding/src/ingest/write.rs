//! The second pass of an import: rows of the inputs become rows of the store.

use std::path::Path;

use super::error::IngestError;
use super::inputs::{self, Input};
use super::qc::{Kept, Metrics};
use super::scatter::Scatter;
use crate::csr::Csr;
use crate::permutation::Permutation;
use crate::philox::{Philox, Purpose};
use crate::store::StoreWriter;

/// Rows of a dense matrix written at a time.
const DENSE_ROWS: usize = 4096;
/// Bytes of a row of a dense matrix, roughly.
const DENSE_BYTES: u64 = 256;

/// Which cell every row of the store is.
pub(super) struct Rows {
    /// The cells, numbered over all inputs.
    pub(super) cells: Vec<usize>,
    /// Where the rows are shuffled: which of the kept cells every row is.
    pub(super) order: Option<Permutation>,
}

impl Rows {
    pub(super) fn new(kept: &Kept, shuffle: Option<u64>) -> Self {
        let n = kept.cells.len() as u64;
        let order = shuffle.map(|seed| Permutation::new(n, &mut Philox::new(seed, Purpose::Shuffle, 0, 0)));
        let cells = match &order {
            Some(order) => (0..n).map(|row| kept.cells[order.get(row) as usize]).collect(),
            None => kept.cells.clone(),
        };
        Self { cells, order }
    }
}

/// What the second pass writes from.
pub(super) struct Writing<'a> {
    pub(super) inputs: &'a [Input],
    pub(super) kept: &'a Kept,
    pub(super) rows: &'a Rows,
    /// Where temporary files have room.
    pub(super) folder: &'a Path,
}

impl Writing<'_> {
    /// Writes the cells and genes that stay, from the cell on that the store is at.
    pub(super) fn expression(
        &self,
        n_genes: usize,
        metrics: &Metrics,
        writer: &mut StoreWriter,
    ) -> Result<(), IngestError> {
        let done = writer.n_cells();
        let Some(order) = &self.rows.order else {
            return self.each_cut(n_genes, done, |_, block| Ok(writer.append(block)?));
        };
        let values: u64 = self.kept.cells.iter().map(|&cell| u64::from(metrics.n_genes[cell])).sum();
        let mut scatter = Scatter::new(self.kept.cells.len(), 8 * values, self.folder)?;
        self.each_cut(n_genes, 0, |first, block| {
            (0..block.n_rows()).try_for_each(|row| {
                let (genes, values) = block.row(row);
                let place = order.position_of((first + row) as u64) as usize;
                scatter.push(place, &[bytemuck::cast_slice(genes), bytemuck::cast_slice(values)])
            })
        })?;
        let mut block = Csr::default();
        scatter.gather(done, |rows| {
            block.clear(self.kept.genes.len());
            for row in rows {
                let (genes, values) = row.split_at(row.len() / 2);
                block.indices.extend(genes.chunks_exact(4).map(bytemuck::pod_read_unaligned::<u32>));
                block.values.extend(values.chunks_exact(4).map(bytemuck::pod_read_unaligned::<f32>));
                block.indptr.push(block.indices.len());
            }
            Ok(writer.append(&block)?)
        })
    }

    /// Hands over what stays of every row block from the kept cell `done` on, with the number of its first kept cell.
    fn each_cut(
        &self,
        n_genes: usize,
        done: usize,
        mut work: impl FnMut(usize, &Csr) -> Result<(), IngestError> + Send,
    ) -> Result<(), IngestError> {
        let kept = self.kept;
        let mut place = vec![None; n_genes];
        for (at, &gene) in kept.genes.iter().enumerate() {
            place[gene] = Some(at as u32);
        }
        let mut cut = Csr::default();
        let first_cell = kept.cells.get(done).copied().unwrap_or(usize::MAX);
        inputs::for_each_block(self.inputs, first_cell, |from, block| {
            let first = kept.cells.partition_point(|&cell| cell < from).max(done);
            let end = kept.cells.partition_point(|&cell| cell < from + block.n_rows());
            let wanted = &kept.cells[first..end.max(first)];
            if wanted.len() == block.n_rows() && kept.genes.len() == n_genes {
                return work(first, block);
            }
            cut.clear(kept.genes.len());
            for &cell in wanted {
                let (genes, values) = block.row(cell - from);
                for (&gene, &value) in genes.iter().zip(values) {
                    if let Some(gene) = place[gene as usize] {
                        cut.indices.push(gene);
                        cut.values.push(value);
                    }
                }
                cut.indptr.push(cut.indices.len());
            }
            work(first, &cut)
        })
    }

    /// Writes the rows that stay of a dense matrix, one input in memory at a time.
    pub(super) fn dense(&self, name: &str, writer: &mut StoreWriter) -> Result<(), IngestError> {
        let (mut offset, mut kept) = (0, self.kept.cells.iter().copied().enumerate().peekable());
        let rows = self.kept.cells.len();
        let scatter = self.rows.order.as_ref().map(|_| Scatter::new(rows, DENSE_BYTES * rows as u64, self.folder));
        let mut scatter = scatter.transpose()?;
        let mut n_cols = 0;
        for input in self.inputs {
            let (width, values) = input.source.read_dense(name)?;
            let end = offset + input.obs.index.len();
            let mut pending = Vec::new();
            while let Some((at, cell)) = kept.next_if(|&(_, cell)| cell < end) {
                let row = &values[(cell - offset) * width..(cell - offset + 1) * width];
                if let (Some(order), Some(scatter)) = (&self.rows.order, &mut scatter) {
                    scatter.push(order.position_of(at as u64) as usize, &[bytemuck::cast_slice(row)])?;
                    continue;
                }
                pending.extend_from_slice(row);
                if pending.len() >= DENSE_ROWS * width {
                    writer.append_obsm(name, width, &pending)?;
                    pending.clear();
                }
            }
            writer.append_obsm(name, width, &pending)?;
            (offset, n_cols) = (end, width);
        }
        let Some(scatter) = scatter else { return Ok(()) };
        scatter.gather(0, |rows| {
            let numbers = rows.iter().flat_map(|row| row.chunks_exact(4).map(bytemuck::pod_read_unaligned::<f32>));
            Ok(writer.append_obsm(name, n_cols, &numbers.collect::<Vec<_>>())?)
        })
    }
}
