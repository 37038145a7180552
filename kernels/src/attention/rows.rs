//! What is done to rows between the products of attention: read, turned, made probabilities, written.
//!
//! Guarantee: sums over a row are taken in one fixed order, whatever the level.
//!
//! The compiler makes vector code of a loop over one line. It must not fear that writing to one slice changes another, so
//! lines are worked on in copies, which never leave the registers.

use super::exponential::exp;
use super::matrix::{LINE, Matrix};
use super::tokens::{Head, HeadMut};
use crate::logarithm::ln_1p;
use crate::number::Element;
use crate::simd::{FusedTask, mul_add};

/// Reads tokens of a head, each number times a factor, into the rows of a matrix.
pub(super) struct Read<'a, E, I> {
    pub(super) head: Head<'a, E>,
    pub(super) tokens: I,
    pub(super) factor: f32,
    pub(super) into: &'a mut Matrix,
}

impl<E: Element, I: Iterator<Item = usize> + Clone> FusedTask for Read<'_, E, I> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(self) {
        let (width, stride, into) = (self.head.width(), self.into.stride(), self.into.flat_mut());
        let whole = width / LINE * LINE;
        // Whole lines by themselves: rows are too short for the vector code that the compiler makes of any length.
        for column in (0..whole).step_by(LINE) {
            for (row, token) in self.tokens.clone().enumerate() {
                let mut line = [0.0; LINE];
                for (to, from) in line.iter_mut().zip(self.head.part(token, column, LINE)) {
                    *to = from.to_f32() * self.factor;
                }
                into[row * stride + column..][..LINE].copy_from_slice(&line);
            }
        }
        if whole < width {
            for (row, token) in self.tokens.enumerate() {
                let from = self.head.part(token, whole, width - whole);
                for (to, from) in into[row * stride + whole..].iter_mut().zip(from) {
                    *to = from.to_f32() * self.factor;
                }
            }
        }
    }
}

/// Exchanges rows and columns; the rows that pad the last line become zero columns.
pub(super) struct Transpose<'a> {
    pub(super) from: &'a mut Matrix,
    pub(super) rows: usize,
    pub(super) into: &'a mut Matrix,
}

impl FusedTask for Transpose<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(self) {
        let padded = self.rows.next_multiple_of(LINE);
        (self.rows..padded).for_each(|padding| self.from.row_mut(padding).fill(0.0));
        let (mut tile, mut spare) = ([0.0; LINE * LINE], [0.0; LINE * LINE]);
        for first in (0..padded).step_by(LINE) {
            for column in (0..self.from.stride()).step_by(LINE) {
                for (row, line) in tile.as_chunks_mut::<LINE>().0.iter_mut().enumerate() {
                    line.copy_from_slice(&self.from.row(first + row)[column..][..LINE]);
                }
                deal(&tile, &mut spare);
                deal(&spare, &mut tile);
                for (row, line) in tile.as_chunks::<LINE>().0.iter().enumerate() {
                    self.into.row_mut(column + row)[first..][..LINE].copy_from_slice(line);
                }
            }
        }
    }
}

/// One number of each quarter of a tile in turn. Twice, it exchanges rows and columns: the compiler makes shuffles of
/// this, but slow gathers of a plain exchange.
#[inline(always)]
fn deal(from: &[f32; LINE * LINE], to: &mut [f32; LINE * LINE]) {
    const QUARTER: usize = LINE * LINE / 4;
    let (quarters, _) = from.as_chunks::<QUARTER>();
    for (at, four) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *four = [quarters[0][at], quarters[1][at], quarters[2][at], quarters[3][at]];
    }
}

/// Makes `exp(score − largest score)` of the first `keys` scores of every row and zero of what pads them.
pub(super) struct Softmax<'a> {
    pub(super) scores: &'a mut Matrix,
    pub(super) keys: usize,
    /// For every row, its log-sum-exp.
    pub(super) lse: &'a mut [f32],
    /// For every row, one over the sum of what it became.
    pub(super) scales: &'a mut [f32],
}

