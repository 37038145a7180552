//! Cells of a store as dense values and tensors.

use syncyte_kernels::expression::{Genes, TARGET, log_normalise};
use syncyte_kernels::rows::{Rows, Scale};
use syncyte_sharding::block::Block;
use syncyte_sharding::csr::Csr;
use syncyte_sharding::expression;
use syncyte_sharding::store::{CellStore, ValueKind};
use tch::Tensor;

/// Log-normalised expression `[rows, genes]` (D4): `log1p(1e4·x/Σx)` with the total over all genes that passed
/// quality control; values that are log-normalised already pass through.
pub fn dense(store: &CellStore, rows: &[u64], cells: &Csr) -> Tensor {
    Tensor::from_slice(&dense_values(store, rows, cells)).view([cells.n_rows() as i64, cells.n_cols as i64])
}

/// As [`dense`], as values in row order.
pub fn dense_values(store: &CellStore, rows: &[u64], cells: &Csr) -> Vec<f32> {
    match store.info().value_kind {
        ValueKind::Counts => {
            let totals: Vec<f32> = rows.iter().map(|&row| store.library_size()[row as usize]).collect();
            normalised(cells, Scale::Library(&totals))
        }
        ValueKind::Log1p => normalised(cells, Scale::LogNormalised),
    }
}

/// Expressed genes of a cell with their log-normalised values, as [`dense`] has them.
pub fn log_normalised(store: &CellStore, row: u64, (genes, values): (&[u32], &[f32])) -> (Vec<u32>, Vec<f32>) {
    let counts = store.info().value_kind == ValueKind::Counts;
    let total = if counts { store.library_size()[row as usize] } else { 0.0 };
    let factor = if total > 0.0 { TARGET / total } else { 0.0 };
    let value = |value: f32| if counts { (value * factor).ln_1p() } else { value };
    let present = genes.iter().zip(values).filter(|(_, x)| **x != 0.0);
    present.map(|(&gene, &x)| (gene, value(x))).unzip()
}

/// Rows in row order, of all genes, in a scale.
pub(crate) fn normalised(cells: &Csr, scale: Scale<'_>) -> Vec<f32> {
    let mut out = vec![0.0; cells.n_rows() * cells.n_cols];
    let rows = Rows { indptr: &cells.indptr, indices: &cells.indices, values: &cells.values };
    let done = log_normalise(rows, scale, Genes::All(cells.n_cols), &mut out);
    debug_assert!(done.is_ok(), "a block of the store has the lengths that its own indptr says: {done:?}");
    out
}

/// As [`dense`], of a block as it is stored.
pub fn dense_block(store: &CellStore, rows: &[u64], cells: &Block) -> Tensor {
    let mut out = vec![0.0_f32; cells.n_rows() * cells.n_cols];
    let totals: Vec<f32> = rows.iter().map(|&row| store.library_size()[row as usize]).collect();
    let scale = match store.info().value_kind {
        ValueKind::Counts => Scale::Library(&totals),
        ValueKind::Log1p => Scale::LogNormalised,
    };
    let done = expression::log_normalise(cells, scale, Genes::All(cells.n_cols), &mut out);
    debug_assert!(done.is_ok(), "a block of the store has the lengths that its own starts say: {done:?}");
    Tensor::from_slice(&out).view([cells.n_rows() as i64, cells.n_cols as i64])
}
