//! What pretraining writes down: `metrics.jsonl` and the TensorBoard file.

use std::fs;
use std::path::Path;

use serde_json::json;
use syncyte_sharding::loader::BadChunk;

use super::Trainer;
use super::learner::Stepped;
use crate::collective::agree;
use crate::engine::StepPlan;
use crate::log::{EventFile, JsonLines};
use crate::task::TaskError;
use crate::task::curriculum::{Phase, Place};

/// Records in the run folder which chunks this rank could not read, why, and the first step that wanted them.
pub(super) fn bad_chunks(root: &Path, rank: usize, chunks: &[BadChunk]) -> Result<(), TaskError> {
    let path = root.join(format!("bad-chunks-rank-{rank}.json"));
    fs::write(&path, format!("{:#}\n", json!(chunks))).map_err(TaskError::io(&path))
}

/// `metrics.jsonl` and the TensorBoard file, on rank 0.
pub(super) struct Logs(Option<(JsonLines, EventFile)>);

impl Logs {
    pub(super) fn open(trainer: &Trainer<'_>) -> Result<Self, TaskError> {
        let root = trainer.folder.root();
        let open = || -> Result<Self, TaskError> {
            if trainer.collective.rank() != 0 {
                return Ok(Self(None));
            }
            let done = trainer.learner.state.step();
            let lines = JsonLines::resume(&root.join("metrics.jsonl"), done).map_err(TaskError::io(root))?;
            let events = EventFile::create(root, done + 1).map_err(TaskError::io(root))?;
            Ok(Self(Some((lines, events))))
        };
        Ok(agree(trainer.collective, open)?)
    }

    pub(super) fn step(
        &mut self,
        trainer: &mut Trainer<'_>,
        place: Place,
        stepped: &Stepped,
        plan: &StepPlan,
        cells_per_s: f64,
    ) -> Result<(), TaskError> {
        let (config, step) = (trainer.config, trainer.learner.state.step());
        let Stepped { terms, updated } = *stepped;
        let norm = updated.norm;
        let monitored = step % config.engine.monitor_every == 0;
        // All ranks take part, whether they write or not.
        let ranks =
            monitored.then(|| trainer.observer.compare(trainer.collective, trainer.guard.as_ref())).transpose()?;
        // A pair is two cells that were read in the paired phase, and two views of one before.
        let pairs_per_s = cells_per_s / if place.phase == Phase::Paired { 2.0 } else { 1.0 };
        let frozen = plan.encoder_lr_scale == 0.0;
        let mfu = trainer.learner.utilisation(pairs_per_s, frozen, trainer.collective.size());
        trainer.observer.publish(|readings| {
            readings.mfu = mfu;
            (readings.step, readings.loss, readings.gradient_norm) = (step, terms.loss, norm);
            (readings.learning_rate, readings.cells_per_second) = (plan.lr, cells_per_s);
            readings.skipped_steps += u64::from(updated.skipped);
        });
        let Some((lines, events)) = &mut self.0 else { return Ok(()) };
        if step % config.engine.log_every != 0 {
            return Ok(());
        }
        let mut line = json!({
            "step": step, "phase": place.phase.name(), "epoch": place.epoch, "loss": terms.loss,
            "terms": { "invariance": terms.invariance, "variance": terms.variance, "covariance": terms.covariance },
            "lr": plan.lr, "encoder_lr": plan.lr * plan.encoder_lr_scale, "weight_decay": plan.weight_decay,
            "momentum": plan.momentum, "grad_norm": norm, "cells_per_s": cells_per_s,
        });
        if let Some(mfu) = mfu {
            line["mfu"] = json!(mfu);
        }
        if updated.skipped {
            line["skipped"] = json!(true);
        }
        if let Some(summary) = trainer.clock.summary() {
            line["step_ms"] = json!(summary.step_ms_median);
            line["phases_ms"] = json!(summary.phases_ms);
        }
        if let Some(ranks) = ranks {
            line["ranks"] = ranks;
        }
        let root = trainer.folder.root();
        let mut scalars = vec![("loss".to_owned(), terms.loss), ("lr".into(), plan.lr), ("grad_norm".into(), norm)];
        scalars.extend([("cells_per_s".into(), cells_per_s), ("terms/invariance".into(), terms.invariance)]);
        scalars.extend([("terms/variance".into(), terms.variance), ("terms/covariance".into(), terms.covariance)]);
        if monitored {
            let health = trainer.health()?;
            for alarm in &health.alarms {
                tracing::warn!("step {step}: {alarm}");
            }
            scalars.extend(health.values.iter().map(|(name, value)| (format!("monitors/{name}"), *value)));
            line["monitors"] = json!(health.values);
            line["alarms"] = json!(health.alarms);
        }
        lines.append(&line).map_err(TaskError::io(root))?;
        for (tag, value) in scalars {
            events.scalar(&tag, step, value).map_err(TaskError::io(root))?;
            trainer.measured.insert(tag, value);
        }
        Ok(())
    }
}
