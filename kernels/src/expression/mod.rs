//! From sparse counts to dense log-normalised expression: `ln(1 + 10⁴·x / library size)`.
//!
//! Guarantee: a cell without counts stays zero, log-normalised input passes through unchanged, and [`log_normalise`]
//! gives the bits of [`log_normalise_reference`] on every machine, within 2.5 units in the last place of the formula
//! in double precision (half a unit more than that for bfloat16, which is rounded from single precision).
//!
//! How it is fast: within a row equal counts have equal logarithms, so a row of small counts takes one table of
//! logarithms and a look-up per value; other rows take one vectorised pass over the values. The scatter has no
//! branch: an unwanted gene is written to a spill. The next row is asked for while this one is scattered.

#[cfg(test)]
mod tests;

use std::hint::{black_box, select_unpredictable};

use crate::logarithm::ln_1p;
use crate::number::{Column, Element, Value};
use crate::rows::{Rows, Scale, ShapeError, check_columns};
use crate::simd::{Level, Task, prefetch};

/// Counts that every cell is scaled to.
pub const TARGET: f32 = 1e4;

/// Place of a gene that is not wanted.
pub const SKIP: u32 = u32::MAX;

/// Largest table of logarithms: 16 KiB, which leaves room for a dense row in the first cache.
const TABLE: usize = 4096;

/// Values between two requests for memory of the next row.
const STRIDE: usize = 32;

/// Which columns go where in a dense row.
#[derive(Clone, Copy, Debug)]
pub enum Genes<'a> {
    /// All columns, in order.
    All(usize),
    /// Place of every column, or [`SKIP`]; and the width of a dense row.
    Places(&'a [u32], usize),
}

impl Genes<'_> {
    /// Width of a dense row.
    pub fn width(&self) -> usize {
        match *self {
            Self::All(width) | Self::Places(_, width) => width,
        }
    }

    /// Number of columns of the sparse rows.
    pub fn columns(&self) -> usize {
        match *self {
            Self::All(width) => width,
            Self::Places(places, _) => places.len(),
        }
    }

    fn place(&self, column: usize) -> Option<usize> {
        let place = match self {
            Self::All(_) => column,
            Self::Places(places, _) => *places.get(column)? as usize,
        };
        (place < self.width()).then_some(place)
    }
}

/// What a count is multiplied by: 10⁴ / library size, or 0 for an empty cell.
#[inline(always)]
pub(crate) fn factor(total: f32) -> f32 {
    if total > 0.0 { TARGET / total } else { 0.0 }
}

/// Writes the rows densely, log-normalised, into `out` (rows × width, row after row).
///
/// # Errors
/// When the lengths of the slices do not fit together, or a row names a column beyond the last; `out` is then
/// written in part.
pub fn log_normalise<V: Value, C: Column, T: Element>(
    rows: Rows<V, C>,
    scale: Scale,
    genes: Genes,
    out: &mut [T],
) -> Result<(), ShapeError> {
    check(&rows, scale, genes, out)?;
    Level::best().run(Dense { rows, scale, genes, out })
}

/// [`log_normalise`] one value after another.
///
/// # Errors
/// As [`log_normalise`].
pub fn log_normalise_reference<V: Value, C: Column, T: Element>(
    rows: Rows<V, C>,
    scale: Scale,
    genes: Genes,
    out: &mut [T],
) -> Result<(), ShapeError> {
    check(&rows, scale, genes, out)?;
    out.fill(T::default());
    for row in 0..rows.len() {
        let (columns, values) = rows.row(row);
        check_columns(row, columns, genes.columns())?;
        for (column, value) in columns.iter().zip(values) {
            let Some(place) = genes.place(column.to_usize()) else { continue };
            out[row * genes.width() + place] = T::from_f32(match scale {
                Scale::LogNormalised => value.to_f32(),
                Scale::Library(totals) => ln_1p(value.to_f32() * factor(totals[row])),
            });
        }
    }
    Ok(())
}

