//! The inner loop: sums of one block of rows about a pivot per column.
//!
//! Guarantee: a visit to a value is three additions and one product. Pivots have 12 significant bits, so that the
//! distance of a count from its pivot, its square and their sums are exact in double precision.

use crate::expression::{Logs, TARGET, factor, prepare};
use crate::moments::{Space, Summary};
use crate::number::{Column, Value};
use crate::rows::{Rows, Scale, ShapeError, check_columns};
use crate::simd::{Task, prefetch};

/// Values between two requests for memory of the next row.
const STRIDE: usize = 32;

/// Sums of a column over a block: with `d = value − pivot`, of 1, `d` and `d²`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(32))]
pub(crate) struct Sums {
    /// A number near the mean of the values; not a number before the first value of the column.
    pub(crate) pivot: f64,
    /// Number of values.
    pub(crate) count: f64,
    /// Sum of distances.
    pub(crate) sum: f64,
    /// Sum of squared distances.
    pub(crate) squares: f64,
}

impl Sums {
    fn about(seen: &Summary) -> Self {
        let pivot = if seen.count > 0 { short(seen.mean()) } else { f64::NAN };
        Self { pivot, count: 0.0, sum: 0.0, squares: 0.0 }
    }

    #[inline(always)]
    fn push(&mut self, value: f64) {
        if self.pivot.is_nan() {
            self.pivot = short(value);
        }
        let distance = value - self.pivot;
        self.count += 1.0;
        self.sum += distance;
        self.squares += distance * distance;
    }

    /// The values of this block.
    pub(crate) fn summary(&self) -> Summary {
        if self.count == 0.0 {
            return Summary::default();
        }
        Summary {
            count: self.count as u64,
            sum: self.sum + self.count * self.pivot,
            m2: (self.squares - self.sum / self.count * self.sum).max(0.0),
        }
    }
}

/// The number cut to 12 significant bits after the first.
fn short(number: f64) -> f64 {
    f64::from_bits(number.to_bits() & !((1 << 40) - 1))
}

/// Sums of every column over a block of rows.
#[derive(Clone, Debug)]
pub(crate) struct Block(Vec<Sums>);

impl Block {
    /// Empty sums, about the means seen so far.
    pub(crate) fn about(seen: &[Summary]) -> Self {
        Self(seen.iter().map(Sums::about).collect())
    }

    /// The sums of every column.
    pub(crate) fn sums(&self) -> &[Sums] {
        &self.0
    }
}

/// Adds rows to a block.
pub(crate) struct Push<'a, V, C> {
    pub(crate) rows: Rows<'a, V, C>,
    pub(crate) space: Space<'a>,
    pub(crate) ceiling: Option<&'a [f64]>,
    pub(crate) block: &'a mut Block,
}

impl<V: Value, C: Column> Task for Push<'_, V, C> {
    type Output = Result<(), ShapeError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self { rows, space, ceiling, block: Block(sums) } = self;
        let mut logs = vec![0.0_f32; rows.longest()];
        for row in 0..rows.len() {
            let (columns, values) = rows.row(row);
            check_columns(row, columns, sums.len())?;
            let mut push = Visit { columns, values, ceiling, sums };
            match space {
                Space::Stored | Space::Log(Scale::LogNormalised) => push.each(|_, value| value.to_f64()),
                Space::Log(Scale::Library(totals)) => match prepare(values, factor(totals[row]), &mut logs) {
                    Logs::OfCounts => push.each(|_, value| f64::from(logs[value.to_index()])),
                    Logs::OfValues => push.each(|at, _| f64::from(logs[at])),
                },
                Space::Normalised(Scale::Library(totals)) => {
                    let total = f64::from(totals[row]);
                    if total > 0.0 {
                        push.each(|_, value| f64::from(TARGET) * value.to_f64() / total);
                    }
                }
                Space::Normalised(Scale::LogNormalised) => push.each(|_, value| value.to_f64().exp_m1()),
            }
        }
        Ok(())
    }
}

/// One row on its way into the sums; its columns were checked.
struct Visit<'a, V, C> {
    columns: &'a [C],
    values: &'a [V],
    ceiling: Option<&'a [f64]>,
    sums: &'a mut [Sums],
}

impl<V: Value, C: Column> Visit<'_, V, C> {
    /// Adds `transform(i, value i)` of every value of the row.
    #[inline(always)]
    fn each(&mut self, transform: impl Fn(usize, V) -> f64) {
        for start in (0..self.columns.len()).step_by(STRIDE) {
            let ahead = start + self.columns.len();
            prefetch(self.columns.as_ptr().wrapping_add(ahead), STRIDE);
            prefetch(self.values.as_ptr().wrapping_add(ahead), STRIDE);
            let end = self.columns.len().min(start + STRIDE);
            for (at, (column, value)) in (start..end).zip(self.columns[start..end].iter().zip(&self.values[start..end]))
            {
                let column = column.to_usize();
                let value = transform(at, *value);
                let value = match self.ceiling {
                    Some(ceiling) => value.min(ceiling[column]),
                    None => value,
                };
                if value != 0.0 {
                    self.sums[column].push(value);
                }
            }
        }
    }
}
