//! Linear decoder from latents to log-normalised expression, fitted in closed form on the training fold.
//!
//! Minimises `Σ‖x − b − Wᵀz‖² + λ n‖W‖²` over standardised latents `z` (unit variance, so `λ` is a share of it). Sums of
//! products are additive over cells, so ranks accumulate their own and add.

use tch::{Device, Kind, Tensor};

use crate::params::{Group, Init, Layout, ParamId, ParamSet, Registry};
use syncyte_fabric::collective::{Collective, CollectiveError};

/// Decoder values: `weight [d, G]`, `bias [G]`.
#[derive(Debug)]
pub struct Decoder {
    params: ParamSet,
    weight: ParamId,
    bias: ParamId,
}

/// Running sums of a fit, on this rank's cells.
#[derive(Debug)]
pub struct DecoderFit {
    latent: Tensor,
    cross: Tensor,
}

impl DecoderFit {
    /// No cells yet.
    pub fn new(width: i64, genes: i64) -> Self {
        let zeros = |shape: [i64; 2]| Tensor::zeros(shape, (Kind::Double, Device::Cpu));
        Self { latent: zeros([width + 1, width + 1]), cross: zeros([width + 1, genes]) }
    }

    /// Adds cells: latents `[n, d]` as the encoder gives them, expression `[n, G]`.
    pub fn add(&mut self, z: &Tensor, x: &Tensor) {
        let ones = Tensor::ones([z.size()[0], 1], (Kind::Double, Device::Cpu));
        let z = Tensor::cat(&[z.to_kind(Kind::Double), ones], 1);
        self.latent += z.tr().matmul(&z);
        self.cross += z.tr().to_kind(Kind::Float).matmul(x).to_kind(Kind::Double);
    }

    /// The sums of several, which must not be none; added by a binary tree, so that equal parts give equal bits.
    pub fn together(mut fits: Vec<Self>) -> Self {
        while fits.len() > 1 {
            let mut sums = Vec::with_capacity(fits.len().div_ceil(2));
            let mut from = fits.into_iter();
            while let Some(mut left) = from.next() {
                if let Some(right) = from.next() {
                    left.latent += right.latent;
                    left.cross += right.cross;
                }
                sums.push(left);
            }
            fits = sums;
        }
        fits.pop().unwrap_or_else(|| Self::new(0, 0))
    }

    /// Solves for the decoder with penalty `lambda` as a share of each latent dimension's variance.
    ///
    /// # Errors
    /// When the exchange between ranks fails.
    pub fn solve(self, lambda: f64, collective: &dyn Collective) -> Result<Decoder, CollectiveError> {
        let reduce = |t: Tensor| -> Result<Tensor, CollectiveError> {
            let mut values = Vec::<f64>::try_from(t.contiguous().view([-1])).unwrap_or_default();
            collective.all_reduce_sum_f64(&mut values)?;
            Ok(Tensor::from_slice(&values).view(t.size().as_slice()))
        };
        let (latent, cross) = (reduce(self.latent)?, reduce(self.cross)?);
        let d = latent.size()[0] - 1;
        let n = latent.double_value(&[d, d]);
        let mean = latent.narrow(0, d, 1).narrow(1, 0, d) / n;
        let target_mean = cross.narrow(0, d, 1) / n;
        let covariance = latent.narrow(0, 0, d).narrow(1, 0, d) / n - mean.tr().matmul(&mean);
        let cross_covariance = cross.narrow(0, 0, d) / n - mean.tr().matmul(&target_mean);
        let variance = covariance.diagonal(0, 0, 1);
        let penalty = Tensor::diag_embed(&(variance.clamp_min(1e-12) * lambda), 0, 0, 1);
        let weight = Tensor::linalg_solve(&(covariance + penalty), &cross_covariance, true);
        let bias = target_mean - mean.matmul(&weight);
        let decoder = Decoder::zeros(d, weight.size()[1]);
        tch::no_grad(|| {
            decoder.params[decoder.weight].detach().copy_(&weight);
            decoder.params[decoder.bias].detach().copy_(&bias.view([-1]));
        });
        Ok(decoder)
    }
}

