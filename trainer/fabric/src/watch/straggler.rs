//! Ranks that are slow: slower than the fastest rank, or slower than they were.
//!
//! Scores are those of the NVIDIA Resiliency Extension (`straggler/reporting.py`): for each section of a step the ratio
//! of a reference to the rank's own median time, where the reference is the smallest median of all ranks (*relative*)
//! or the smallest median that the rank itself ever had (*individual*). 1 is best; 0.5 is twice as slow. Its
//! documentation's example flags scores below 0.7.
//!
//! Sections must be timed without the wait for other ranks, or a slow rank makes all of them look slow.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::progress::Member;

/// Scores below this are flagged.
pub const THRESHOLD: f64 = 0.7;
/// A section is flagged only when it loses this share of the rank's step: ratios of microseconds say nothing.
const LEAST_LOSS: f64 = 0.01;
/// Recent times of a section that its median is of.
const WINDOW: usize = 100;

/// A part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Wait for a batch.
    Data,
    /// Forward pass.
    Forward,
    /// Backward pass.
    Backward,
    /// Update of parameters.
    Optimizer,
}

impl Section {
    /// All sections; a section's place here is its place in arrays by section.
    pub const ALL: [Self; 4] = [Self::Data, Self::Forward, Self::Backward, Self::Optimizer];
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data => "data",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
        })
    }
}

/// Times of the sections of one rank.
#[derive(Clone, Debug, Default)]
pub struct SectionTimes {
    recent: [VecDeque<f64>; 4],
    best: [f64; 4],
}

impl SectionTimes {
    /// Adds a time in seconds. One that is no positive number is left out.
    pub fn push(&mut self, section: Section, seconds: f64) {
        if !(seconds > 0.0 && seconds.is_finite()) {
            return;
        }
        let recent = &mut self.recent[section as usize];
        recent.push_back(seconds);
        if recent.len() > WINDOW {
            recent.pop_front();
        }
    }

    /// Medians of the last 100 times, and the smallest medians that this function ever gave.
    pub fn summary(&mut self) -> Summary {
        let median = self.recent.each_ref().map(median);
        for (best, median) in self.best.iter_mut().zip(median) {
            if median > 0.0 && (*best == 0.0 || median < *best) {
                *best = median;
            }
        }
        Summary { median, best: self.best }
    }
}

/// Median in seconds; 0 of nothing.
fn median(times: &VecDeque<f64>) -> f64 {
    let mut times: Vec<f64> = times.iter().copied().collect();
    times.sort_unstable_by(f64::total_cmp);
    let middle = times.len() / 2;
    match (times.get(middle), times.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 0) => f64::midpoint(times[middle - 1], *upper),
        (Some(upper), _) => *upper,
    }
}

/// Times of one rank by section, seconds; 0 where a section was not timed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Medians of recent times.
    pub median: [f64; 4],
    /// Smallest medians so far.
    pub best: [f64; 4],
}

impl Summary {
    /// As numbers for an exchange between ranks.
    pub fn to_array(self) -> [f64; 8] {
        let mut array = [0.0; 8];
        array[..4].copy_from_slice(&self.median);
        array[4..].copy_from_slice(&self.best);
        array
    }

    /// The inverse of [`Summary::to_array`].
    pub fn from_array(array: [f64; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = array;
        Self { median: [a, b, c, d], best: [e, f, g, h] }
    }
}

/// Scores of a rank for a section, in `[0, 1]`; 1 where there is nothing to compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Smallest median of all ranks over own median.
    pub relative: f64,
    /// Own smallest median over own median.
    pub individual: f64,
}

/// Scores by rank and section.
pub fn scores(ranks: &[Summary]) -> Vec<[Score; 4]> {
    let fastest = fastest(ranks);
    let score = |rank: &Summary, section: Section| {
        let at = section as usize;
        let own = rank.median[at];
        Score { relative: ratio(fastest[at], own), individual: ratio(rank.best[at], own) }
    };
    ranks.iter().map(|rank| Section::ALL.map(|section| score(rank, section))).collect()
}

