//! Sums over rows: the gradient of a bias.

use super::{BLOCK, check_rows, join, run_all};
use crate::number::{Bf16, Element};
use crate::simd::{FusedTask, Level};

/// Numbers that are worked on at once: so many that the compiler makes a loop of vectors of them, not single numbers.
const LINE: usize = 64;

/// Sums of rows over each column, in single precision.
///
/// # Panics
/// When the numbers are no rows of that many columns.
pub fn column_sums(rows: &[Bf16], sums: &mut [f32]) {
    column_sums_at(Level::best(), rows, sums);
}

pub(super) fn column_sums_at(level: Level, rows: &[Bf16], sums: &mut [f32]) {
    let width = sums.len();
    check_rows(rows.len(), width);
    let block = BLOCK * width;
    let mut blocks = vec![0.0; rows.len().div_ceil(block) * width];
    let tasks = rows.chunks(block).zip(blocks.chunks_mut(width)).map(|(rows, sums)| Columns { rows, sums });
    run_all(level, tasks.collect());
    join(&blocks, sums);
}

struct Columns<'a> {
    rows: &'a [Bf16],
    sums: &'a mut [f32],
}

impl FusedTask for Columns<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(self) {
        let (sums, sums_rest) = self.sums.as_chunks_mut::<LINE>();
        let width = sums.len() * LINE + sums_rest.len();
        for row in self.rows.chunks_exact(width) {
            let (row, row_rest) = row.as_chunks::<LINE>();
            for (sums, row) in sums.iter_mut().zip(row) {
                let mut line = *sums;
                for i in 0..LINE {
                    line[i] += row[i].to_f32();
                }
                *sums = line;
            }
            for (sum, value) in sums_rest.iter_mut().zip(row_rest) {
                *sum += value.to_f32();
            }
        }
    }
}
