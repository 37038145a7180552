//! What a running pretraining tells about itself besides its logs: phases, memory, slow ranks, the metrics endpoint.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::Config;
use crate::log::prometheus::{MetricsError, MetricsServer, RankReadings, Readings};
use crate::log::{Memory, Phase, PhaseTimes, StepTimes, Trace, Track};
use syncyte_fabric::collective::{Collective, CollectiveError};
use syncyte_fabric::guard::Guard;
use syncyte_fabric::watch::{Losses, Member, Recorder, Score, Section, SectionTimes, Summary, scores, stragglers};

/// Numbers that a rank tells the others: phases, section times, resident and peak memory.
const NUMBERS: usize = Phase::COUNT + 8 + 2;

/// Collects the times of this rank's steps and, now and then, those of all ranks.
pub(super) struct Observer {
    sections: SectionTimes,
    last: PhaseTimes,
    server: Option<MetricsServer>,
    readings: Readings,
    losses: Losses,
    /// Steps since ranks were compared last.
    steps: u64,
}

impl Observer {
    /// Opens the metrics endpoint on the first rank, where one is configured.
    pub(super) fn open(config: &Config, collective: &dyn Collective) -> Result<Self, MetricsError> {
        let wanted = collective.rank() == 0 && !config.metrics.address.is_empty();
        let server = wanted.then(|| MetricsServer::start(&config.metrics.address)).transpose()?;
        if let Some(server) = &server {
            tracing::info!("metrics at http://{}/metrics", server.address());
        }
        let readings = Readings { run: config.run.dir.display().to_string(), ..Readings::default() };
        let (sections, last, losses) = (SectionTimes::default(), PhaseTimes::default(), Losses::default());
        Ok(Self { sections, last, server, readings, losses, steps: 0 })
    }

    /// Takes note of a finished step.
    pub(super) fn step(&mut self, times: &StepTimes) {
        self.last = times.phases_ms;
        self.steps += 1;
        let sections = [
            (Section::Data, Phase::Data),
            (Section::Forward, Phase::Forward),
            (Section::Backward, Phase::Backward),
            (Section::Optimizer, Phase::Optimizer),
        ];
        for (section, phase) in sections {
            self.sections.push(section, times.phases_ms[phase] / 1e3);
        }
    }

    /// Shows new numbers at the endpoint; `change` sets them.
    pub(super) fn publish(&mut self, change: impl FnOnce(&mut Readings)) {
        change(&mut self.readings);
        if let Some(server) = &self.server {
            server.publish(self.readings.clone());
        }
    }

    /// Exchanges times with all ranks, warns of those that have cost much, and gives what goes into `metrics.jsonl`.
    pub(super) fn compare(
        &mut self,
        collective: &dyn Collective,
        guard: Option<&Guard>,
    ) -> Result<Value, CollectiveError> {
        let summaries = self.exchange(collective)?;
        let alone = || vec![Member { rank: 0, host: String::new() }];
        let members = guard.map_or_else(alone, Guard::members);
        let slow = stragglers(&members, &summaries);
        let warnings = self.losses.add(&slow, std::mem::take(&mut self.steps));
        if collective.rank() == 0 {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
        }
        let scores: Vec<f64> = worst_scores(&summaries);
        for (rank, score) in self.readings.ranks.iter_mut().zip(&scores) {
            rank.straggler_score = *score;
        }
        let phases: Vec<PhaseTimes> = self.readings.ranks.iter().map(|rank| rank.phases).collect();
        let resident: Vec<u64> = self.readings.ranks.iter().map(|rank| rank.memory.resident).collect();
        Ok(json!({ "phases_ms": phases, "resident_bytes": resident, "straggler_scores": scores }))
    }

    /// Numbers of all ranks, into the readings; the section times are returned.
    fn exchange(&mut self, collective: &dyn Collective) -> Result<Vec<Summary>, CollectiveError> {
        let memory = Memory::read().unwrap_or(Memory { resident: 0, peak: 0 });
        let mut all = vec![0.0_f64; NUMBERS * collective.size()];
        let own = &mut all[NUMBERS * collective.rank()..][..NUMBERS];
        own[..Phase::COUNT].copy_from_slice(&self.last.0);
        own[Phase::COUNT..Phase::COUNT + 8].copy_from_slice(&self.sections.summary().to_array());
        own[Phase::COUNT + 8..].copy_from_slice(&[memory.resident as f64, memory.peak as f64]);
        collective.all_reduce_sum_f64(&mut all)?;
        let mut summaries = Vec::with_capacity(collective.size());
        self.readings.ranks.clear();
        for numbers in all.chunks_exact(NUMBERS) {
            let (mut phases, mut sections) = ([0.0; Phase::COUNT], [0.0; 8]);
            phases.copy_from_slice(&numbers[..Phase::COUNT]);
            sections.copy_from_slice(&numbers[Phase::COUNT..Phase::COUNT + 8]);
            let memory = Memory { resident: numbers[Phase::COUNT + 8] as u64, peak: numbers[Phase::COUNT + 9] as u64 };
            self.readings.ranks.push(RankReadings { phases: PhaseTimes(phases), memory, straggler_score: 1.0 });
            summaries.push(Summary::from_array(sections));
        }
        Ok(summaries)
    }
}

/// The lowest relative score of every rank.
fn worst_scores(summaries: &[Summary]) -> Vec<f64> {
    let worst = |scores: &[Score; 4]| scores.iter().map(|score| score.relative).fold(1.0, f64::min);
    scores(summaries).iter().map(worst).collect()
}

/// Moves the spans of the communication thread into the trace.
pub(super) struct CommunicationSpans {
    recorder: Option<Arc<Recorder>>,
    seen: u64,
}

impl CommunicationSpans {
    pub(super) fn new(collective: &dyn Collective) -> Self {
        let recorder = collective.recorder();
        let seen = recorder.as_ref().map_or(0, |recorder| recorder.progress().completed);
        Self { recorder, seen }
    }

    /// Records the operations that have ended since the last call. To be called before the step ends: with the last
    /// step of the trace the file is written.
    pub(super) fn record(&mut self, trace: &Trace) {
        let Some(recorder) = &self.recorder else { return };
        if !trace.is_recording() {
            self.seen = recorder.progress().completed;
            return;
        }
        let seen = self.seen;
        for record in recorder.records().into_iter().filter(|record| record.sequence > seen) {
            let (Some(started), Some(ended)) = (record.started_us, record.ended_us) else { continue };
            let name = format!("{} {}", record.operation, record.label);
            let numbers = [("bytes", record.bytes), ("sequence", record.sequence)];
            let (started, ended) = (recorder.instant(started), recorder.instant(ended));
            trace.complete(Track::Communication, name, started, ended, &numbers);
            self.seen = record.sequence;
        }
    }
}