impl FusedTask for Softmax<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(self) {
        let padded = self.keys.next_multiple_of(LINE);
        let mut padding = [0.0; LINE];
        padding[self.keys - (padded - LINE)..].fill(f32::NEG_INFINITY);
        // Row after row in each loop, so that one row's sums and largest numbers are joined while others are worked on.
        for (row, largest) in self.lse.iter_mut().enumerate() {
            let (lines, _) = self.scores.row_mut(row)[..padded].as_chunks_mut::<LINE>();
            if let Some(last) = lines.last_mut() {
                for (score, padding) in last.iter_mut().zip(padding) {
                    *score += padding;
                }
            }
            let mut lanes = [f32::NEG_INFINITY; LINE];
            for line in &*lines {
                for (lane, &score) in lanes.iter_mut().zip(line) {
                    *lane = larger(score, *lane);
                }
            }
            *largest = fold(lanes, larger);
        }
        for (row, (&mut largest, sum)) in self.lse.iter_mut().zip(&mut *self.scales).enumerate() {
            let (lines, _) = self.scores.row_mut(row)[..padded].as_chunks_mut::<LINE>();
            let mut lanes = [0.0; LINE];
            for line in lines {
                for (lane, score) in lanes.iter_mut().zip(line) {
                    *score = exp::<FUSED>(*score - largest);
                    *lane += *score;
                }
            }
            *sum = fold(lanes, |a, b| a + b);
        }
        for (lse, scale) in self.lse.iter_mut().zip(self.scales) {
            // The largest score adds exactly one to the sum.
            *lse += ln_1p(*scale - 1.0);
            *scale = 1.0 / *scale;
        }
    }
}

/// Makes probabilities `P` of scores, and of their gradients `dP` the gradients of the scores: with `D` the sum of
/// `P∘dP` over a row, `P∘(dP − D)`.
pub(super) struct Derive<'a> {
    pub(super) scores: &'a mut Matrix,
    pub(super) gradients: &'a mut Matrix,
    pub(super) keys: usize,
    pub(super) lse: &'a [f32],
    /// Place for `D` of every row.
    pub(super) sums: &'a mut [f32],
}

impl FusedTask for Derive<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(self) {
        let padded = self.keys.next_multiple_of(LINE);
        for (row, (&lse, sum)) in self.lse.iter().zip(&mut *self.sums).enumerate() {
            let (scores, _) = self.scores.row_mut(row)[..padded].as_chunks_mut::<LINE>();
            let (gradients, _) = self.gradients.row(row)[..padded].as_chunks::<LINE>();
            let mut lanes = [0.0; LINE];
            for (scores, gradients) in scores.iter_mut().zip(gradients) {
                let mut line = *scores;
                for ((lane, score), &gradient) in lanes.iter_mut().zip(&mut line).zip(gradients) {
                    *score = exp::<FUSED>(*score - lse);
                    *lane = mul_add::<FUSED>(*score, gradient, *lane);
                }
                *scores = line;
            }
            *sum = fold(lanes, |a, b| a + b);
        }
        for (row, &sum) in self.sums[..self.lse.len()].iter().enumerate() {
            let (scores, _) = self.scores.row(row)[..padded].as_chunks::<LINE>();
            let (gradients, _) = self.gradients.row_mut(row)[..padded].as_chunks_mut::<LINE>();
            for (scores, gradients) in scores.iter().zip(gradients) {
                let mut line = *gradients;
                for (&score, gradient) in scores.iter().zip(&mut line) {
                    *gradient = score * (*gradient - sum);
                }
                *gradients = line;
            }
        }
    }
}

/// Writes rows of a matrix, each times its factor, as tokens of a head.
pub(super) struct Write<'a, 'b, E, I> {
    pub(super) from: &'a Matrix,
    /// For every row, the token that it becomes and its factor.
    pub(super) tokens: I,
    pub(super) head: &'a mut HeadMut<'b, E>,
}

impl<E: Element, I: Iterator<Item = (usize, f32)> + Clone> FusedTask for Write<'_, '_, E, I> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(self) {
        let (width, stride, from) = (self.head.width(), self.from.stride(), self.from.flat());
        let whole = width / LINE * LINE;
        for column in (0..whole).step_by(LINE) {
            for (row, (token, factor)) in self.tokens.clone().enumerate() {
                let mut line = [E::default(); LINE];
                for (to, from) in line.iter_mut().zip(&from[row * stride + column..][..LINE]) {
                    *to = E::from_f32(from * factor);
                }
                self.head.part_mut(token, column, LINE).copy_from_slice(&line);
            }
        }
        if whole < width {
            for (row, (token, factor)) in self.tokens.enumerate() {
                let to = self.head.part_mut(token, whole, width - whole);
                for (to, from) in to.iter_mut().zip(&from[row * stride + whole..]) {
                    *to = E::from_f32(from * factor);
                }
            }
        }
    }
}

/// The larger number; the second if one of them is none.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Joins the lanes of a line, halves with halves.
#[inline(always)]
fn fold(mut line: [f32; LINE], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LINE / 2;
    while half > 0 {
        for lane in 0..half {
            line[lane] = join(line[lane], line[lane + half]);
        }
        half /= 2;
    }
    line[0]
}
