//! Schedules by optimizer step: learning rate, weight decay, teacher momentum.

use std::f64::consts::PI;

use crate::config::{OptimizerConfig, TeacherConfig};

/// Linear warm-up over `warmup_share` of all steps, then a cosine from `lr` to `lr_min`.
///
/// `step` counts from 0; the rate of the first step is above zero.
pub fn learning_rate(config: &OptimizerConfig, step: u64, total: u64) -> f64 {
    let warmup = (config.warmup_share * total as f64).round();
    let at = step as f64;
    if at < warmup {
        return config.lr * (at + 1.0) / warmup;
    }
    config.lr_min + (config.lr - config.lr_min) * half_cosine((at - warmup) / (total as f64 - warmup).max(1.0))
}

/// Cosine from `weight_decay` to `weight_decay_end`.
pub fn weight_decay(config: &OptimizerConfig, step: u64, total: u64) -> f64 {
    let share = half_cosine(step as f64 / total.max(1) as f64);
    config.weight_decay_end + (config.weight_decay - config.weight_decay_end) * share
}

/// Linear from `momentum` to `momentum_end`.
pub fn momentum(config: &TeacherConfig, step: u64, total: u64) -> f64 {
    config.momentum + (config.momentum_end - config.momentum) * (step as f64 / total.max(1) as f64)
}

/// `½(1 + cos πp)` with `p` held in `[0, 1]`.
fn half_cosine(p: f64) -> f64 {
    0.5 * (1.0 + (PI * p.clamp(0.0, 1.0)).cos())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn schedules_stay_between_their_ends_and_move_one_way(
            total in 1_u64..5000, warmup_share in 0.0_f64..1.0, lr in 1e-6_f64..1.0, share in 0.0_f64..1.0,
            (decay, decay_end) in (0.0_f64..1.0, 0.0_f64..1.0), (from, to) in (0.0_f64..1.0, 0.0_f64..1.0),
        ) {
            let optimizer = OptimizerConfig {
                lr, lr_min: lr * share, warmup_share, weight_decay: decay, weight_decay_end: decay_end,
                ..OptimizerConfig::default()
            };
            let teacher = TeacherConfig { momentum: from, momentum_end: to };
            let warmup = (warmup_share * total as f64).round() as u64;
            let rates: Vec<f64> = (0..total).map(|step| learning_rate(&optimizer, step, total)).collect();
            let slack = 1e-12;
            for (step, pair) in rates.windows(2).enumerate() {
                let rising = (step as u64) + 1 < warmup;
                prop_assert!(if rising { pair[1] >= pair[0] } else { pair[1] <= pair[0] + slack }, "step {}", step);
            }
            prop_assert!(rates.iter().all(|&rate| rate > 0.0 && rate <= lr + slack));
            // Behind the warm-up it never falls below its end, which it reaches.
            let floor = lr * share;
            prop_assert!(rates.iter().skip(warmup as usize).all(|&rate| rate >= floor - slack));
            if warmup < total {
                prop_assert!((learning_rate(&optimizer, total, total) - floor).abs() <= slack);
            }
            for step in [0, total / 3, total / 2, total - 1, total] {
                let within = |x: f64, a: f64, b: f64| x >= a.min(b) - slack && x <= a.max(b) + slack;
                prop_assert!(within(weight_decay(&optimizer, step, total), decay, decay_end));
                prop_assert!(within(momentum(&teacher, step, total), from, to));
            }
        }
    }

    #[test]
    fn learning_rate_starts_peaks_and_ends_where_it_should() {
        let config = OptimizerConfig { lr: 1.0, lr_min: 0.2, warmup_share: 0.1, ..OptimizerConfig::default() };
        assert!((learning_rate(&config, 0, 1000) - 0.01).abs() < 1e-12);
        assert!((learning_rate(&config, 99, 1000) - 1.0).abs() < 1e-12);
        assert!((learning_rate(&config, 100, 1000) - 1.0).abs() < 1e-12);
        // lr_min + (lr - lr_min)·0.853 553 a quarter of the way down, and lr_min at the end.
        assert!((learning_rate(&config, 100 + 225, 1000) - (0.2 + 0.8 * 0.853_553_390_6)).abs() < 1e-9);
        assert!((learning_rate(&config, 1000, 1000) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn momentum_and_decay_reach_their_ends() {
        let teacher = TeacherConfig::default();
        assert!((momentum(&teacher, 0, 100) - 0.996).abs() < 1e-12);
        assert!((momentum(&teacher, 50, 100) - 0.998).abs() < 1e-12);
        assert!((momentum(&teacher, 100, 100) - 1.0).abs() < 1e-12);
        let config = OptimizerConfig { weight_decay: 0.04, weight_decay_end: 0.4, ..OptimizerConfig::default() };
        assert!((weight_decay(&config, 0, 10) - 0.04).abs() < 1e-12);
        assert!((weight_decay(&config, 10, 10) - 0.4).abs() < 1e-12);
    }
}
