//! Time of an optimizer step on made-up cells: pretraining's own step without the loader.

use std::collections::BTreeMap;

use serde::Serialize;
use syncyte_sharding::labels::Perturbation;
use syncyte_sharding::philox::{Philox, Purpose};
use tch::{Device, Tensor};

use crate::batch::query::{EncodedQueries, Query};
use crate::batch::view::of_expression;
use crate::batch::vocabulary::Vocabulary;
use crate::component::Choice;
use crate::config::Config;
use crate::device::{self, moved};
use crate::engine::{FlatState, Place, Spans, StateOptions, StepPlan, Stepper};
use crate::log::mfu::{peak_flops, utilisation};
use crate::log::{Phase, StepClock, Trace};
use crate::pretext::{MicroBatch, Pretext, Views};
use crate::task::curriculum::dropout_keys;
use crate::task::pretrain::{Jepas, Single};
use crate::training::TaskError;
use syncyte_evaluation::quantile::quantile;
use syncyte_fabric::collective::Collective;

/// Batches that are made beforehand and used in turn.
const BATCHES: u64 = 3;
const KIND: &str = "CRISPRi";
const CONTEXT: &str = "k562";

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct StepBench {
    /// Cells of a rank's batch (pairs of control and perturbed cell).
    pub batch: usize,
    /// Genes of a cell.
    pub genes: usize,
    /// Target genes that the model knows.
    pub targets: usize,
    /// Steps that are timed.
    pub steps: u64,
    /// Steps before.
    pub warmup: u64,
}

impl StepBench {
    fn check(&self, config: &Config) -> Result<(), TaskError> {
        let Self { batch, genes, targets, steps, .. } = *self;
        let parts = config.engine.micro_batches;
        let wrong = if targets == 0 || targets > genes {
            format!("{targets} target genes of {genes} genes; there must be at least one, and no more than genes")
        } else if batch == 0 || !batch.is_multiple_of(parts) {
            format!("a batch of {batch} cells; it must be a multiple of engine.micro_batches = {parts}, and not 0")
        } else if steps == 0 {
            "no step to time; ask for at least one".into()
        } else {
            return Ok(());
        };
        Err(TaskError::Invalid(format!("bench step was asked for {wrong}")))
    }
}

/// `syncyte bench step --json`. Times are milliseconds, of the slowest rank for each step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Ranks.
    pub ranks: usize,
    /// Threads of each.
    pub threads: usize,
    /// Number format.
    pub precision: String,
    /// What the first rank computed on.
    pub device: String,
    /// Steps that were timed.
    pub steps: u64,
    /// Median step.
    pub step_ms_median: f64,
    /// Step that 95 % are not slower than.
    pub step_ms_p95: f64,
    /// Cells a second over all ranks; a pair counts as two.
    pub cells_per_s: f64,
    /// Trainable parameters.
    pub parameters: usize,
    /// Median of each phase on the first rank.
    pub phases_ms: BTreeMap<&'static str, f64>,
    /// Model FLOPs utilisation at the median step, where the device's peak (of dense bf16 products) is known.
    pub mfu: Option<f64>,
    /// Loss of every step, those before the timed ones included.
    pub losses: Vec<f64>,
    /// Loss of the first step.
    pub loss_first: f64,
    /// Loss of the last step.
    pub loss_last: f64,
    /// SHA-256 over parameters and teacher at the end.
    pub parameter_hash: String,
}

