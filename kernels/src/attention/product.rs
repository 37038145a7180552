//! The product of two small matrices.
//!
//! Guarantee: every number of the product is summed in the order of the steps, so it depends on nothing but its row and
//! its column.
//!
//! A tile of the product is held in registers while one row of the right side after another is multiplied with one
//! number per row of the left. The sums are fixed arrays, of which the compiler makes vectors.

use super::matrix::{LINE, Matrix};
use crate::simd::{FusedTask, Level, mul_add};

/// The left side of a product.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// The matrix.
    Plain(&'a Matrix),
    /// The matrix with rows and columns exchanged.
    Transposed(&'a Matrix),
}

/// `out = left · right`, or with `onto` `out += left · right`: so many rows and columns, each the sum of so many steps.
///
/// What pads rows and columns is written too, with numbers that mean nothing.
pub(super) fn product(
    level: Level,
    left: Left,
    right: &Matrix,
    out: &mut Matrix,
    [rows, columns, steps]: [usize; 3],
    onto: bool,
) {
    level.run_fused(Product { left, right, out, rows, columns, steps, onto });
}

struct Product<'a> {
    left: Left<'a>,
    right: &'a Matrix,
    out: &'a mut Matrix,
    rows: usize,
    columns: usize,
    steps: usize,
    onto: bool,
}

impl FusedTask for Product<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(mut self) {
        // As many sums as hide the time that one takes, and no more than there are registers for.
        match LANES {
            16 => {
                let pairs = self.columns.next_multiple_of(LINE) / (2 * LINE) * (2 * LINE);
                self.tiles::<FUSED, 8, { 2 * LINE }>(0, pairs);
                self.tiles::<FUSED, 8, LINE>(pairs, self.columns);
            }
            8 => self.tiles::<FUSED, 4, LINE>(0, self.columns),
            _ => self.tiles::<FUSED, 2, LINE>(0, self.columns),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn tiles<const FUSED: bool, const ROWS: usize, const COLUMNS: usize>(&mut self, from: usize, to: usize) {
        for column in (from..to).step_by(COLUMNS) {
            for row in (0..self.rows).step_by(ROWS) {
                match self.left {
                    Left::Plain(left) => {
                        let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
                        for (at, numbers) in rows.iter_mut().enumerate() {
                            *numbers = &left.row(row + at)[..self.steps];
                        }
                        self.tile::<FUSED, ROWS, COLUMNS>(row, column, |step| {
                            let mut numbers = [0.0; ROWS];
                            for (number, row) in numbers.iter_mut().zip(rows) {
                                *number = row[step];
                            }
                            numbers
                        });
                    }
                    Left::Transposed(left) => {
                        let (left, stride) = (left.flat(), left.stride());
                        self.tile::<FUSED, ROWS, COLUMNS>(row, column, |step| {
                            let mut numbers = [0.0; ROWS];
                            numbers.copy_from_slice(&left[step * stride + row..][..ROWS]);
                            numbers
                        });
                    }
                }
            }
        }
    }

    /// One tile, of which `left` gives the numbers of the left side at a step.
    #[inline(always)]
    fn tile<const FUSED: bool, const ROWS: usize, const COLUMNS: usize>(
        &mut self,
        row: usize,
        column: usize,
        left: impl Fn(usize) -> [f32; ROWS],
    ) {
        let (right, stride) = (self.right.flat(), self.right.stride());
        let mut sums = [[0.0_f32; COLUMNS]; ROWS];
        if self.onto {
            for (at, sums) in sums.iter_mut().enumerate() {
                sums.copy_from_slice(&self.out.row(row + at)[column..][..COLUMNS]);
            }
        }
        for step in 0..self.steps {
            let mut numbers = [0.0_f32; COLUMNS];
            numbers.copy_from_slice(&right[step * stride + column..][..COLUMNS]);
            let left = left(step);
            for (sums, left) in sums.iter_mut().zip(left) {
                for (sum, number) in sums.iter_mut().zip(numbers) {
                    *sum = mul_add::<FUSED>(left, number, *sum);
                }
            }
        }
        for (at, sums) in sums.iter().enumerate() {
            self.out.row_mut(row + at)[column..][..COLUMNS].copy_from_slice(sums);
        }
    }
}
