//! Scaled dot-product attention of short sequences, forward and backward: `softmax(Q·Kᵀ / √width)·V` of every head.
//!
//! Guarantee: softmax and every sum are in single precision, whatever numbers are read and written; the result does not
//! depend on the number of threads; a batch element whose keys are all masked gives zeros and zero gradients; what
//! masked keys and values hold, be it no number, changes nothing. Each level of vector instructions gives its own
//! rounding (the wider ones fuse products with sums), so machines agree to rounding, not bit by bit.
//!
//! One head of one batch element is worked on at a time, in matrices that the caches hold. Batch elements and heads are
//! shared out among the threads of the current rayon pool.

mod backward;
mod exponential;
mod forward;
mod matrix;
mod product;
mod rows;
#[cfg(test)]
mod tests;
mod tokens;

use rayon::prelude::*;

use backward::{Backward, HeadGradients};
use forward::Forward;
use tokens::{Head, HeadAt};
pub use tokens::{Tokens, TokensMut};

use crate::number::Element;
use crate::rows::ShapeError;
use crate::simd::Level;

/// Queries that are taken at a time.
const BLOCK: usize = 64;

/// The sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Batch elements.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Queries of a batch element.
    pub queries: usize,
    /// Keys, and values, of a batch element.
    pub keys: usize,
    /// Numbers of a token in one head.
    pub width: usize,
}

impl Shape {
    /// What scores are multiplied by: 1/√width.
    fn scale(&self) -> f32 {
        (1.0 / (self.width as f64).sqrt()) as f32
    }

    fn head_at(&self, element: usize, head: usize, tokens: usize) -> HeadAt {
        HeadAt { element, tokens, head, width: self.width }
    }
}

/// What attention reads. A token has the numbers of its first head, then those of the second, and so on.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, E> {
    /// Queries `[batch, queries, heads·width]`.
    pub q: Tokens<'a, E>,
    /// Keys `[batch, keys, heads·width]`.
    pub k: Tokens<'a, E>,
    /// Values `[batch, keys, heads·width]`.
    pub v: Tokens<'a, E>,
    /// Which keys may be attended to, `[batch, keys]`; all where there is none.
    pub mask: Option<&'a [bool]>,
}

/// What the backward pass writes, every number of it.
#[derive(Debug)]
pub struct Gradients<'a, E> {
    /// Of the queries, `[batch, queries, heads·width]`.
    pub q: TokensMut<'a, E>,
    /// Of the keys, `[batch, keys, heads·width]`.
    pub k: TokensMut<'a, E>,
    /// Of the values, `[batch, keys, heads·width]`.
    pub v: TokensMut<'a, E>,
}

/// Attends: writes `out` `[batch, queries, heads·width]` and, for [`backward`], the logarithm of the sum of the
/// exponentials of every query's scores, `lse` `[batch, heads, queries]` (−∞ where every key is masked).
///
/// # Errors
/// When the lengths do not fit the shape; nothing is then written.
pub fn forward<E: Element>(
    shape: Shape,
    inputs: Inputs<E>,
    out: TokensMut<E>,
    lse: &mut [f32],
) -> Result<(), ShapeError> {
    forward_at(Level::best(), shape, inputs, out, lse)
}

/// The gradients of queries, keys and values, from that of the result, `grad_out` `[batch, queries, heads·width]`, and
/// the `lse` that [`forward`] wrote for the same inputs.
///
/// # Errors
/// When the lengths do not fit the shape; nothing is then written.
pub fn backward<E: Element>(
    shape: Shape,
    inputs: Inputs<E>,
    lse: &[f32],
    grad_out: Tokens<E>,
    grads: Gradients<E>,
) -> Result<(), ShapeError> {
    backward_at(Level::best(), shape, inputs, lse, grad_out, grads)
}

fn forward_at<E: Element>(
    level: Level,
    shape: Shape,
    inputs: Inputs<E>,
    out: TokensMut<E>,
    lse: &mut [f32],
) -> Result<(), ShapeError> {
    let Shape { batch, heads, queries, width, .. } = shape;
    inputs.check(shape, lse)?;
    out.check("out", batch * queries, heads * width)?;
    if queries == 0 {
        return Ok(());
    }
    let lse = TokensMut::new(lse, queries, queries)?;
    each_head(
        shape,
        || Forward::new(level, shape),
        |scratch, element, head| {
            // SAFETY: `each_head` comes once to every head of every batch element.
            let (mut out, mut lse) = unsafe {
                let at = HeadAt { element: element * heads + head, tokens: 1, head: 0, width: queries };
                (out.head(shape.head_at(element, head, queries)), lse.head(at))
            };
            scratch.head(&inputs.head(shape, element, head), &mut out, lse.part_mut(0, 0, queries));
        },
    );
    Ok(())
}