/// Times `bench.steps` steps after `bench.warmup`. `config.data.batch_size` must be that of all ranks.
///
/// # Errors
/// When a step fails.
pub fn measure(config: &Config, bench: &StepBench, collective: &dyn Collective) -> Result<StepReport, TaskError> {
    bench.check(config)?;
    let vocabulary = vocabulary(bench.genes, bench.targets);
    let place = Place::of(&config.engine, collective)?;
    let pretext = Choice::<dyn Pretext>::of_kind("paired").map_err(TaskError::Invalid)?;
    let pretext = (pretext.build())(pretext.table()).map_err(TaskError::Invalid)?;
    let method = Single { jepas: Jepas::new(config, &vocabulary)?, pretext };
    let model = &method.jepas.model;
    let options = StateOptions::of(config, place);
    let mut state = FlatState::new(model.layout(), config.run.seed, options, collective)?;
    let stepper = Stepper { optimizer: &config.optimizer, engine: &config.engine };
    let seed = config.run.seed + 1000 * collective.rank() as u64;
    let batches: Vec<Vec<MicroBatch>> = (0..BATCHES)
        .map(|i| rank_batch(&method, bench, &vocabulary, seed + i, place.device))
        .collect::<Result<_, _>>()?;
    let plan = StepPlan {
        lr: config.optimizer.lr,
        weight_decay: config.optimizer.weight_decay,
        momentum: config.teacher.momentum,
        scales: Vec::new(),
    };
    let clock = |step| Spans::new(StepClock::new(step, bench.steps as usize, Trace::off()), collective, step + 1);
    let mut spans = clock(0);
    let (mut times, mut losses) = (Vec::new(), Vec::new());
    for step in 0..bench.warmup + bench.steps {
        if step == bench.warmup {
            collective.barrier()?;
            spans = clock(step);
        }
        let batch = &batches[(step % BATCHES) as usize];
        let stepped = stepper.step(&method, &mut state, batch, &plan, &mut [], (collective, &mut spans))?;
        // A GPU is still at the update when the program goes on.
        device::synchronize(place.device);
        losses.push(stepped.loss);
        times.push(spans.finish().step_ms);
        if step == 0 {
            state.replan(collective)?;
        }
    }
    let mut slowest = slowest_rank(&times[bench.warmup as usize..], collective)?;
    slowest.sort_by(f64::total_cmp);
    let median = quantile(&slowest, 0.5);
    let phases = spans.summary().map(|summary| summary.phases_ms).unwrap_or_default();
    let pairs_per_s = (bench.batch * collective.size()) as f64 / median * 1e3;
    let flops_per_s = model.flops_per_pair(bench.genes as u64, false) as f64 * pairs_per_s;
    let peak = device::name(place.device).and_then(|name| peak_flops(&name));
    let shown = [Phase::Data, Phase::Forward, Phase::Backward, Phase::ExposedCommunication, Phase::Optimizer];
    Ok(StepReport {
        ranks: collective.size(),
        threads: tch::get_num_threads() as usize,
        precision: config.engine.precision.name().into(),
        device: device::describe(place.device),
        steps: bench.steps,
        step_ms_median: median,
        step_ms_p95: quantile(&slowest, 0.95),
        cells_per_s: 2.0 * pairs_per_s,
        parameters: model.layout().n_parameters(),
        phases_ms: shown.into_iter().map(|phase| (phase.name(), phases[phase])).collect(),
        mfu: peak.map(|peak| utilisation(flops_per_s, collective.size(), peak)),
        loss_first: losses.first().copied().unwrap_or(f64::NAN),
        loss_last: losses.last().copied().unwrap_or(f64::NAN),
        losses,
        parameter_hash: state.parameter_hash()?,
    })
}

/// Names of made-up genes, the first of which are targets.
pub(super) fn vocabulary(genes: usize, targets: usize) -> Vocabulary {
    let genes: Vec<String> = (0..genes).map(|i| format!("gene{i}")).collect();
    Vocabulary {
        targets: genes.iter().take(targets).cloned().collect(),
        genes,
        contexts: vec![CONTEXT.into()],
        kinds: vec![KIND.into()],
    }
}

/// The time of each step on the rank where it took longest.
pub(super) fn slowest_rank(times: &[f64], collective: &dyn Collective) -> Result<Vec<f64>, TaskError> {
    let words: Vec<String> = times.iter().map(f64::to_string).collect();
    let mut slowest = vec![0.0_f64; times.len()];
    for text in collective.all_gather_text(&words.join(" "))? {
        for (slow, time) in slowest.iter_mut().zip(text.split_whitespace().filter_map(|word| word.parse().ok())) {
            *slow = slow.max(time);
        }
    }
    Ok(slowest)
}

/// This rank's batch on its device, cut into as many micro-batches as the configuration wants.
fn rank_batch(
    method: &Single<'_>,
    bench: &StepBench,
    vocabulary: &Vocabulary,
    seed: u64,
    device: Device,
) -> Result<Vec<MicroBatch>, TaskError> {
    let config = method.jepas.config;
    let input = method.jepas.model.encoder.input();
    let count = config.engine.micro_batches;
    let cells = bench.batch / count;
    (0..count as u64)
        .map(|part| {
            let mut random = Philox::new(seed, Purpose::Synth, part, 0);
            let mut expression = || {
                let values: Vec<f32> = (0..cells * bench.genes)
                    .map(|_| if random.next_f64() < 0.5 { 0.0 } else { (random.next_f64() * 3.0) as f32 })
                    .collect();
                let dense = Tensor::from_slice(&values).view([cells as i64, bench.genes as i64]);
                of_expression(input, &dense).on(device)
            };
            let (source, target) = (expression(), expression());
            let perturbations: Vec<Perturbation> = (0..cells)
                .map(|i| Perturbation::of([vocabulary.targets[(i * 37 + seed as usize) % bench.targets].clone()]))
                .collect();
            let queries: Vec<Query<'_>> = perturbations
                .iter()
                .map(|perturbation| Query::Known { perturbation, context: CONTEXT, kind: KIND })
                .collect();
            let rows: Vec<u64> = (0..cells as u64).map(|i| seed * 1_000_003 + part * 1009 + i).collect();
            Ok(MicroBatch {
                views: Views { source, target, blocks: None },
                queries: EncodedQueries::new(&queries, vocabulary, device)?,
                dropout: moved(&dropout_keys(config.run.seed, &rows, 0), device),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_are_named() {
        let good = StepBench { batch: 8, genes: 20, targets: 5, steps: 1, warmup: 0 };
        let mut config = Config::default();
        config.engine.micro_batches = 2;
        assert!(good.check(&config).is_ok());
        for (bench, word) in [
            (StepBench { targets: 21, ..good }, "21 target genes of 20"),
            (StepBench { targets: 0, ..good }, "0 target genes"),
            (StepBench { batch: 7, ..good }, "micro_batches = 2"),
            (StepBench { steps: 0, ..good }, "no step"),
        ] {
            let error = bench.check(&config).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
