//! Latent diffusion.

use syncyte_evaluation::benchmark::method::{Method, MethodError, Prediction, Query};
use syncyte_evaluation::benchmark::results::MethodInfo;
use syncyte_sharding::philox::{Philox, Purpose};
use tch::{Device, Kind, Tensor};

use super::{Base, Turns, other, to_tensor};
use crate::checkpoint::{Checkpoint, Stage, TEACHER};
use crate::config::{Config, SamplerKind};
use crate::generative::diffusion::{Sampler, noise_of_velocity, sample};
use crate::params::{ParamSet, Registry};
use crate::task::diffuse::ScoreModel;
use crate::training::TaskError;
use crate::training::data::RunData;

/// Samples of latent diffusion, one for every control cell.
struct DiffusionMethod {
    model: Turns<Diffusion>,
    split_hash: String,
    encoder: String,
}

/// A diffusion model.
struct Diffusion {
    base: Base,
    model: ScoreModel,
    /// Weight average.
    params: ParamSet,
    sampler: Sampler,
}

/// Latent diffusion from its checkpoint.
///
/// # Errors
/// When the checkpoint is of another stage or does not fit the data.
pub(in crate::task) fn entrant(
    checkpoint: &Checkpoint,
    data: &RunData,
    config: &Config,
) -> Result<Box<dyn Method>, TaskError> {
    checkpoint.require_stage(Stage::Diffuse)?;
    let base = Base::load(checkpoint, data)?;
    let mut registry = Registry::default();
    let model = ScoreModel::new(&mut registry, &base.frozen, &checkpoint.state.config)?;
    let params = ParamSet::zeros(&registry.layout(), Device::Cpu);
    checkpoint.load(TEACHER, &params)?;
    let sampler = match config.diffusion.sampler {
        SamplerKind::Ddim => Sampler::Ddim { steps: config.diffusion.ddim_steps, eta: 0.0 },
        SamplerKind::Ancestral => Sampler::Ancestral { steps: config.diffusion.ancestral_steps },
    };
    let (split_hash, encoder) = (checkpoint.state.split_hash.clone(), base.frozen.parent.clone());
    let model = Turns::new(Diffusion { base, model, params, sampler });
    Ok(Box::new(DiffusionMethod { model, split_hash, encoder }))
}

impl Diffusion {
    fn predict(&self, query: &Query<'_>) -> Result<Prediction, TaskError> {
        let x = to_tensor(query.control);
        let z = self.base.embed(&x);
        let resolved = self.base.asked.resolve(query.perturbation, query.control.nrows());
        let queries = self.base.encode(query, &resolved.perturbations)?;
        let width = z.size()[1] as usize;
        // Noise follows the cell and the draw, so the same cell gives the same sample in any company.
        let normal = |step: u64| {
            let mut values = Vec::with_capacity(query.cells.len() * width);
            for (&cell, &draw) in query.cells.iter().zip(query.draws) {
                let mut random = Philox::new(self.base.seed, Purpose::Noise, cell, step + (draw << 32));
                values.extend((0..width).map(|_| random.normal() as f32));
            }
            Tensor::from_slice(&values).view_as(&z)
        };
        let moved = tch::no_grad(|| {
            let condition = self.model.condition.forward(&self.params, &queries);
            let noise_of = |noisy: &Tensor, t: f64| {
                let times = Tensor::full([noisy.size()[0]], t, (Kind::Float, Device::Cpu));
                let velocity = self.model.network.forward(&self.params, noisy, &times, &z, &condition.vector);
                noise_of_velocity(noisy, &velocity, t)
            };
            sample(self.sampler, &normal(0), &noise_of, &normal)
        });
        self.base.prediction(&x, &z, &moved, resolved.flags)
    }
}

impl Method for DiffusionMethod {
    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "jepa_diffusion".into(),
            title: "JEPA latent diffusion".into(),
            description: "Samples perturbed cells in the frozen JEPA embedding given a control cell and the perturbation (VP-SDE, \
                          cosine schedule); linear decoder."
                .into(),
            baseline: false,
            informed: true,
        }
    }

    fn samples(&self) -> bool {
        true
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(&self.split_hash)
    }

    fn encoder(&self) -> Option<&str> {
        Some(&self.encoder)
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        self.model.take(|diffusion| diffusion.predict(query)).map_err(other)
    }
}
