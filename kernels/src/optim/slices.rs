//! What an update reads and writes.
//!
//! Guarantee: slices that differ in length are refused before anything is written.

use crate::number::Bf16;

/// Gradients, and what is left of them.
#[derive(Debug)]
pub enum Gradients<'a, G> {
    /// They stay as they are.
    Kept(&'a [G]),
    /// They are zero once read, so that the next backward pass can add to them.
    Zeroed(&'a mut [G]),
}

/// A teacher that follows parameters: `t ← t + (1 − momentum)·(w − t)`.
#[derive(Debug)]
pub struct Teacher<'a> {
    /// Its parameters, moved.
    pub params: &'a mut [f32],
    /// Their bfloat16 copy, written.
    pub shadow: Option<&'a mut [Bf16]>,
    /// What it keeps of itself.
    pub momentum: f64,
}

/// The slices of one update, all of one length. The constants of a step hold for all of them: there is one call for
/// each run of parameters that share learning rate, decay and teacher.
#[derive(Debug)]
pub struct Slices<'a, G> {
    /// Parameters, updated.
    pub params: &'a mut [f32],
    /// Gradients.
    pub grads: Gradients<'a, G>,
    /// First moments, updated.
    pub m: &'a mut [f32],
    /// Second moments, updated.
    pub v: &'a mut [f32],
    /// bfloat16 copy of the parameters, written.
    pub shadow: Option<&'a mut [Bf16]>,
    /// Teacher of these parameters.
    pub teacher: Option<Teacher<'a>>,
}

impl<G> Gradients<'_, G> {
    fn len(&self) -> usize {
        match self {
            Self::Kept(grads) => grads.len(),
            Self::Zeroed(grads) => grads.len(),
        }
    }

    fn split_at(self, mid: usize) -> (Self, Self) {
        match self {
            Self::Kept(grads) => {
                let (grads, rest) = grads.split_at(mid);
                (Self::Kept(grads), Self::Kept(rest))
            }
            Self::Zeroed(grads) => {
                let (grads, rest) = grads.split_at_mut(mid);
                (Self::Zeroed(grads), Self::Zeroed(rest))
            }
        }
    }
}

impl Teacher<'_> {
    /// The first `mid` elements, and the rest.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn split_at(self, mid: usize) -> (Self, Self) {
        let Self { params, shadow, momentum } = self;
        let (params, params_rest) = params.split_at_mut(mid);
        let (shadow, shadow_rest) = shadow.map(|shadow| shadow.split_at_mut(mid)).unzip();
        (Self { params, shadow, momentum }, Self { params: params_rest, shadow: shadow_rest, momentum })
    }

    pub(super) fn check(&self, n: usize) {
        assert_eq!(self.params.len(), n, "teacher and student differ in length");
        let shadow = self.shadow.as_ref().map_or(n, |shadow| shadow.len());
        assert_eq!(shadow, n, "the teacher and its bfloat16 copy differ in length");
    }
}

impl<G> Slices<'_, G> {
    /// The first `mid` elements, and the rest: pieces for several threads, or for several runs.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn split_at(self, mid: usize) -> (Self, Self) {
        let (params, params_rest) = self.params.split_at_mut(mid);
        let (grads, grads_rest) = self.grads.split_at(mid);
        let (m, m_rest) = self.m.split_at_mut(mid);
        let (v, v_rest) = self.v.split_at_mut(mid);
        let (shadow, shadow_rest) = self.shadow.map(|shadow| shadow.split_at_mut(mid)).unzip();
        let (teacher, teacher_rest) = self.teacher.map(|teacher| teacher.split_at(mid)).unzip();
        let rest = Self {
            params: params_rest,
            grads: grads_rest,
            m: m_rest,
            v: v_rest,
            shadow: shadow_rest,
            teacher: teacher_rest,
        };
        (Self { params, grads, m, v, shadow, teacher }, rest)
    }

    pub(super) fn check(&self) {
        let n = self.params.len();
        let equal = self.grads.len() == n && self.m.len() == n && self.v.len() == n;
        assert!(equal, "parameters, gradients and moments differ in length");
        let shadow = self.shadow.as_ref().map_or(n, |shadow| shadow.len());
        assert_eq!(shadow, n, "the parameters and their bfloat16 copy differ in length");
        if let Some(teacher) = &self.teacher {
            teacher.check(n);
        }
    }
}
