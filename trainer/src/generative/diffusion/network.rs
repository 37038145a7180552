//! G4: the score network of latent diffusion, `v̂(z_t, t, h, p)` (see [`velocity`](super::velocity)).
//!
//! Input `[z_t ‖ h ‖ p ‖ sinusoid(1000 t)]`, hidden layers with SiLU, output `[B, d]` starting at zero.

use tch::{Kind, Tensor};

use crate::layer::Linear;
use crate::params::{Group, Init, ParamSet, Registry};

/// Width of the time embedding.
pub const TIME_WIDTH: i64 = 128;

/// The network's layers.
#[derive(Debug)]
pub struct ScoreNetwork {
    hidden: Vec<Linear>,
    out: Linear,
}

impl ScoreNetwork {
    /// Declares the network for latents of `width` under condition vectors of `condition_width`.
    pub fn new(registry: &mut Registry, group: Group, width: i64, condition_width: i64, hidden: &[i64]) -> Self {
        let mut inputs = 2 * width + condition_width + TIME_WIDTH;
        let mut layers = Vec::new();
        for (index, &outputs) in hidden.iter().enumerate() {
            layers.push(Linear::with_init(
                registry,
                group,
                &format!("score.hidden.{index}"),
                inputs,
                outputs,
                Init::TruncatedNormal(1.0 / (inputs as f64).sqrt()),
            ));
            inputs = outputs;
        }
        Self { hidden: layers, out: Linear::with_init(registry, group, "score.out", inputs, width, Init::Zeros) }
    }

    /// Predicted velocity for `z [B, d]` at times `t [B]` in `[0, 1]`, baseline `h [B, d]`, condition `p [B, c]`.
    pub fn forward(&self, params: &ParamSet, z: &Tensor, t: &Tensor, h: &Tensor, p: &Tensor) -> Tensor {
        let mut x = Tensor::cat(&[z, h, p, &sinusoid(&(t * 1000.0), TIME_WIDTH)], -1).to_kind(params.compute_kind());
        for layer in &self.hidden {
            x = layer.forward(params, &x).silu();
        }
        self.out.forward(params, &x).to_kind(Kind::Float)
    }
}

/// `[sin tω, cos tω]` with `ω_i = exp(−i·ln 1e4/(half − 1))`: `t [B]` → `[B, dim]`.
pub fn sinusoid(t: &Tensor, dim: i64) -> Tensor {
    let half = dim / 2;
    let rate = -(1e4_f64.ln()) / (half - 1).max(1) as f64;
    let omega = (Tensor::arange(half, (Kind::Double, t.device())) * rate).exp();
    let angle = t.to_kind(Kind::Double).unsqueeze(1) * omega.unsqueeze(0);
    Tensor::cat(&[angle.sin(), angle.cos()], 1).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_count_is_the_specified_one() {
        let mut registry = Registry::default();
        let _ = ScoreNetwork::new(&mut registry, Group::averaged("score"), 256, 128, &[512, 512]);
        assert_eq!(registry.layout().n_parameters(), 787_712);
    }

    #[test]
    fn sinusoid_matches_the_golden_values() {
        let out = Vec::<f32>::try_from(sinusoid(&Tensor::from_slice(&[1.0_f32]), 4).view([-1])).unwrap();
        for (got, want) in out.iter().zip([0.841_470_98, 1.0e-4, 0.540_302_3, 0.999_999_995]) {
            assert!((f64::from(*got) - want).abs() < 1e-7, "{out:?}");
        }
    }
}