fn backward_at<E: Element>(
    level: Level,
    shape: Shape,
    inputs: Inputs<E>,
    lse: &[f32],
    grad_out: Tokens<E>,
    grads: Gradients<E>,
) -> Result<(), ShapeError> {
    let Shape { batch, heads, queries, keys, width } = shape;
    inputs.check(shape, lse)?;
    grad_out.check("the gradient of out", batch * queries, heads * width)?;
    grads.q.check("the gradient of q", batch * queries, heads * width)?;
    grads.k.check("the gradient of k", batch * keys, heads * width)?;
    grads.v.check("the gradient of v", batch * keys, heads * width)?;
    each_head(
        shape,
        || Backward::new(level, shape),
        |scratch, element, head| {
            // SAFETY: `each_head` comes once to every head of every batch element.
            let mut grads = unsafe {
                HeadGradients {
                    q: grads.q.head(shape.head_at(element, head, queries)),
                    k: grads.k.head(shape.head_at(element, head, keys)),
                    v: grads.v.head(shape.head_at(element, head, keys)),
                }
            };
            let lse = &lse[(element * heads + head) * queries..][..queries];
            let grad_out = grad_out.head(shape.head_at(element, head, queries));
            scratch.head(&inputs.head(shape, element, head), lse, grad_out, &mut grads);
        },
    );
    Ok(())
}

/// Calls `work(scratch, batch element, head)` once for every head of every batch element, in the current rayon pool if
/// it has more than one thread.
fn each_head<S: Send>(
    shape: Shape,
    scratch: impl Fn() -> S + Send + Sync,
    work: impl Fn(&mut S, usize, usize) + Send + Sync,
) {
    let all = shape.batch * shape.heads;
    let work = |scratch: &mut S, at: usize| work(scratch, at / shape.heads, at % shape.heads);
    if rayon::current_num_threads() > 1 {
        // The heads of a token share pages and lines of memory: they stay with one thread.
        (0..all).into_par_iter().with_min_len(shape.heads).for_each_init(scratch, work);
    } else {
        let scratch = &mut scratch();
        (0..all).for_each(|at| work(scratch, at));
    }
}

impl<'a, E> Inputs<'a, E> {
    fn check(&self, shape: Shape, lse: &[f32]) -> Result<(), ShapeError> {
        let Shape { batch, heads, queries, keys, width } = shape;
        if heads == 0 || width == 0 {
            return Err(ShapeError(format!("there is no attention with {heads} heads of width {width}")));
        }
        self.q.check("q", batch * queries, heads * width)?;
        self.k.check("k", batch * keys, heads * width)?;
        self.v.check("v", batch * keys, heads * width)?;
        if let Some(mask) = self.mask
            && mask.len() != batch * keys
        {
            return Err(ShapeError(format!("a mask of {} keys for {batch} times {keys}", mask.len())));
        }
        if lse.len() != batch * heads * queries {
            return Err(ShapeError(format!("lse has {} places for {batch} × {heads} × {queries}", lse.len())));
        }
        Ok(())
    }

    fn head(&self, shape: Shape, element: usize, head: usize) -> HeadInputs<'a, E>
    where
        E: Copy,
    {
        let Shape { queries, keys, .. } = shape;
        HeadInputs {
            q: self.q.head(shape.head_at(element, head, queries)),
            k: self.k.head(shape.head_at(element, head, keys)),
            v: self.v.head(shape.head_at(element, head, keys)),
            keys,
            mask: self.mask.map(|mask| &mask[element * keys..][..keys]),
        }
    }
}

/// What is read of one head in one batch element.
struct HeadInputs<'a, E> {
    q: Head<'a, E>,
    k: Head<'a, E>,
    v: Head<'a, E>,
    keys: usize,
    mask: Option<&'a [bool]>,
}

impl<E> HeadInputs<'_, E> {
    /// Lists the keys that may be attended to.
    fn attended(&self, keys: &mut Vec<usize>) {
        keys.clear();
        keys.extend((0..self.keys).filter(|&key| self.mask.is_none_or(|mask| mask[key])));
    }
}
