//! What a training run writes down: `metrics.jsonl` and the TensorBoard file.

use serde_json::json;

use super::running::Trainer;
use super::{Task, TaskError};
use crate::device;
use crate::engine::{StepPlan, Stepped};
use crate::log::mfu::{peak_flops, utilisation};
use crate::log::{EventFile, JsonLines};
use syncyte_fabric::collective::agree;

/// `metrics.jsonl` and the TensorBoard file, on rank 0.
pub(super) struct Logs {
    files: Option<(JsonLines, EventFile)>,
    /// FLOP/s that the device has at most, where that is known.
    peak: Option<f64>,
}

impl Logs {
    pub(super) fn open<T: Task>(trainer: &Trainer<'_, T>) -> Result<Self, TaskError> {
        let root = trainer.folder.root();
        let collective = trainer.setting.collective;
        let open = || -> Result<_, TaskError> {
            if collective.rank() != 0 {
                return Ok(None);
            }
            let done = trainer.state.step();
            let lines = JsonLines::resume(&root.join("metrics.jsonl"), done).map_err(TaskError::io(root))?;
            let events = EventFile::create(root, done + 1).map_err(TaskError::io(root))?;
            Ok(Some((lines, events)))
        };
        let peak = device::name(trainer.setting.place.device).and_then(|name| peak_flops(&name));
        Ok(Self { files: agree(collective, open)?, peak })
    }

    /// Writes down step `step`, from 0, which took `seconds`.
    pub(super) fn step<T: Task>(
        &mut self,
        trainer: &mut Trainer<'_, T>,
        step: u64,
        stepped: &Stepped,
        plan: &StepPlan,
        seconds: f64,
    ) -> Result<(), TaskError> {
        let (config, collective) = (trainer.setting.config, trainer.setting.collective);
        let (place, done) = (trainer.task.place(step), step + 1);
        let Stepped { loss, terms, updated } = stepped;
        let monitored = done % config.engine.monitor_every == 0;
        // All ranks take part, whether they write or not.
        let ranks = monitored.then(|| trainer.observer.compare(collective, trainer.guard.as_ref())).transpose()?;
        let cells_per_s = trainer.task.cells(step) as f64 / seconds;
        let rate = |peak: f64| Some(utilisation(trainer.task.flops(step)? as f64 / seconds, collective.size(), peak));
        let mfu = self.peak.and_then(rate);
        trainer.observer.publish(|readings| {
            readings.mfu = mfu;
            (readings.step, readings.loss, readings.gradient_norm) = (done, *loss, updated.norm);
            (readings.learning_rate, readings.cells_per_second) = (plan.lr, cells_per_s);
            readings.skipped_steps += u64::from(updated.skipped);
        });
        let Some((lines, events)) = &mut self.files else { return Ok(()) };
        if done % config.engine.log_every != 0 {
            return Ok(());
        }
        let named: serde_json::Map<_, _> =
            terms.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let mut line = json!({
            "step": done, "epoch": place.epoch, "loss": loss, "terms": named, "lr": plan.lr,
            "weight_decay": plan.weight_decay, "momentum": plan.momentum, "grad_norm": updated.norm,
            "cells_per_s": cells_per_s,
        });
        if let Some(phase) = place.phase {
            line["phase"] = json!(phase);
        }
        for (group, scale) in &plan.scales {
            line[format!("{group}_lr")] = json!(plan.lr * scale);
        }
        if let Some(mfu) = mfu {
            line["mfu"] = json!(mfu);
        }
        if updated.skipped {
            line["skipped"] = json!(true);
        }
        if let Some(summary) = trainer.spans.summary() {
            line["step_ms"] = json!(summary.step_ms_median);
            line["phases_ms"] = json!(summary.phases_ms);
        }
        if let Some(ranks) = ranks {
            line["ranks"] = ranks;
        }
        let mut scalars = vec![("loss".to_owned(), *loss), ("lr".into(), plan.lr), ("grad_norm".into(), updated.norm)];
        scalars.push(("cells_per_s".into(), cells_per_s));
        scalars.extend(terms.iter().map(|(name, value)| (format!("terms/{name}"), *value)));
        if monitored {
            let health = trainer.task.health(&trainer.state, step)?;
            for alarm in &health.alarms {
                tracing::warn!("step {done}: {alarm}");
            }
            scalars.extend(health.values.iter().map(|(name, value)| (format!("monitors/{name}"), *value)));
            if !health.values.is_empty() {
                line["monitors"] = json!(health.values);
                line["alarms"] = json!(health.alarms);
            }
        }
        let root = trainer.folder.root();
        lines.append(&line).map_err(TaskError::io(root))?;
        for (tag, value) in scalars {
            events.scalar(&tag, done, value).map_err(TaskError::io(root))?;
            trainer.measured.insert(tag, value);
        }
        Ok(())
    }
}
