//! Variance-preserving diffusion with the cosine schedule: forward process and samplers.
//!
//! Everything derives from `ᾱ(t) = max(f(t)/f(0), ᾱ_min)`, `f = cos²(½π(t+s)/(1+s))`, `s = 0.008` (Nichol & Dhariwal
//! 2021), so noise rates and samplers cannot disagree.

pub mod network;

use std::f64::consts::FRAC_PI_2;

use tch::Tensor;

/// Offset of the cosine schedule.
const S: f64 = 0.008;
/// Smallest signal share: the schedule stops short of pure noise, where `x₀` could not be solved for.
const ALPHA_BAR_MIN: f64 = 1e-5;

/// `ᾱ(t)`, the share of signal variance at time `t` in `[0, 1]`.
pub fn alpha_bar(t: f64) -> f64 {
    let f = |t: f64| (FRAC_PI_2 * (t + S) / (1.0 + S)).cos().powi(2);
    (f(t) / f(0.0)).max(ALPHA_BAR_MIN)
}

/// `β(t) = −d ln ᾱ/dt` where the schedule is not held: `π/(1+s)·tan(½π(t+s)/(1+s))`.
pub fn beta(t: f64) -> f64 {
    std::f64::consts::PI / (1.0 + S) * (FRAC_PI_2 * (t + S) / (1.0 + S)).tan()
}

/// `√ᾱ·x₀ + √(1−ᾱ)·ε` for times `t` of every row: `x0 [B, d]`, `noise [B, d]`.
pub fn diffuse(x0: &Tensor, t: &[f64], noise: &Tensor) -> Tensor {
    x0 * column(t, x0, &f64::sqrt) + noise * column(t, x0, &|a| (1.0 - a).sqrt())
}

/// A function of `ᾱ(t)` for every row, `[B, 1]`, where `like` is.
fn column(t: &[f64], like: &Tensor, f: &dyn Fn(f64) -> f64) -> Tensor {
    let values: Vec<f32> = t.iter().map(|&t| f(alpha_bar(t)) as f32).collect();
    Tensor::from_slice(&values).unsqueeze(1).to_device(like.device())
}

/// The velocity `v = √ᾱ·ε − √(1−ᾱ)·x₀` of every row (Salimans & Ho 2022), what the network learns.
///
/// An error of ε̂ is magnified by `√((1−ᾱ)/ᾱ)` in `x₀`, without bound towards `t = 1`; one of v̂ never is.
pub fn velocity(x0: &Tensor, t: &[f64], noise: &Tensor) -> Tensor {
    noise * column(t, x0, &f64::sqrt) - x0 * column(t, x0, &|a| (1.0 - a).sqrt())
}

/// ε̂ from the velocity at one time: `√(1−ᾱ)·x_t + √ᾱ·v̂`.
pub fn noise_of_velocity(x: &Tensor, velocity: &Tensor, t: f64) -> Tensor {
    let a = alpha_bar(t);
    x * (1.0 - a).sqrt() + velocity * a.sqrt()
}

/// A sampler of the reverse process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// DDIM (Song et al. 2021) with `steps` steps and noise share `eta` (0 deterministic, 1 ancestral variance).
    Ddim {
        /// Steps.
        steps: usize,
        /// Noise share.
        eta: f64,
    },
    /// Ancestral sampling of the process discretised into `steps` steps.
    Ancestral {
        /// Steps.
        steps: usize,
    },
}

/// Largest absolute value of an estimated `x₀`: latents have unit variance, so anything beyond is an error of ε̂ that
/// division by a small `√ᾱ` has magnified.
const X0_LIMIT: f64 = 6.0;

