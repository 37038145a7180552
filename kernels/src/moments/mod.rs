//! Sums and squares of the columns of sparse rows, in one pass, in double precision.
//!
//! Guarantee: however the rows are cut into calls and the parts merged, the result equals two passes over all rows to
//! 1e-9; zeros count without being visited; sums of counts are exact (while below 2⁴¹). A call that fails
//! changes nothing.
//!
//! Only the stored values are accumulated, about a pivot near their mean, so that squares do not cancel; what zeros
//! add follows from their number. Parts are joined by the formula of Chan, Golub & LeVeque (*Updating formulae and a
//! pairwise algorithm for computing sample variances*, 1979).

mod block;
mod summary;
#[cfg(test)]
mod tests;

use block::{Block, Push};
pub use summary::Summary;

use crate::expression::{TARGET, factor};
use crate::logarithm::ln_1p;
use crate::number::{Column, Value};
use crate::rows::{Rows, Scale, ShapeError, check_columns};
use crate::simd::Level;

/// Which transform of the stored values is summed.
#[derive(Clone, Copy, Debug)]
pub enum Space<'a> {
    /// The values as they are stored.
    Stored,
    /// Log-normalised expression, with the bits of [`log_normalise`](crate::expression::log_normalise).
    Log(Scale<'a>),
    /// Normalised counts: 10⁴·x / library size, or `exp(x) − 1` of log-normalised values.
    Normalised(Scale<'a>),
}

impl<'a> Space<'a> {
    fn scale(self) -> Option<Scale<'a>> {
        match self {
            Self::Stored => None,
            Self::Log(scale) | Self::Normalised(scale) => Some(scale),
        }
    }
}

/// Moments of every column over the rows seen so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    rows: u64,
    non_zeros: Vec<Summary>,
}

impl Moments {
    /// Moments of no rows.
    pub fn new(columns: usize) -> Self {
        Self { rows: 0, non_zeros: vec![Summary::default(); columns] }
    }

    /// Moments that came from elsewhere: the number of rows, and the summary of the non-zeros of every column.
    pub fn from_parts(rows: u64, non_zeros: Vec<Summary>) -> Self {
        Self { rows, non_zeros }
    }

    /// Adds rows, in the given space, each value lowered to `ceiling` of its column if there is one.
    ///
    /// # Errors
    /// When the lengths of the slices do not fit together, or a row names a column beyond the last.
    pub fn push_rows<V: Value, C: Column>(
        &mut self,
        rows: Rows<V, C>,
        space: Space,
        ceiling: Option<&[f64]>,
    ) -> Result<(), ShapeError> {
        self.push_rows_at(Level::best(), rows, space, ceiling)
    }

    fn push_rows_at<V: Value, C: Column>(
        &mut self,
        level: Level,
        rows: Rows<V, C>,
        space: Space,
        ceiling: Option<&[f64]>,
    ) -> Result<(), ShapeError> {
        check(&rows, space, ceiling, self.columns())?;
        let mut block = Block::about(&self.non_zeros);
        level.run(Push { rows, space, ceiling, block: &mut block })?;
        self.push_block(rows.len(), &block);
        Ok(())
    }

    /// Adds what a block of rows summed to.
    pub(crate) fn push_block(&mut self, rows: usize, block: &Block) {
        self.rows += rows as u64;
        for (column, sums) in self.non_zeros.iter_mut().zip(block.sums()) {
            column.merge(&sums.summary());
        }
    }

    /// Adds the rows of another part.
    ///
    /// # Errors
    /// When the parts differ in columns.
    pub fn merge(&mut self, other: &Self) -> Result<(), ShapeError> {
        let (ours, theirs) = (self.columns(), other.columns());
        if ours != theirs {
            return Err(ShapeError(format!("moments of {ours} columns cannot take in moments of {theirs}")));
        }
        self.rows += other.rows;
        for (column, part) in self.non_zeros.iter_mut().zip(&other.non_zeros) {
            column.merge(part);
        }
        Ok(())
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.non_zeros.len()
    }

    /// The values of every column that are not zero.
    pub fn non_zeros(&self) -> &[Summary] {
        &self.non_zeros
    }

    /// All values of a column, zeros among them.
    ///
    /// # Panics
    /// When the column is beyond the last.
    pub fn column(&self, column: usize) -> Summary {
        let mut summary = self.non_zeros[column];
        summary.merge(&Summary { count: self.rows - summary.count, ..Summary::default() });
        summary
    }

    /// The non-zero values of all columns together (D8: mean and deviation of token values).
    pub fn pooled(&self) -> Summary {
        self.non_zeros.iter().fold(Summary::default(), |mut all, column| {
            all.merge(column);
            all
        })
    }
}

/// [`Moments::push_rows`] on no rows before, in two passes, value by value.
///
/// # Errors
/// As [`Moments::push_rows`].
pub fn moments_reference<V: Value, C: Column>(
    columns: usize,
    rows: Rows<V, C>,
    space: Space,
    ceiling: Option<&[f64]>,
) -> Result<Moments, ShapeError> {
    check(&rows, space, ceiling, columns)?;
    let mut values = vec![Vec::new(); columns];
    for row in 0..rows.len() {
        let (indices, stored) = rows.row(row);
        check_columns(row, indices, columns)?;
        for (column, value) in indices.iter().zip(stored) {
            let column = column.to_usize();
            let value = match space {
                Space::Stored | Space::Log(Scale::LogNormalised) => value.to_f64(),
                Space::Log(Scale::Library(totals)) => f64::from(ln_1p(value.to_f32() * factor(totals[row]))),
                Space::Normalised(Scale::Library(totals)) if totals[row] > 0.0 => {
                    f64::from(TARGET) * value.to_f64() / f64::from(totals[row])
                }
                Space::Normalised(Scale::Library(_)) => 0.0,
                Space::Normalised(Scale::LogNormalised) => value.to_f64().exp_m1(),
            };
            let value = ceiling.map_or(value, |ceiling| value.min(ceiling[column]));
            if value != 0.0 {
                values[column].push(value);
            }
        }
    }
    Ok(Moments::from_parts(rows.len() as u64, values.iter().map(|values| Summary::of(values)).collect()))
}

fn check<V: Value, C: Column>(
    rows: &Rows<V, C>,
    space: Space,
    ceiling: Option<&[f64]>,
    columns: usize,
) -> Result<(), ShapeError> {
    rows.check(space.scale())?;
    match ceiling {
        Some(ceiling) if ceiling.len() != columns => {
            Err(ShapeError(format!("{} ceilings for {columns} columns", ceiling.len())))
        }
        _ => Ok(()),
    }
}