/// Smallest median of all ranks by section; 0 where no rank timed it.
fn fastest(ranks: &[Summary]) -> [f64; 4] {
    Section::ALL.map(|section| {
        let medians = ranks.iter().map(|rank| rank.median[section as usize]).filter(|median| *median > 0.0);
        medians.min_by(f64::total_cmp).unwrap_or(0.0)
    })
}

fn ratio(reference: f64, own: f64) -> f64 {
    let comparable = |time: f64| time > 0.0 && time.is_finite();
    if comparable(reference) && comparable(own) { (reference / own).min(1.0) } else { 1.0 }
}

/// A rank that is slow in a section.
#[derive(Clone, Debug, PartialEq)]
pub struct Straggler {
    /// Who.
    pub member: Member,
    /// Where in a step.
    pub section: Section,
    /// How slow.
    pub score: Score,
    /// Seconds of each step that it loses against the better of what it is compared with.
    pub loss: f64,
    /// All of it in one sentence without a full stop.
    pub sentence: String,
}

/// Slow ranks, the slowest first. `members` and `ranks` are in the same order.
pub fn stragglers(members: &[Member], ranks: &[Summary]) -> Vec<Straggler> {
    let fastest = fastest(ranks);
    let mut found = Vec::new();
    for ((member, rank), scores) in members.iter().zip(ranks).zip(scores(ranks)) {
        let least = LEAST_LOSS * rank.median.iter().sum::<f64>();
        for (section, score) in Section::ALL.into_iter().zip(scores) {
            let (own, fastest, best) =
                (rank.median[section as usize], fastest[section as usize], rank.best[section as usize]);
            let slow = |score: f64, reference: f64| score < THRESHOLD && own - reference >= least;
            let (mut reasons, mut loss) = (Vec::new(), 0.0_f64);
            if slow(score.relative, fastest) {
                loss = loss.max(own - fastest);
                reasons.push(format!("{:.1} times the fastest rank's (score {:.2})", own / fastest, score.relative));
            }
            if slow(score.individual, best) {
                loss = loss.max(own - best);
                reasons.push(format!("{:.1} times its own best (score {:.2})", own / best, score.individual));
            }
            if !reasons.is_empty() {
                let sentence = format!("{member} takes {} for {section}, {}", time(own), reasons.join(" and "));
                found.push(Straggler { member: member.clone(), section, score, loss, sentence });
            }
        }
    }
    let worst = |straggler: &Straggler| straggler.score.relative.min(straggler.score.individual);
    found.sort_by(|a, b| worst(a).total_cmp(&worst(b)));
    found
}

/// Seconds that a rank must have lost in a section before anybody is warned.
const LEAST_LOST: f64 = 30.0;

/// What slow ranks have cost a run so far.
#[derive(Clone, Debug, Default)]
pub struct Losses(BTreeMap<(usize, usize), f64>);