/// Draws samples: starts from `x [B, d]` (standard normal), asks `noise_of(x_t, t)` for ε̂ and `normal(step)` for fresh
/// standard normal noise of the same shape.
pub fn sample(
    sampler: Sampler,
    x: &Tensor,
    noise_of: &dyn Fn(&Tensor, f64) -> Tensor,
    normal: &dyn Fn(u64) -> Tensor,
) -> Tensor {
    let (steps, eta) = match sampler {
        Sampler::Ddim { steps, eta } => (steps, eta),
        // DDIM at η = 1 has the posterior variance of the discretised process: ancestral sampling.
        Sampler::Ancestral { steps } => (steps, 1.0),
    };
    let mut x = x.shallow_clone();
    for i in (0..steps).rev() {
        let (t, s) = ((i + 1) as f64 / steps as f64, i as f64 / steps as f64);
        let (now, next) = (alpha_bar(t), alpha_bar(s));
        let epsilon = noise_of(&x, t);
        let x0 = ((&x - &epsilon * (1.0 - now).sqrt()) / now.sqrt()).clamp(-X0_LIMIT, X0_LIMIT);
        // The noise that belongs to the held x₀, so that a limited estimate does not drag its error along.
        let epsilon = (&x - &x0 * now.sqrt()) / (1.0 - now).sqrt();
        let variance = eta * eta * ((1.0 - next) / (1.0 - now)).max(0.0) * (1.0 - now / next).max(0.0);
        let direction = (1.0 - next - variance).max(0.0).sqrt();
        x = x0 * next.sqrt() + epsilon * direction;
        if variance > 0.0 && i > 0 {
            x += normal(i as u64) * variance.sqrt();
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn schedule_matches_the_golden_values() {
        for (t, want) in
            [(0.25, 0.847_012_161_3), (0.5, 0.493_843_590_4), (0.75, 0.144_272_102_4), (0.9, 0.024_091_724_1)]
        {
            assert!((alpha_bar(t) - want).abs() < 1e-9, "{t}: {}", alpha_bar(t));
        }
        assert!((beta(0.5) - 3.155_757_861).abs() < 1e-8);
        assert!((beta(0.900_797_870_4) - 20.0).abs() < 1e-6);
        let h = 1e-6;
        let slope = (alpha_bar(0.4 + h).ln() - alpha_bar(0.4 - h).ln()) / (2.0 * h);
        assert!((slope + beta(0.4)).abs() < 1e-6);
    }

    #[test]
    fn velocity_and_noise_convert_into_each_other() {
        tch::manual_seed(1);
        let options = (Kind::Float, Device::Cpu);
        let (x0, noise) = (Tensor::randn([5, 3], options), Tensor::randn([5, 3], options));
        for t in [0.05, 0.5, 0.95] {
            let times = [t; 5];
            let (x, v) = (diffuse(&x0, &times, &noise), velocity(&x0, &times, &noise));
            assert!((noise_of_velocity(&x, &v, t) - &noise).abs().max().double_value(&[]) < 1e-5);
        }
    }

    /// Exact ε* for data N(m, v): `(x − √ᾱ m)·√(1−ᾱ)/(ᾱv + 1 − ᾱ)`.
    fn exact(x: &Tensor, t: f64, m: f64, v: f64) -> Tensor {
        let a = alpha_bar(t);
        (x - a.sqrt() * m) * ((1.0 - a).sqrt() / (a * v + 1.0 - a))
    }

    #[test]
    fn exact_noise_matches_the_golden_value() {
        let e = exact(&Tensor::from_slice(&[1.0_f64]), 0.5, 2.0, 0.25).double_value(&[0]);
        assert!((e + 0.458_179_102_2).abs() < 1e-9, "{e}");
        let a = alpha_bar(0.5);
        assert!((a * 0.25 + 1.0 - a - 0.629_617_307_2).abs() < 1e-9);
    }

    #[test]
    fn samplers_reproduce_a_gaussian_from_the_exact_noise() {
        tch::manual_seed(5);
        let options = (Kind::Double, Device::Cpu);
        let start = Tensor::randn([40_000, 1], options);
        for sampler in [Sampler::Ddim { steps: 50, eta: 0.0 }, Sampler::Ancestral { steps: 400 }] {
            let out = sample(sampler, &start, &|x, t| exact(x, t, 2.0, 0.25), &|_| Tensor::randn([40_000, 1], options));
            let (mean, sd) = (out.mean(Kind::Double).double_value(&[]), out.std(true).double_value(&[]));
            assert!((mean - 2.0).abs() < 0.02, "{sampler:?}: mean {mean}");
            assert!((sd - 0.5).abs() < 0.03, "{sampler:?}: sd {sd}");
        }
    }

    #[test]
    fn ddim_follows_the_probability_flow_map_of_a_gaussian() {
        let (m, v) = (2.0_f64, 0.25_f64);
        let start = Tensor::from_slice(&[-1.0_f64, 0.0, 1.5]).unsqueeze(1);
        let a = alpha_bar(1.0);
        let want = (&start - a.sqrt() * m) * (v.sqrt() / (a * v + 1.0 - a).sqrt()) + m;
        let error = |steps| {
            let out =
                sample(Sampler::Ddim { steps, eta: 0.0 }, &start, &|x, t| exact(x, t, m, v), &|_| start.zeros_like());
            (out - &want).abs().max().double_value(&[])
        };
        assert!(error(50) < 0.05, "{}", error(50));
        assert!(error(400) < error(50) / 4.0, "{} {}", error(400), error(50));
    }
}