fn check<V: Value, C: Column, T>(rows: &Rows<V, C>, scale: Scale, genes: Genes, out: &[T]) -> Result<(), ShapeError> {
    rows.check(Some(scale))?;
    if out.len() != rows.len() * genes.width() {
        return Err(ShapeError(format!("{} places for {} rows of {}", out.len(), rows.len(), genes.width())));
    }
    Ok(())
}

struct Dense<'a, V, C, T> {
    rows: Rows<'a, V, C>,
    scale: Scale<'a>,
    genes: Genes<'a>,
    out: &'a mut [T],
}

impl<V: Value, C: Column, T: Element> Task for Dense<'_, V, C, T> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self { rows, scale, genes, out } = self;
        let mut logs = vec![T::default(); rows.longest()];
        for (row, dense) in out.chunks_exact_mut(genes.width().max(1)).enumerate() {
            let (columns, values) = rows.row(row);
            check_columns(row, columns, genes.columns())?;
            dense.fill(T::default());
            // SAFETY: the columns of this row were checked above against the columns of `genes`, `dense` is one row
            // of its width, the closures are called with places of `values` only, and `logs` holds what `prepare` says.
            unsafe {
                match scale {
                    Scale::LogNormalised => {
                        scatter(columns, values, genes, dense, |at| T::from_f32(values.get_unchecked(at).to_f32()));
                    }
                    Scale::Library(totals) => {
                        if prepare(values, factor(totals[row]), &mut logs) == Logs::OfCounts {
                            scatter(columns, values, genes, dense, |at| {
                                *logs.get_unchecked(values.get_unchecked(at).to_index())
                            });
                        } else {
                            scatter(columns, values, genes, dense, |at| *logs.get_unchecked(at));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// How the logarithms of a row are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logs {
    /// Entry `k` is that of the count `k`.
    OfCounts,
    /// Entry `i` is that of value `i`.
    OfValues,
}

/// The logarithms of a row: of its counts up to the largest where those are fewer than its values, else of its
/// values. `logs` is at least as long as the row.
#[inline(always)]
pub(crate) fn prepare<V: Value, T: Element>(values: &[V], factor: f32, logs: &mut [T]) -> Logs {
    let largest = V::largest_index(values);
    if largest < values.len().min(TABLE) {
        for (count, log) in (0_i32..).zip(&mut logs[..=largest]) {
            *log = T::from_f32(ln_1p(count as f32 * factor));
        }
        Logs::OfCounts
    } else {
        for (log, value) in logs.iter_mut().zip(values) {
            *log = T::from_f32(ln_1p(value.to_f32() * factor));
        }
        Logs::OfValues
    }
}

/// Writes `value(i)` to the place of column `i` of a row, for every `i`.
///
/// # Safety
/// Every column is below `genes.columns()`, and `dense` is `genes.width()` long.
#[inline(always)]
unsafe fn scatter<V, C: Column, T: Element>(
    columns: &[C],
    values: &[V],
    genes: Genes,
    dense: &mut [T],
    value: impl Fn(usize) -> T,
) {
    let mut spill = T::default();
    // If the compiler knew that nobody reads the spill, it would make a branch of the choice below.
    let spill = black_box(&raw mut spill);
    for start in (0..columns.len()).step_by(STRIDE) {
        // The next row begins where this one ends: what lies one row's length ahead is read soon.
        let ahead = start + columns.len();
        prefetch(columns.as_ptr().wrapping_add(ahead), STRIDE);
        prefetch(values.as_ptr().wrapping_add(ahead), STRIDE);
        for at in start..columns.len().min(start + STRIDE) {
            // SAFETY: `at` is a place of `columns`, and the caller vouches for the rest.
            unsafe {
                let column = columns.get_unchecked(at).to_usize();
                let slot = match genes {
                    Genes::All(_) => dense.as_mut_ptr().add(column),
                    Genes::Places(places, width) => {
                        let place = *places.get_unchecked(column) as usize;
                        // Whether a gene is wanted is no pattern that a processor could learn: never a branch.
                        select_unpredictable(place < width, dense.as_mut_ptr().wrapping_add(place), spill)
                    }
                };
                *slot = value(at);
            }
        }
    }
}