impl Losses {
    /// Takes note of the slow ranks of the last `steps` steps, and gives the warnings that are due: of a rank that lost
    /// half a minute in a section since the last warning of it.
    pub fn add(&mut self, slow: &[Straggler], steps: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        for straggler in slow {
            let lost = self.0.entry((straggler.member.rank, straggler.section as usize)).or_default();
            *lost += straggler.loss * steps as f64;
            if *lost >= LEAST_LOST {
                warnings.push(format!("{}; {} were lost by it", straggler.sentence, time(*lost)));
                *lost = 0.0;
            }
        }
        warnings
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(n: usize) -> Vec<Member> {
        (0..n).map(|rank| Member { rank, host: format!("n{}", rank / 2) }).collect()
    }

    fn summary(data: f64, forward: f64, best_forward: f64) -> Summary {
        Summary { median: [data, forward, 0.2, 0.05], best: [data, best_forward, 0.2, 0.05] }
    }

    #[test]
    fn a_slow_rank_is_named_with_both_scores() {
        let ranks = [summary(0.01, 0.1, 0.1), summary(0.01, 0.25, 0.125), summary(0.01, 0.12, 0.12)];
        let found = stragglers(&members(3), &ranks);
        let sentences: Vec<_> = found.iter().map(|straggler| &*straggler.sentence).collect();
        let expected = "rank 1 on host n0 takes 250.0 ms for forward, 2.5 times the fastest rank's (score 0.40) and \
                        2.0 times its own best (score 0.50)";
        assert_eq!(sentences, [expected]);
    }

    #[test]
    fn all_ranks_that_slow_down_together_are_named_by_their_own_best() {
        let ranks = [summary(0.01, 1.5, 1.0), summary(0.01, 1.5, 1.0)];
        let found = stragglers(&members(2), &ranks);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|straggler| straggler.score.relative == 1.0 && straggler.section == Section::Forward));
        assert!(found[0].sentence.ends_with("takes 1.5 s for forward, 1.5 times its own best (score 0.67)"));
    }

    #[test]
    fn a_warning_is_due_once_half_a_minute_is_lost() {
        let mut losses = Losses::default();
        // 50 ms instead of 24, as in a short run on a busy machine.
        let slow = stragglers(&members(1), &[Summary { median: [0.0, 0.05, 0.0, 0.0], best: [0.0, 0.024, 0.0, 0.0] }]);
        assert!((slow[0].loss - 0.026).abs() < 1e-12);
        assert_eq!(losses.add(&slow, 600), Vec::<String>::new());
        let warnings = losses.add(&slow, 600);
        assert!(warnings.len() == 1 && warnings[0].ends_with("; 31.2 s were lost by it"), "{warnings:?}");
        assert!(losses.add(&slow, 600).is_empty(), "what was told is not told again");
        // Steps of minutes: at once.
        let slow = stragglers(&members(2), &[summary(0.01, 10.0, 10.0), summary(0.01, 25.0, 25.0)]);
        assert_eq!(losses.add(&slow, 10).len(), 1);
    }

    #[test]
    fn a_section_that_costs_nothing_is_not_flagged() {
        let ranks = [summary(1e-5, 0.1, 0.1), summary(1e-4, 0.1, 0.1)];
        assert_eq!(scores(&ranks)[1][0], Score { relative: 0.1, individual: 1.0 });
        assert_eq!(stragglers(&members(2), &ranks), []);
    }

    #[test]
    fn medians_are_of_recent_times_and_the_best_one_is_kept() {
        let mut times = SectionTimes::default();
        assert_eq!(times.summary(), Summary::default());
        for seconds in [0.1, 0.3, f64::NAN, 0.2, -1.0, 100.0] {
            times.push(Section::Forward, seconds);
        }
        assert_eq!(times.summary().median, [0.0, 0.25, 0.0, 0.0]);
        for _ in 0..WINDOW {
            times.push(Section::Forward, 0.5);
        }
        let summary = times.summary();
        assert_eq!((summary.median[1], summary.best[1]), (0.5, 0.25));
        assert_eq!(Summary::from_array(summary.to_array()), summary);
    }

    proptest! {
        #[test]
        fn scores_lie_between_0_and_1_and_the_fastest_rank_has_1(
            times in prop::collection::vec(prop::array::uniform8(prop_oneof![Just(0.0), 1e-9..1e3, Just(f64::NAN)]), 1..9),
        ) {
            let ranks: Vec<_> = times.into_iter().map(Summary::from_array).collect();
            let scores = scores(&ranks);
            for (section, rank) in (0..4).flat_map(|section| (0..ranks.len()).map(move |rank| (section, rank))) {
                let Score { relative, individual } = scores[rank][section];
                prop_assert!((0.0..=1.0).contains(&relative) && (0.0..=1.0).contains(&individual));
                let own = ranks[rank].median[section];
                let faster = ranks.iter().any(|other| other.median[section] > 0.0 && other.median[section] < own);
                prop_assert_eq!(relative < 1.0, faster);
            }
            stragglers(&members(ranks.len()), &ranks);
        }
    }
}
