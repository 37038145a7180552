//! Forward attention of one head in one batch element.
//!
//! Guarantee: keys that the mask excludes are not even read.

use super::matrix::Matrix;
use super::product::{Left, product};
use super::rows::{Read, Softmax, Transpose, Write};
use super::tokens::HeadMut;
use super::{BLOCK, HeadInputs, Shape};
use crate::number::Element;
use crate::simd::Level;

/// Memory that one thread works in, head after head.
pub(super) struct Forward {
    level: Level,
    shape: Shape,
    /// The keys that may be attended to.
    keys: Vec<usize>,
    k: Matrix,
    k_turned: Matrix,
    v: Matrix,
    q: Matrix,
    scores: Matrix,
    out: Matrix,
    scales: [f32; BLOCK],
}

impl Forward {
    pub(super) fn new(level: Level, shape: Shape) -> Self {
        let Shape { queries, keys, width, .. } = shape;
        let rows = queries.min(BLOCK);
        Self {
            level,
            shape,
            keys: Vec::with_capacity(keys),
            k: Matrix::zeros(keys, width),
            k_turned: Matrix::zeros(width, keys),
            v: Matrix::zeros(keys, width),
            q: Matrix::zeros(rows, width),
            scores: Matrix::zeros(rows, keys),
            out: Matrix::zeros(rows, width),
            scales: [0.0; BLOCK],
        }
    }

    /// One head: its result, and the log-sum-exp of every query.
    pub(super) fn head<E: Element>(&mut self, inputs: &HeadInputs<E>, out: &mut HeadMut<E>, lse: &mut [f32]) {
        let Shape { queries, width, .. } = self.shape;
        inputs.attended(&mut self.keys);
        if self.keys.is_empty() {
            (0..queries).for_each(|query| out.fill(query, E::default()));
            lse.fill(f32::NEG_INFINITY);
            return;
        }
        let (level, keys) = (self.level, self.keys.len());
        level.run_fused(Read { head: inputs.k, tokens: self.keys.iter().copied(), factor: 1.0, into: &mut self.k });
        level.run_fused(Transpose { from: &mut self.k, rows: keys, into: &mut self.k_turned });
        level.run_fused(Read { head: inputs.v, tokens: self.keys.iter().copied(), factor: 1.0, into: &mut self.v });
        for first in (0..queries).step_by(BLOCK) {
            let block = first..queries.min(first + BLOCK);
            let (rows, lse) = (block.len(), &mut lse[block.clone()]);
            let scales = &mut self.scales[..rows];
            let factor = self.shape.scale();
            level.run_fused(Read { head: inputs.q, tokens: block.clone(), factor, into: &mut self.q });
            product(level, Left::Plain(&self.q), &self.k_turned, &mut self.scores, [rows, keys, width], false);
            level.run_fused(Softmax { scores: &mut self.scores, keys, lse, scales });
            product(level, Left::Plain(&self.scores), &self.v, &mut self.out, [rows, width, keys], false);
            let tokens = block.zip(scales.iter().copied());
            level.run_fused(Write { from: &self.out, tokens, head: out });
        }
    }
}