impl Decoder {
    /// A decoder to be loaded.
    pub fn zeros(width: i64, genes: i64) -> Self {
        let (group, mut registry) = (Group::new("decoder"), Registry::default());
        let weight = registry.weight(group, "decoder.weight".into(), &[width, genes], Init::Zeros);
        let bias = registry.plain(group, "decoder.bias".into(), &[genes], Init::Zeros);
        let layout: Layout = registry.layout();
        Self { params: ParamSet::zeros(&layout, Device::Cpu), weight, bias }
    }

    /// Its values, to save or load.
    pub fn params(&self) -> &ParamSet {
        &self.params
    }

    /// Expression `[n, G]` of latents `[n, d]`.
    pub fn decode(&self, z: &Tensor) -> Tensor {
        tch::no_grad(|| z.matmul(&self.params[self.weight]) + &self.params[self.bias])
    }

    /// Change of expression `[n, G]` that a change of latents `[n, d]` means.
    pub fn decode_change(&self, dz: &Tensor) -> Tensor {
        tch::no_grad(|| dz.matmul(&self.params[self.weight]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncyte_fabric::collective::Solo;

    /// Against the same problem written out: one cell a row, and rows of weight √(λn·variance) for the penalty.
    #[test]
    fn with_noise_and_a_penalty_it_is_the_ridge_solution() {
        tch::manual_seed(5);
        let options = (Kind::Double, Device::Cpu);
        let (n, lambda) = (60, 0.3);
        let z = Tensor::randn([n, 3], options) * Tensor::from_slice(&[1.0, 2.0, 0.5]) + 1.0;
        let x = z.matmul(&Tensor::randn([3, 4], options)) + Tensor::randn([n, 4], options);
        let mut fit = DecoderFit::new(3, 4);
        fit.add(&z.to_kind(Kind::Float), &x.to_kind(Kind::Float));
        let decoder = fit.solve(lambda, &Solo).unwrap();

        let centred = |t: &Tensor| t - t.mean_dim([0_i64].as_slice(), true, Kind::Double);
        let (zc, xc) = (centred(&z), centred(&x));
        let variance = zc.square().mean_dim([0_i64].as_slice(), false, Kind::Double);
        let penalty = Tensor::diag_embed(&(variance * (lambda * n as f64)).sqrt(), 0, 0, 1);
        let rows = Tensor::cat(&[&zc, &penalty], 0);
        let wanted = Tensor::cat(&[&xc, &Tensor::zeros([3, 4], options)], 0);
        let (solution, ..) = rows.linalg_lstsq(&wanted, None::<f64>, "gelsd");
        let found = decoder.decode_change(&Tensor::eye(3, (Kind::Float, Device::Cpu))).to_kind(Kind::Double);
        assert!((&found - &solution).abs().max().double_value(&[]) < 1e-4, "{found:?} and {solution:?}");
        let unpenalised = {
            let mut fit = DecoderFit::new(3, 4);
            fit.add(&z.to_kind(Kind::Float), &x.to_kind(Kind::Float));
            fit.solve(0.0, &Solo).unwrap().decode_change(&Tensor::eye(3, (Kind::Float, Device::Cpu)))
        };
        assert!((unpenalised.to_kind(Kind::Double) - found).abs().max().double_value(&[]) > 1e-2, "the penalty counts");
    }

    #[test]
    fn a_linear_map_is_recovered_and_a_changed_row_count_does_not_matter() {
        tch::manual_seed(2);
        let options = (Kind::Float, Device::Cpu);
        let (z, w) = (Tensor::randn([200, 3], options) + 4.0, Tensor::randn([3, 5], options));
        let x = z.matmul(&w) + 0.5;
        let mut fit = DecoderFit::new(3, 5);
        fit.add(&z.narrow(0, 0, 50), &x.narrow(0, 0, 50));
        fit.add(&z.narrow(0, 50, 150), &x.narrow(0, 50, 150));
        let decoder = fit.solve(1e-9, &Solo).unwrap();
        assert!((decoder.decode(&z) - x).abs().max().double_value(&[]) < 1e-3);
        assert!((decoder.decode_change(&z) - z.matmul(&w)).abs().max().double_value(&[]) < 1e-3);
    }
}
