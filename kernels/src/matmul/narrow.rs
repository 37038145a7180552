//! Products of a few rows with a large matrix, with AVX-512: the layers from genes to tokens, whose batch is small
//! beside their weights. The general product copies the large matrix into another order first, which takes longer than
//! using it.
//!
//! Guarantee: both read the large matrix, or write it, once and in order.

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
};

/// Rows up to which these are faster.
pub(super) const MOST_ROWS: usize = 192;

/// Numbers of a vector.
const LANES: usize = 16;
/// Large rows that are multiplied with small rows at a time; their sums are held in registers.
const LARGE: usize = 4;
const SMALL: usize = 6;
/// Columns that are taken at a time, so that the small rows stay in the second-level cache.
const COLUMNS: usize = 2048;

/// Whether this processor can run these.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// `out [rows, n] += x [rows, k] · wᵀ`, with `w [n, k]`.
#[target_feature(enable = "avx512f")]
pub(super) fn with_transposed(out: &mut [f32], x: &[f32], w: &[f32], k: usize) {
    let (rows, n) = (x.len() / k, w.len() / k);
    for column in (0..k).step_by(COLUMNS) {
        let columns = column..(column + COLUMNS).min(k);
        let large = |j: usize| &w[j * k..][columns.clone()];
        let small = |i: usize| &x[i * k..][columns.clone()];
        for j in (0..n).step_by(LARGE) {
            let full = j + LARGE <= n;
            let whole = if full { rows / SMALL * SMALL } else { 0 };
            for i in (0..whole).step_by(SMALL) {
                let small = [small(i), small(i + 1), small(i + 2), small(i + 3), small(i + 4), small(i + 5)];
                let sums = dots(small, [large(j), large(j + 1), large(j + 2), large(j + 3)]);
                add_block(out, &sums, i, j, n);
            }
            for i in whole..rows {
                if full {
                    let sums = dots([small(i)], [large(j), large(j + 1), large(j + 2), large(j + 3)]);
                    add_block(out, &sums, i, j, n);
                    continue;
                }
                for j in j..n {
                    add_block(out, &dots([small(i)], [large(j)]), i, j, n);
                }
            }
        }
    }
}

/// Adds sums to the block of `out` (rows of `n`) that begins at row `i` and column `j`.
fn add_block<const A: usize, const B: usize>(out: &mut [f32], sums: &[[f32; B]; A], i: usize, j: usize, n: usize) {
    for (at, sums) in sums.iter().enumerate() {
        for (out, sum) in out[(i + at) * n + j..].iter_mut().zip(sums) {
            *out += sum;
        }
    }
}

/// Scalar products of every small row with every large row, all of one length.
#[target_feature(enable = "avx512f")]
fn dots<const A: usize, const B: usize>(small: [&[f32]; A], large: [&[f32]; B]) -> [[f32; B]; A] {
    let length = small[0].len();
    assert!(small.iter().chain(&large).all(|row| row.len() == length), "rows of one length");
    let whole = length / LANES * LANES;
    let mut sums = [[_mm512_setzero_ps(); B]; A];
    for at in (0..whole).step_by(LANES) {
        let mut numbers = [_mm512_setzero_ps(); B];
        for (number, row) in numbers.iter_mut().zip(&large) {
            // SAFETY: `at + LANES` is within the row, whose length was checked.
            *number = unsafe { _mm512_loadu_ps(row.as_ptr().add(at)) };
        }
        for (sums, row) in sums.iter_mut().zip(&small) {
            // SAFETY: as above.
            let own = unsafe { _mm512_loadu_ps(row.as_ptr().add(at)) };
            for (sum, number) in sums.iter_mut().zip(&numbers) {
                *sum = _mm512_fmadd_ps(own, *number, *sum);
            }
        }
    }
    let mut totals = [[0.0_f32; B]; A];
    for (i, totals) in totals.iter_mut().enumerate() {
        for (j, total) in totals.iter_mut().enumerate() {
            let rest: f32 = small[i][whole..].iter().zip(&large[j][whole..]).map(|(a, b)| a * b).sum();
            *total = _mm512_reduce_add_ps(sums[i][j]) + rest;
        }
    }
    totals
}

/// `out [n, k] (+)= gᵀ · x`, with `g [rows, n]` and `x [rows, k]`.
#[target_feature(enable = "avx512f")]
pub(super) fn outer(out: &mut [f32], onto: bool, g: &[f32], x: &[f32], rows: usize) {
    const ROWS: usize = 6;
    const VECTORS: usize = 4;
    let (n, k) = (g.len() / rows, x.len() / rows);
    // The factors of a block of output rows, one after the other for each input row; zeros beyond the last.
    let mut factors = vec![[0.0_f32; ROWS]; rows];
    for column in (0..k).step_by(COLUMNS) {
        let end = (column + COLUMNS).min(k);
        for j in (0..n).step_by(ROWS) {
            let height = ROWS.min(n - j);
            for (row, factors) in factors.iter_mut().enumerate() {
                factors.fill(0.0);
                factors[..height].copy_from_slice(&g[row * n + j..][..height]);
            }
            let mut at = column;
            while at + VECTORS * LANES <= end {
                let sums = outer_tile::<ROWS, VECTORS>(&factors, x, at, k);
                for (row, sums) in sums.iter().enumerate().take(height) {
                    store(&mut out[(j + row) * k + at..][..VECTORS * LANES], sums, onto);
                }
                at += VECTORS * LANES;
            }
            for at in at..end {
                for row in 0..height {
                    let sum: f32 = factors.iter().enumerate().map(|(i, f)| f[row] * x[i * k + at]).sum();
                    let out = &mut out[(j + row) * k + at];
                    *out = if onto { *out + sum } else { sum };
                }
            }
        }
    }
}

/// The sums of a block of output rows over `VECTORS` vectors of columns from `at` on.
#[target_feature(enable = "avx512f")]
fn outer_tile<const ROWS: usize, const VECTORS: usize>(
    factors: &[[f32; ROWS]],
    x: &[f32],
    at: usize,
    k: usize,
) -> [[__m512; VECTORS]; ROWS] {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for (row, factors) in factors.iter().enumerate() {
        let line = &x[row * k + at..][..VECTORS * LANES];
        let mut numbers = [_mm512_setzero_ps(); VECTORS];
        for (index, number) in numbers.iter_mut().enumerate() {
            // SAFETY: the line has `VECTORS` vectors.
            *number = unsafe { _mm512_loadu_ps(line.as_ptr().add(index * LANES)) };
        }
        for (sums, factor) in sums.iter_mut().zip(factors) {
            let factor = _mm512_set1_ps(*factor);
            for (sum, number) in sums.iter_mut().zip(&numbers) {
                *sum = _mm512_fmadd_ps(factor, *number, *sum);
            }
        }
    }
    sums
}

#[target_feature(enable = "avx512f")]
fn store(out: &mut [f32], sums: &[__m512], onto: bool) {
    assert_eq!(out.len(), sums.len() * LANES, "a vector a sum");
    for (index, sum) in sums.iter().enumerate() {
        // SAFETY: `out` has a vector for every sum.
        unsafe {
            let to = out.as_mut_ptr().add(index * LANES);
            let sum = if onto { _mm512_add_ps(_mm512_loadu_ps(to), *sum) } else { *sum };
            _mm512_storeu_ps(to, sum);
        }
    }
}
