//! Backward attention of one head in one batch element.
//!
//! Guarantee: keys that the mask excludes are not even read, and their gradients are zero.
//!
//! With `S = scale·Q·Kᵀ`, `P = exp(S − lse)` and `D` the sum of `P∘dP` over a row: `dV = Pᵀ·dO`, `dP = dO·Vᵀ`,
//! `dS = P∘(dP − D)`, `dQ = scale·dS·K`, `dK = scale·dSᵀ·Q` (Dao et al., *FlashAttention*, 2022, appendix B.2). `D`
//! equals the sum of `dO∘O` over a row of the output, which is therefore not asked for, nor its rounding felt.

use super::matrix::Matrix;
use super::product::{Left, product};
use super::rows::{Derive, Read, Transpose, Write};
use super::tokens::{Head, HeadMut};
use super::{BLOCK, HeadInputs, Shape};
use crate::number::Element;
use crate::simd::Level;

/// What is written of one head.
pub(super) struct HeadGradients<'a, E> {
    pub(super) q: HeadMut<'a, E>,
    pub(super) k: HeadMut<'a, E>,
    pub(super) v: HeadMut<'a, E>,
}

/// Memory that one thread works in, head after head.
pub(super) struct Backward {
    level: Level,
    shape: Shape,
    /// The keys that may be attended to.
    keys: Vec<usize>,
    k: Matrix,
    k_turned: Matrix,
    grad_k: Matrix,
    v_turned: Matrix,
    grad_v: Matrix,
    q: Matrix,
    grad_q: Matrix,
    grad_out: Matrix,
    scores: Matrix,
    grad_scores: Matrix,
    sums: [f32; BLOCK],
}

impl Backward {
    pub(super) fn new(level: Level, shape: Shape) -> Self {
        let Shape { queries, keys, width, .. } = shape;
        let rows = queries.min(BLOCK);
        Self {
            level,
            shape,
            keys: Vec::with_capacity(keys),
            k: Matrix::zeros(keys, width),
            k_turned: Matrix::zeros(width, keys),
            grad_k: Matrix::zeros(keys, width),
            v_turned: Matrix::zeros(width, keys),
            grad_v: Matrix::zeros(keys, width),
            q: Matrix::zeros(rows, width),
            grad_q: Matrix::zeros(rows, width),
            grad_out: Matrix::zeros(rows, width),
            scores: Matrix::zeros(rows, keys),
            grad_scores: Matrix::zeros(rows, keys),
            sums: [0.0; BLOCK],
        }
    }

    /// One head: the gradients of its queries, keys and values.
    pub(super) fn head<E: Element>(
        &mut self,
        inputs: &HeadInputs<E>,
        lse: &[f32],
        grad_out: Head<E>,
        grads: &mut HeadGradients<E>,
    ) {
        let Shape { queries, keys, .. } = self.shape;
        inputs.attended(&mut self.keys);
        if self.keys.len() < keys || queries == 0 {
            for key in 0..keys {
                grads.k.fill(key, E::default());
                grads.v.fill(key, E::default());
            }
        }
        if self.keys.is_empty() || queries == 0 {
            (0..queries).for_each(|query| grads.q.fill(query, E::default()));
            return;
        }
        self.read_keys(inputs);
        for first in (0..queries).step_by(BLOCK) {
            let block = first..queries.min(first + BLOCK);
            let (level, factor) = (self.level, self.shape.scale());
            level.run_fused(Read { head: inputs.q, tokens: block.clone(), factor, into: &mut self.q });
            level.run_fused(Read { head: grad_out, tokens: block.clone(), factor: 1.0, into: &mut self.grad_out });
            self.block(&lse[block.clone()], first > 0);
            let tokens = block.map(|query| (query, factor));
            level.run_fused(Write { from: &self.grad_q, tokens, head: &mut grads.q });
        }
        for (from, head) in [(&self.grad_k, &mut grads.k), (&self.grad_v, &mut grads.v)] {
            self.level.run_fused(Write { from, tokens: self.keys.iter().map(|&key| (key, 1.0)), head });
        }
    }

    fn read_keys<E: Element>(&mut self, inputs: &HeadInputs<E>) {
        let (level, rows) = (self.level, self.keys.len());
        // The values themselves are needed only on the way to their transpose: the gradients' place will do.
        let from = &mut self.grad_v;
        level.run_fused(Read { head: inputs.v, tokens: self.keys.iter().copied(), factor: 1.0, into: from });
        level.run_fused(Transpose { from, rows, into: &mut self.v_turned });
        let from = &mut self.k;
        level.run_fused(Read { head: inputs.k, tokens: self.keys.iter().copied(), factor: 1.0, into: from });
        level.run_fused(Transpose { from, rows, into: &mut self.k_turned });
    }

    /// A block of queries, which were read times the scale: their gradients, and what they add to those of keys and
    /// values; with `onto` there was a block before.
    fn block(&mut self, lse: &[f32], onto: bool) {
        let (level, rows, keys, width) = (self.level, lse.len(), self.keys.len(), self.shape.width);
        product(level, Left::Plain(&self.q), &self.k_turned, &mut self.scores, [rows, keys, width], false);
        product(level, Left::Plain(&self.grad_out), &self.v_turned, &mut self.grad_scores, [rows, keys, width], false);
        let (scores, gradients) = (&mut self.scores, &mut self.grad_scores);
        level.run_fused(Derive { scores, gradients, keys, lse, sums: &mut self.sums });
        product(level, Left::Transposed(&self.scores), &self.grad_out, &mut self.grad_v, [keys, width, rows], onto);
        product(level, Left::Transposed(&self.grad_scores), &self.q, &mut self.grad_k, [keys, width, rows], onto);
        product(level, Left::Plain(&self.grad_scores), &self.k, &mut self.grad_q, [rows, width, keys], false);
    }
}
