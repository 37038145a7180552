//! One pass over parameters, gradients, moments and teacher.
//!
//! Guarantee: [`update`] gives the bits of [`update_reference`], which writes every operation out, on every processor
//! and for every way of cutting the slices. Every element is read once and written once. The update follows
//! Loshchilov & Hutter, *Decoupled weight decay regularization* (2019), with bias correction.
//!
//! How it is fast: a step does little arithmetic for the bytes it moves, so all that is done to an element is done
//! while it is in registers, a few lines of memory at a time. What is written without being read, the bfloat16
//! copies, goes around the caches.

use crate::number::{Bf16, Element};
use crate::optim::convert::converted;
use crate::optim::{Gradients, Slices, Teacher};
use crate::simd::{Level, Task, fence, stream};

/// Elements that are taken at once: a line of memory in bfloat16.
const LANES: usize = 32;

/// Constants of one `AdamW` step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decoupled weight decay (0 where it does not apply).
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Number of this step, from 1.
    pub step: u64,
    /// Every gradient is multiplied by this first ([`GradientNorm::scale`](crate::optim::GradientNorm::scale)).
    pub grad_scale: f64,
}

/// What [`AdamW`] and the momentum of a teacher come to in the formula: worked out once, in double precision.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct Constants {
    grad_scale: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    inverse_root_correction: f32,
    eps: f32,
    /// What weight decay leaves of a parameter.
    keep: f32,
    /// What the teacher takes of the distance to its student.
    pull: f32,
}

impl Constants {
    pub(crate) fn new(step: &AdamW, momentum: Option<f64>) -> Self {
        let power = step.step.min(i32::MAX as u64) as i32;
        Self {
            grad_scale: step.grad_scale as f32,
            beta1: step.beta1 as f32,
            one_minus_beta1: (1.0 - step.beta1) as f32,
            beta2: step.beta2 as f32,
            one_minus_beta2: (1.0 - step.beta2) as f32,
            step_size: (step.lr / (1.0 - step.beta1.powi(power))) as f32,
            inverse_root_correction: (1.0 / (1.0 - step.beta2.powi(power)).sqrt()) as f32,
            eps: step.eps as f32,
            keep: (1.0 - step.lr * step.weight_decay) as f32,
            pull: momentum.map_or(0.0, pull),
        }
    }
}

fn pull(momentum: f64) -> f32 {
    (1.0 - momentum) as f32
}

/// One step: with the gradient times its scale, `w ← w − lr·wd·w − lr·m̂/(√v̂ + eps)`; then the teacher follows the new
/// parameters, the bfloat16 copies are rounded from what they copy, and the gradients are zeroed, each where the slices
/// have it. Whether the gradients are finite is for the caller to know before
/// ([`gradient_norm`](crate::optim::gradient_norm)).
///
/// # Panics
/// When the slices differ in length.
pub fn update<G: Element>(slices: Slices<G>, step: &AdamW) {
    update_at(Level::best(), slices, step);
}

pub(super) fn update_at<G: Element>(level: Level, slices: Slices<G>, step: &AdamW) {
    slices.check();
    let constants = Constants::new(step, slices.teacher.as_ref().map(|teacher| teacher.momentum));
    level.run(Update { slices, constants });
}

/// [`update`] one element after another.
///
/// # Panics
/// As [`update`].
pub fn update_reference<G: Element>(slices: Slices<G>, step: &AdamW) {
    slices.check();
    let Slices { params, mut grads, m, v, mut shadow, mut teacher } = slices;
    let k = Constants::new(step, teacher.as_ref().map(|teacher| teacher.momentum));
    for at in 0..params.len() {
        let g = match &mut grads {
            Gradients::Kept(grads) => grads[at],
            Gradients::Zeroed(grads) => std::mem::take(&mut grads[at]),
        };
        let g = g.to_f32() * k.grad_scale;
        m[at] = (k.beta1 * m[at]) + (k.one_minus_beta1 * g);
        v[at] = (k.beta2 * v[at]) + ((k.one_minus_beta2 * g) * g);
        let denominator = (v[at].sqrt() * k.inverse_root_correction) + k.eps;
        params[at] = (params[at] * k.keep) - ((k.step_size * m[at]) / denominator);
        if let Some(shadow) = &mut shadow {
            shadow[at] = Bf16::from_f32(params[at]);
        }
        if let Some(teacher) = &mut teacher {
            teacher.params[at] = teacher.params[at] + (k.pull * (params[at] - teacher.params[at]));
            if let Some(shadow) = &mut teacher.shadow {
                shadow[at] = Bf16::from_f32(teacher.params[at]);
            }
        }
    }
}

