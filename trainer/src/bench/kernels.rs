//! Time of the optimizer's passes over memory, beside a plain copy.

use std::time::Instant;

use serde::Serialize;
use syncyte_kernels::number::Bf16;
use syncyte_kernels::optim::{AdamW, Gradients, Slices, Teacher, gradient_norm, update};

/// One thread's passes over a state, best of several turns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KernelTimes {
    /// Parameters.
    pub parameters: usize,
    /// Parameters that have a teacher.
    pub taught: usize,
    /// Bandwidth of a plain copy of f32, bytes read and written, GB/s.
    pub copy_gb_s: f64,
    /// The fused update (`AdamW`, teacher, zeroed gradients), milliseconds.
    pub update_ms: f64,
    /// Its bandwidth, bytes read and written, GB/s.
    pub update_gb_s: f64,
    /// The same with bfloat16 copies of parameters and teacher, milliseconds.
    pub update_shadows_ms: f64,
    /// Norm of the gradient, milliseconds.
    pub norm_ms: f64,
}

/// Times the passes over `parameters` numbers, of which `taught` have a teacher.
pub fn measure(parameters: usize, taught: usize, turns: usize) -> KernelTimes {
    let numbers = || vec![1e-3_f32; parameters];
    let (mut params, mut grads, mut m, mut v) = (numbers(), numbers(), numbers(), numbers());
    let mut teacher = vec![1e-3_f32; taught];
    let (mut shadow, mut teacher_shadow) = (vec![Bf16::default(); parameters], vec![Bf16::default(); taught]);
    let copy = best(turns, || m.copy_from_slice(&v));
    let mut step = |shadows: bool| {
        let slices = Slices {
            params: &mut params,
            grads: Gradients::Zeroed(&mut grads),
            m: &mut m,
            v: &mut v,
            shadow: shadows.then_some(shadow.as_mut_slice()),
            teacher: None,
        };
        let (with, without) = slices.split_at(taught);
        let shadow = shadows.then_some(teacher_shadow.as_mut_slice());
        let teacher = Some(Teacher { params: &mut teacher, shadow, momentum: 0.996 });
        update(Slices { teacher, ..with }, &STEP);
        update(without, &STEP);
    };
    let (plain, shadowed) = (best(turns, || step(false)), best(turns, || step(true)));
    let norm = best(turns, || {
        std::hint::black_box(gradient_norm(&grads));
    });
    // Read: parameters, gradients, both moments, teacher; written: the same.
    let bytes = (8 * (4 * parameters + taught)) as f64;
    KernelTimes {
        parameters,
        taught,
        copy_gb_s: (8 * parameters) as f64 / copy / 1e9,
        update_ms: plain * 1e3,
        update_gb_s: bytes / plain / 1e9,
        update_shadows_ms: shadowed * 1e3,
        norm_ms: norm * 1e3,
    }
}

const STEP: AdamW =
    AdamW { lr: 1e-3, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 10, grad_scale: 1.0 };

/// Seconds of the fastest turn.
fn best(turns: usize, mut work: impl FnMut()) -> f64 {
    let mut one = || {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    };
    (0..turns.max(1)).map(|_| one()).fold(f64::INFINITY, f64::min)
}
