//! Sparse rows as slices, and what their values mean.
//!
//! Guarantee: a kernel that is given rows whose slices do not fit together, or a column beyond the last, says so and
//! reads nothing outside them.

use std::ops::Range;

use crate::number::{Column, Value};

/// Rows of a sparse matrix: row `r` owns `indices[indptr[r]..indptr[r + 1]]` and the values there, and names no
/// column twice.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, V = f32, C = u32> {
    /// Row starts, one more than there are rows.
    pub indptr: &'a [usize],
    /// Column of every value.
    pub indices: &'a [C],
    /// The values.
    pub values: &'a [V],
}

/// What the values are.
#[derive(Clone, Copy, Debug)]
pub enum Scale<'a> {
    /// Counts, with the total of every row over all genes of the store (not only those that are wanted).
    Library(&'a [f32]),
    /// Log-normalised already.
    LogNormalised,
}

/// Slices that do not fit together, or a column beyond the last.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub(crate) String);

impl<'a, V: Value, C: Column> Rows<'a, V, C> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of `range`, as a view of the same slices.
    ///
    /// # Panics
    /// When the range goes beyond the last row.
    #[must_use]
    pub fn range(&self, range: Range<usize>) -> Self {
        let indptr = &self.indptr[range.start..=range.end];
        let end = indptr[indptr.len() - 1];
        Self { indptr, indices: &self.indices[..end], values: &self.values[..end] }
    }

    /// Columns and values of one row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> (&'a [C], &'a [V]) {
        let span = self.indptr[row]..self.indptr[row + 1];
        (&self.indices[span.clone()], &self.values[span])
    }

    /// The most values that a row has.
    pub(crate) fn longest(&self) -> usize {
        self.indptr.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0)
    }

    /// Checks everything but the columns, which [`check_columns`] does row by row, while they are in the cache.
    pub(crate) fn check(&self, scale: Option<Scale>) -> Result<(), ShapeError> {
        let nnz = self.values.len();
        if self.indptr.last() != Some(&nnz) || !self.indptr.is_sorted() || self.indices.len() != nnz {
            let (last, indices) = (self.indptr.last(), self.indices.len());
            return Err(ShapeError(format!("indptr ends at {last:?}, with {indices} indices and {nnz} values")));
        }
        if let Some(Scale::Library(totals)) = scale
            && totals.len() != self.len()
        {
            return Err(ShapeError(format!("{} library sizes for {} rows", totals.len(), self.len())));
        }
        Ok(())
    }
}

/// Checks that row `row` names only the first `n_columns` columns.
#[inline(always)]
pub(crate) fn check_columns<C: Column>(row: usize, columns: &[C], n_columns: usize) -> Result<(), ShapeError> {
    let largest = columns.iter().fold(C::default(), |largest, &column| column.max(largest)).to_usize();
    if largest >= n_columns && !columns.is_empty() {
        return Err(ShapeError(format!("row {row} names column {largest} of {n_columns}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_rows_is_a_view_of_them() {
        let rows = Rows { indptr: &[0, 2, 3, 3], indices: &[0_u16, 2, 1], values: &[1_u8, 2, 3] };
        let tail = rows.range(1..3);
        assert!(tail.check(None).is_ok() && tail.len() == 2 && tail.longest() == 1);
        assert_eq!([tail.row(0), tail.row(1)], [(&[1_u16][..], &[3_u8][..]), (&[], &[])]);
        assert!(rows.range(3..3).is_empty());
    }

    #[test]
    fn lengths_and_columns_that_do_not_fit_are_named() {
        let rows = Rows { indptr: &[0, 2], indices: &[0_u32], values: &[1.0_f32] };
        assert!(rows.check(None).unwrap_err().to_string().contains("indptr ends at Some(2), with 1 indices"));
        assert!(Rows { indptr: &[], ..rows }.check(None).is_err());
        assert!(Rows { indptr: &[0, 2, 1], ..rows }.check(None).is_err());
        let rows = Rows { indptr: &[0, 1], ..rows };
        assert!(rows.check(Some(Scale::LogNormalised)).is_ok());
        let error = rows.check(Some(Scale::Library(&[]))).unwrap_err();
        assert_eq!(error.to_string(), "0 library sizes for 1 rows");
        assert_eq!(check_columns(3, &[1_u16, 7], 7).unwrap_err().to_string(), "row 3 names column 7 of 7");
        assert!(check_columns::<u16>(0, &[], 0).is_ok());
    }
}
