//! Normalised expression of blocks, whatever types they hold.
//!
//! The loops are in `syncyte_kernels`; here the stored types are looked up. Guarantee: the result does not depend on
//! the types in which the same numbers are stored.

use syncyte_kernels::expression::{self, Genes};
use syncyte_kernels::number::{Column, Element};
use syncyte_kernels::rows::{Rows, Scale, ShapeError};

use crate::block::{Block, Numbers};

/// Writes the rows of a block densely, log-normalised (D4), into `out`: rows × width of `genes`.
///
/// # Errors
/// When lengths do not fit together, or the block names a column beyond those of `genes`.
pub fn log_normalise<T: Element>(
    block: &Block,
    scale: Scale<'_>,
    genes: Genes<'_>,
    out: &mut [T],
) -> Result<(), ShapeError> {
    let starts = if block.starts.is_empty() { &[0][..] } else { &block.starts };
    match &block.columns {
        Numbers::U16(columns) => of_columns(starts, columns, &block.values, scale, genes, out),
        Numbers::U32(columns) => of_columns(starts, columns, &block.values, scale, genes, out),
        // Columns are not stored so, but a block can be made by hand.
        other => {
            let mut columns = Vec::new();
            other.extend_u32(0..other.len(), &mut columns);
            of_columns(starts, &columns, &block.values, scale, genes, out)
        }
    }
}

fn of_columns<C: Column, T: Element>(
    starts: &[usize],
    columns: &[C],
    values: &Numbers,
    scale: Scale<'_>,
    genes: Genes<'_>,
    out: &mut [T],
) -> Result<(), ShapeError> {
    match values {
        Numbers::U8(values) => {
            expression::log_normalise(Rows { indptr: starts, indices: columns, values }, scale, genes, out)
        }
        Numbers::U16(values) => {
            expression::log_normalise(Rows { indptr: starts, indices: columns, values }, scale, genes, out)
        }
        Numbers::U32(values) => {
            expression::log_normalise(Rows { indptr: starts, indices: columns, values }, scale, genes, out)
        }
        Numbers::F32(values) => {
            expression::log_normalise(Rows { indptr: starts, indices: columns, values }, scale, genes, out)
        }
    }
}

#[cfg(test)]
mod tests {
    use syncyte_kernels::expression::Genes;
    use syncyte_kernels::rows::Scale;

    use super::log_normalise;
    use crate::block::{Block, BlockTypes, NumberType};
    use crate::csr::Csr;

    #[test]
    fn the_stored_types_do_not_matter_and_one_and_three_counts_give_their_logarithms() {
        let wide = Csr { n_cols: 3, indptr: vec![0, 2, 2], indices: vec![0, 2], values: vec![1.0, 3.0] };
        let wide = Block::from(&wide);
        for columns in [NumberType::U8, NumberType::U16, NumberType::U32] {
            for values in [NumberType::U8, NumberType::U16, NumberType::U32, NumberType::F32] {
                let mut block = Block::default();
                block.lay_out(3, BlockTypes { columns, values }, [2, 0].into_iter());
                block.copy_row(0, &wide, 0);
                let mut out = [9.0_f32; 6];
                log_normalise(&block, Scale::Library(&[4.0, 0.0]), Genes::All(3), &mut out).unwrap();
                let expected = [2501_f32.ln(), 0.0, 7501_f32.ln(), 0.0, 0.0, 0.0];
                assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6), "{columns:?} {values:?}: {out:?}");
            }
        }
    }
}
