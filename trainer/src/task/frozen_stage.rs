//! What the stages behind pretraining share: latents of the training cells under a frozen encoder, and the decoder.
//!
//! Guarantee: a checkpoint of such a stage carries everything needed to predict with it (frozen encoder, decoder,
//! standardisation). In the deterministic mode all of that has equal bits on any number of ranks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use syncyte_sharding::split::Fold;

use super::frozen::{DECODER_FILE, ENCODER_FILE, Frozen};
use super::latents::{Latents, Standard};
use crate::checkpoint::{self, Checkpoint};
use crate::config::{Config, OptimizerConfig};
use crate::decoder::{Decoder, DecoderFit};
use crate::engine::{Place, StepPlan, schedule};
use crate::params::ParamSet;
use crate::training::data::RunData;
use crate::training::{Carried, Progress, Setting, Shards, Start, TaskError};
use syncyte_fabric::collective::Collective;
use syncyte_fabric::watch::signal;

/// A frozen encoder with the latents of the training fold.
pub(super) struct FrozenStage<'a> {
    pub(super) config: &'a Config,
    pub(super) data: RunData,
    pub(super) shards: Shards,
    pub(super) place: Place,
    /// The encoder of the pretraining checkpoint.
    pub(super) frozen: Frozen,
    pretrained: Checkpoint,
    decoder: Decoder,
    latents: Option<Latents>,
    collective: &'a dyn Collective,
}

impl<'a> FrozenStage<'a> {
    /// Opens the checkpoint `from`.
    pub(super) fn open(setting: &Setting<'a>, from: &Path) -> Result<Self, TaskError> {
        let Setting { config, data, collective, shards, place, .. } = setting;
        let pretrained = checkpoint::latest_or_named(from)?;
        let frozen = Frozen::from_pretraining(&pretrained, data)?;
        let decoder = Decoder::zeros(frozen.width(), data.store.n_genes() as i64);
        let (data, collective) = (data.clone(), *collective);
        Ok(Self {
            config,
            data,
            shards: *shards,
            place: *place,
            frozen,
            pretrained,
            decoder,
            latents: None,
            collective,
        })
    }

    /// Starts the perturbation encoder of `params` from the pretrained values.
    pub(super) fn initialise(&self, params: &ParamSet) -> Result<(), TaskError> {
        self.frozen.copy_perturbation_encoder(&self.pretrained, params)
    }

    /// Embeds the training fold and fits the decoder in the same pass. Collective.
    pub(super) fn prepare(&mut self, start: &Start<'_>, progress: &mut dyn Progress) -> Result<(), TaskError> {
        let (width, genes) = (self.frozen.width(), self.data.store.n_genes() as i64);
        let world = self.collective.size();
        let mut fits: Vec<DecoderFit> = self.shards.own().map(|_| DecoderFit::new(width, genes)).collect();
        progress.begin("embed", 0, (self.data.split.rows(Fold::Train).len() / world) as u64);
        let (mut done, clock) = (0_u64, Instant::now());
        let mut visit = |shard: usize, rows: &[u64], x: &tch::Tensor, z: &tch::Tensor| {
            fits[shard].add(z, x);
            done += rows.len() as u64;
            progress.step(done, 0.0, done as f64 * world as f64 / clock.elapsed().as_secs_f64());
            match signal::requested() {
                None => Ok(()),
                Some(signal) => Err(TaskError::Stopped {
                    signal: signal.to_owned(),
                    place: format!("while it embedded cells, after {done} of this rank's"),
                }),
            }
        };
        let (data, frozen, shards) = (&self.data, &self.frozen, self.shards);
        self.latents = Some(Latents::build(start.folder, data, frozen, shards, self.collective, &mut visit)?);
        progress.end();
        self.decoder = DecoderFit::together(fits).solve(self.config.finetune.ridge, self.collective)?;
        Ok(())
    }

    /// The latents, once the stage is prepared.
    pub(super) fn latents(&self) -> Result<&Latents, TaskError> {
        self.latents.as_ref().ok_or_else(|| TaskError::Invalid("the cells have not been embedded".into()))
    }

    /// What the update of a step does: warm-up, then a cosine from `lr`.
    pub(super) fn plan(&self, step: u64, total: u64, lr: f64, momentum: f64) -> StepPlan {
        let optimizer = OptimizerConfig { lr, ..self.config.optimizer.clone() };
        StepPlan {
            lr: schedule::learning_rate(&optimizer, step, total),
            weight_decay: schedule::weight_decay(&optimizer, step, total),
            momentum,
            scales: Vec::new(),
        }
    }

    /// Frozen encoder, decoder and standardisation.
    pub(super) fn carried(&self) -> Carried<'_> {
        let vectors = self.latents.iter().flat_map(|latents| {
            let Standard { mean, sd } = latents.standard.clone();
            [("latent_mean".to_owned(), mean), ("latent_sd".to_owned(), sd)]
        });
        Carried {
            sets: vec![(ENCODER_FILE, &self.frozen.encoder), (DECODER_FILE, self.decoder.params())],
            vectors: vectors.collect::<BTreeMap<_, _>>(),
            parent: Some(self.frozen.parent.clone()),
            model: Some((&self.frozen.config, &self.frozen.vocabulary)),
        }
    }

    /// Bytes that the latents take on the disk.
    pub(super) fn scratch_bytes(&self) -> u64 {
        (self.data.split.rows(Fold::Train).len() * self.frozen.width() as usize * size_of::<f32>()) as u64
    }
}

/// Standardisation that a checkpoint of a later stage carries.
///
/// # Errors
/// When it has none.
pub(super) fn standard_of(checkpoint: &Checkpoint) -> Result<Standard, TaskError> {
    let vector = |name: &str| {
        checkpoint
            .state
            .vectors
            .get(name)
            .cloned()
            .ok_or_else(|| TaskError::Invalid(format!("{} has no `{name}`", checkpoint.folder().display())))
    };
    Ok(Standard { mean: vector("latent_mean")?, sd: vector("latent_sd")? })
}
