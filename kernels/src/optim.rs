//! The optimizer step on flat state: global norm, `AdamW` with decoupled weight decay, EMA of the teacher.
//!
//! Guarantee: every function is a pure function of its slices, element by element in a fixed order, so equal
//! inputs give equal bits on every rank. The update follows Loshchilov & Hutter, *Decoupled weight decay
//! regularization* (2019), with bias correction.

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
    /// Every gradient is multiplied by this first (clipping).
    pub grad_scale: f64,
}

/// The slices that one `AdamW` step reads and writes, all of one length.
#[derive(Debug)]
pub struct AdamWState<'a> {
    /// Parameters, updated.
    pub params: &'a mut [f32],
    /// Gradients.
    pub grads: &'a [f32],
    /// First moments, updated.
    pub m: &'a mut [f32],
    /// Second moments, updated.
    pub v: &'a mut [f32],
}

/// Sum of squares, accumulated in f64 over fixed blocks.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    values
        .chunks(4096)
        .map(|block| {
            let mut lanes = [0.0_f64; 8];
            let whole = block.chunks_exact(8);
            let rest: f64 = whole.remainder().iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            for eight in whole {
                for (lane, &x) in lanes.iter_mut().zip(eight) {
                    *lane += f64::from(x) * f64::from(x);
                }
            }
            lanes.iter().sum::<f64>() + rest
        })
        .sum()
}

/// One `AdamW` step: `w ← w − lr·wd·w − lr·m̂/(√v̂ + eps)`.
///
/// # Panics
/// When the slices differ in length.
pub fn adamw(state: AdamWState<'_>, step: &AdamW) {
    let AdamWState { params, grads, m, v } = state;
    let n = params.len();
    assert!(grads.len() == n && m.len() == n && v.len() == n, "optimizer slices differ in length");
    let (beta1, beta2) = (step.beta1 as f32, step.beta2 as f32);
    let (one_minus_beta1, one_minus_beta2) = ((1.0 - step.beta1) as f32, (1.0 - step.beta2) as f32);
    let power = step.step.min(i32::MAX as u64) as i32;
    let step_size = (step.lr / (1.0 - step.beta1.powi(power))) as f32;
    let inverse_root_correction = (1.0 / (1.0 - step.beta2.powi(power)).sqrt()) as f32;
    let (keep, eps) = ((1.0 - step.lr * step.weight_decay) as f32, step.eps as f32);
    let scale = step.grad_scale as f32;
    for (((w, &g), m), v) in params.iter_mut().zip(grads).zip(m).zip(v) {
        let g = g * scale;
        *m = beta1 * *m + one_minus_beta1 * g;
        *v = beta2 * *v + one_minus_beta2 * g * g;
        *w = *w * keep - step_size * *m / ((*v).sqrt() * inverse_root_correction + eps);
    }
}

/// Exponential moving average: `teacher ← momentum·teacher + (1 − momentum)·student`.
///
/// # Panics
/// When the slices differ in length.
pub fn ema(teacher: &mut [f32], student: &[f32], momentum: f64) {
    assert_eq!(teacher.len(), student.len(), "teacher and student differ in length");
    let pull = (1.0 - momentum) as f32;
    for (t, &s) in teacher.iter_mut().zip(student) {
        *t += pull * (s - *t);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: AdamW =
        AdamW { lr: 0.1, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 1, grad_scale: 1.0 };

    #[test]
    fn two_steps_match_the_golden_values() {
        let (mut w, mut m, mut v) = ([1.0_f32], [0.0_f32], [0.0_f32]);
        adamw(AdamWState { params: &mut w, grads: &[0.5], m: &mut m, v: &mut v }, &STEP);
        assert!((f64::from(w[0]) - 0.899_000_002_0).abs() < 1e-6, "{w:?}");
        adamw(AdamWState { params: &mut w, grads: &[-0.25], m: &mut m, v: &mut v }, &AdamW { step: 2, ..STEP });
        assert!((f64::from(w[0]) - 0.871_467_298_7).abs() < 1e-6, "{w:?}");
    }

    #[test]
    fn teacher_error_shrinks_as_a_power_of_the_momentum() {
        let mut teacher = [1.0_f32];
        for _ in 0..173 {
            ema(&mut teacher, &[0.0], 0.996);
        }
        assert!((teacher[0] - 0.996_f32.powi(173)).abs() < 1e-5);
        assert!((teacher[0] - 0.5).abs() < 0.001, "half-life of .996 is 173 steps, got {teacher:?}");
    }

    /// The same step in f64, one element at a time.
    fn adamw_reference(w: f64, g: f64, m: f64, v: f64, s: &AdamW) -> (f64, f64, f64) {
        let g = g * s.grad_scale;
        let (m, v) = (s.beta1 * m + (1.0 - s.beta1) * g, s.beta2 * v + (1.0 - s.beta2) * g * g);
        let m_hat = m / (1.0 - s.beta1.powi(s.step as i32));
        let v_hat = v / (1.0 - s.beta2.powi(s.step as i32));
        (w - s.lr * s.weight_decay * w - s.lr * m_hat / (v_hat.sqrt() + s.eps), m, v)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn adamw_equals_its_reference(
            rows in prop::collection::vec((-2.0_f32..2.0, -2.0_f32..2.0, -0.5_f32..0.5, 0.01_f32..1.0), 1..40),
            step in 1_u64..1000,
            grad_scale in 0.1_f64..1.0,
        ) {
            let s = AdamW { step, grad_scale, ..STEP };
            let (mut w, mut m, mut v): (Vec<_>, Vec<_>, Vec<_>) = (
                rows.iter().map(|r| r.0).collect(), rows.iter().map(|r| r.2).collect(), rows.iter().map(|r| r.3).collect());
            let g: Vec<f32> = rows.iter().map(|r| r.1).collect();
            adamw(AdamWState { params: &mut w, grads: &g, m: &mut m, v: &mut v }, &s);
            for (i, r) in rows.iter().enumerate() {
                let (rw, rm, rv) = adamw_reference(r.0.into(), r.1.into(), r.2.into(), r.3.into(), &s);
                prop_assert!((f64::from(w[i]) - rw).abs() < 2e-5 * (1.0 + rw.abs()), "{} {rw}", w[i]);
                prop_assert!((f64::from(m[i]) - rm).abs() < 1e-6 && (f64::from(v[i]) - rv).abs() < 1e-6);
            }
        }

        #[test]
        fn sum_of_squares_equals_the_plain_sum(values in prop::collection::vec(-10.0_f32..10.0, 0..10_000)) {
            let plain: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            prop_assert!((sum_of_squares(&values) - plain).abs() <= 1e-9 * (1.0 + plain));
        }
    }
}
