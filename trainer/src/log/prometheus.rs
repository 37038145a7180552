//! The state of a run for Prometheus: what rank 0 knows, as text and over HTTP.
//!
//! Guarantee: the text is of the exposition format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>) whatever the labels and numbers are, in base units
//! (seconds, bytes, ratios). What is not known is left out, never zero.

mod server;
mod text;

use super::memory::Memory;
use super::phases::PhaseTimes;
use text::{Exposition, Kind};

pub use server::{MetricsError, MetricsServer};

/// What a run shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Name of the run, a label of `syncyte_run_info`.
    pub run: String,
    /// Optimizer steps done.
    pub step: u64,
    /// Loss over the global batch of the last step.
    pub loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// L2 norm of the last gradient, before clipping.
    pub gradient_norm: f64,
    /// Cells read a second, over all ranks.
    pub cells_per_second: f64,
    /// Model FLOPs utilisation in [0, 1], where the device's peak is known.
    pub mfu: Option<f64>,
    /// Step of the newest whole checkpoint.
    pub checkpoint_step: Option<u64>,
    /// Steps whose update was left out because the gradient was not finite.
    pub skipped_steps: u64,
    /// Every rank, in order.
    pub ranks: Vec<RankReadings>,
}

/// What one rank shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankReadings {
    /// Time of a step by phase, milliseconds (the text has seconds).
    pub phases: PhaseTimes,
    /// Memory of the process.
    pub memory: Memory,
    /// Best time of a rank over this rank's, in (0, 1].
    pub straggler_score: f64,
}

/// The text for a scrape.
pub fn render(readings: &Readings) -> String {
    let mut text = Exposition::default();
    let run = [("run", readings.run.as_str()), ("version", env!("CARGO_PKG_VERSION"))];
    text.family("syncyte_run_info", Kind::Gauge, "Name of the run and version of the program.", [(run.to_vec(), 1.0)]);
    render_progress(&mut text, readings);
    render_ranks(&mut text, &readings.ranks);
    text.into_string()
}

fn render_progress(text: &mut Exposition, readings: &Readings) {
    text.value("syncyte_step", Kind::Gauge, "Optimizer steps done.", readings.step as f64);
    text.value("syncyte_loss", Kind::Gauge, "Loss over the global batch of the last step.", readings.loss);
    text.value("syncyte_learning_rate", Kind::Gauge, "Learning rate of the last step.", readings.learning_rate);
    let help = "L2 norm of the last gradient, before clipping.";
    text.value("syncyte_gradient_norm", Kind::Gauge, help, readings.gradient_norm);
    let help = "Cells read a second, over all ranks.";
    text.value("syncyte_cells_per_second", Kind::Gauge, help, readings.cells_per_second);
    let help = "Model FLOPs a second over the peak of all devices, dense bf16.";
    text.optional("syncyte_mfu_ratio", Kind::Gauge, help, readings.mfu);
    let help = "Step of the newest whole checkpoint.";
    text.optional("syncyte_last_checkpoint_step", Kind::Gauge, help, readings.checkpoint_step.map(|step| step as f64));
    let help = "Steps whose update was left out because the gradient was not finite.";
    text.value("syncyte_skipped_steps_total", Kind::Counter, help, readings.skipped_steps as f64);
}

fn render_ranks(text: &mut Exposition, ranks: &[RankReadings]) {
    let names: Vec<String> = (0..ranks.len()).map(|rank| rank.to_string()).collect();
    let phases = names.iter().zip(ranks).flat_map(|(name, rank)| {
        let labels = |phase| vec![("rank", name.as_str()), ("phase", phase)];
        rank.phases.iter().map(move |(phase, ms)| (labels(phase.name()), ms * 1e-3))
    });
    text.family("syncyte_phase_seconds", Kind::Gauge, "Time of a step by phase.", phases);
    let each = |of: fn(&RankReadings) -> f64| {
        names.iter().zip(ranks).map(move |(name, rank)| (vec![("rank", name.as_str())], of(rank)))
    };
    let help = "Memory of the process that is resident.";
    text.family("syncyte_resident_memory_bytes", Kind::Gauge, help, each(|rank| rank.memory.resident as f64));
    let help = "Largest resident memory in the life of the process.";
    text.family("syncyte_peak_resident_memory_bytes", Kind::Gauge, help, each(|rank| rank.memory.peak as f64));
    let help = "Best time of a rank over this rank's; below 0.7 it holds the others up.";
    text.family("syncyte_straggler_score", Kind::Gauge, help, each(|rank| rank.straggler_score));
}

#[cfg(test)]
mod tests;