/// Moves a teacher towards a student that no update moves (a frozen encoder), with the bits that [`update`] would give.
///
/// # Panics
/// When the slices differ in length.
pub fn ema(teacher: Teacher, student: &[f32]) {
    ema_at(Level::best(), teacher, student);
}

pub(super) fn ema_at(level: Level, teacher: Teacher, student: &[f32]) {
    teacher.check(student.len());
    level.run(Ema { teacher, student });
}

struct Update<'a, G> {
    slices: Slices<'a, G>,
    constants: Constants,
}

impl<G: Element> Task for Update<'_, G> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { slices, constants } = self;
        let whole = slices.params.len() / LANES * LANES;
        let (lines, rest) = slices.split_at(whole);
        pass::<G, LANES>(lines, &constants);
        pass::<G, 1>(rest, &constants);
        fence();
    }
}

/// Updates slices whose length is a multiple of `N`, `N` elements at a time.
#[inline(always)]
fn pass<G: Element, const N: usize>(slices: Slices<G>, k: &Constants) {
    let Slices { params, mut grads, m, v, shadow, teacher } = slices;
    let params = params.as_chunks_mut::<N>().0;
    // The same length, said again where the compiler sees it.
    let m = &mut m.as_chunks_mut::<N>().0[..params.len()];
    let v = &mut v.as_chunks_mut::<N>().0[..params.len()];
    let mut shadow = shadow.map(|shadow| shadow.as_chunks_mut::<N>().0);
    let mut follow = teacher.map(Follow::<N>::new);
    for at in 0..params.len() {
        let g = match &mut grads {
            Gradients::Kept(grads) => grads.as_chunks::<N>().0[at],
            Gradients::Zeroed(grads) => std::mem::replace(&mut grads.as_chunks_mut::<N>().0[at], [G::default(); N]),
        };
        // Copies: the compiler would not know that writing one slice leaves the others as they are.
        let (mut w, mut m_at, mut v_at) = (params[at], m[at], v[at]);
        for i in 0..N {
            adamw(k, g[i].to_f32(), &mut w[i], &mut m_at[i], &mut v_at[i]);
        }
        (params[at], m[at], v[at]) = (w, m_at, v_at);
        if let Some(shadow) = &mut shadow {
            stream(&mut shadow[at], converted(&w));
        }
        if let Some(follow) = &mut follow {
            follow.step(at, &w, k.pull);
        }
    }
}

#[inline(always)]
fn adamw(k: &Constants, g: f32, w: &mut f32, m: &mut f32, v: &mut f32) {
    let g = g * k.grad_scale;
    *m = k.beta1 * *m + k.one_minus_beta1 * g;
    *v = k.beta2 * *v + k.one_minus_beta2 * g * g;
    *w = *w * k.keep - k.step_size * *m / (v.sqrt() * k.inverse_root_correction + k.eps);
}

/// A teacher, `N` elements at a time.
struct Follow<'a, const N: usize> {
    params: &'a mut [[f32; N]],
    shadow: Option<&'a mut [[Bf16; N]]>,
}

impl<'a, const N: usize> Follow<'a, N> {
    #[inline(always)]
    fn new(teacher: Teacher<'a>) -> Self {
        let params = teacher.params.as_chunks_mut().0;
        Self { params, shadow: teacher.shadow.map(|shadow| shadow.as_chunks_mut().0) }
    }

    #[inline(always)]
    fn step(&mut self, at: usize, student: &[f32; N], pull: f32) {
        let mut teacher = self.params[at];
        for (t, w) in teacher.iter_mut().zip(student) {
            *t += pull * (w - *t);
        }
        self.params[at] = teacher;
        if let Some(shadow) = &mut self.shadow {
            stream(&mut shadow[at], converted(&teacher));
        }
    }
}

struct Ema<'a> {
    teacher: Teacher<'a>,
    student: &'a [f32],
}

impl Task for Ema<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { teacher, student } = self;
        let pull = pull(teacher.momentum);
        let (lines, rest) = student.as_chunks::<LANES>();
        let (teacher, teacher_rest) = teacher.split_at(student.len() - rest.len());
        let mut follow = Follow::new(teacher);
        for (at, student) in lines.iter().enumerate() {
            follow.step(at, student, pull);
        }
        let mut follow = Follow::new(teacher_rest);
        for (at, &student) in rest.iter().enumerate() {
            follow.step(at, &[student], pull);
        }
        fence();
    }
}
