//! Dose and time: how much of an effect a cell of a given dose and time shows.
//!
//! An effect grows with dose d by Hill's curve d^h / (ec50^h + d^h), and each of its parts with time t by
//! 1 − exp(−t/τ), with a time constant of its own. The first module is late: its clock starts after a delay.
//!
//! Guarantee: without dose levels and time points every cell shows the whole effect.

use serde::{Deserialize, Serialize};

use crate::philox::Philox;

use super::config::SynthConfig;
use super::stream::{Part, normal, stream};

/// Standard deviation of the log of the time constants and of the doses of half effect.
const SPREAD: f64 = 0.4;
/// Time constants of the fall of a target and of what the network carries on, in those of a module.
const TARGET_PACE: f64 = 0.25;
const NETWORK_PACE: f64 = 2.0;

/// One dose and time point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Dose of the perturbed cells; none where doses do not differ.
    pub dose: Option<f64>,
    /// Time; none where times do not differ.
    pub time: Option<f64>,
}

/// Which of an effect's clocks a part follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Target,
    Network,
    Shared,
    Private,
    Module(u32),
}

/// How a part of an effect grows with time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Time constant.
    pub tau: f64,
    /// Time before which nothing happens.
    pub delay: f64,
}

impl Curve {
    /// Share of the part that is there at a time.
    pub fn reached(self, time: f64) -> f64 {
        -(-(time - self.delay).max(0.0) / self.tau).exp_m1()
    }
}

/// Share of an effect that a dose brings.
pub(super) fn hill(dose: f64, ec50: f64, exponent: f64) -> f64 {
    let power = (dose / ec50).powf(exponent);
    if power.is_finite() { power / (1.0 + power) } else { 1.0 }
}

/// All settings and the curves of the parts.
pub(super) struct Courses {
    /// Settings in use: dose × time, at least one.
    pub(super) settings: Vec<Setting>,
    /// Curves of target, network, shared axis, private effects and then of the modules; none without time points.
    pub(super) curves: Vec<Curve>,
    exponent: f64,
    /// Share reached: setting × curve.
    reached: Vec<Vec<f32>>,
}

impl Courses {
    pub(super) fn plant(config: &SynthConfig) -> Self {
        let course = &config.course;
        let times = levels(&course.times);
        let settings: Vec<Setting> = levels(&course.doses)
            .into_iter()
            .flat_map(|dose| times.iter().map(move |&time| Setting { dose, time }))
            .collect();
        let curves = if course.times.is_empty() { Vec::new() } else { curves(config) };
        let reached = settings.iter().map(|setting| reached(&curves, setting.time)).collect();
        Self { settings, curves, exponent: course.hill, reached }
    }

    /// Share of a condition's effect that the dose of a setting brings.
    pub(super) fn dosed(&self, setting: usize, ec50: Option<f32>) -> f32 {
        match (self.settings[setting].dose, ec50) {
            (Some(dose), Some(ec50)) => hill(dose, f64::from(ec50), self.exponent) as f32,
            _ => 1.0,
        }
    }

    /// Share of every part that is there at the time of a setting.
    pub(super) fn pace(&self, setting: usize) -> Pace<'_> {
        Pace(&self.reached[setting])
    }

    /// As [`Courses::pace`], a lag earlier.
    pub(super) fn lagged(&self, lag: f64) -> Vec<Vec<f32>> {
        let earlier = |setting: &Setting| reached(&self.curves, setting.time.map(|time| time - lag));
        self.settings.iter().map(earlier).collect()
    }
}

/// Share of every part of an effect that is there at one time.
#[derive(Clone, Copy)]
pub(super) struct Pace<'a>(pub(super) &'a [f32]);

impl Pace<'_> {
    /// All of every part.
    pub(super) const WHOLE: Self = Self(&[]);

    pub(super) fn of(self, clock: Clock) -> f32 {
        let at = match clock {
            Clock::Target => 0,
            Clock::Network => 1,
            Clock::Shared => 2,
            Clock::Private => 3,
            Clock::Module(module) => 4 + module as usize,
        };
        self.0.get(at).copied().unwrap_or(1.0)
    }
}

/// Dose of half effect of a condition: around the geometric middle of the dose levels.
pub(super) fn ec50(config: &SynthConfig, condition: usize) -> Option<f32> {
    let (first, last) = (config.course.doses.first()?, config.course.doses.last()?);
    let mut random = stream(config.seed, Part::Course, 1 + condition);
    Some(spread((first * last).sqrt(), &mut random) as f32)
}

fn levels(levels: &[f64]) -> Vec<Option<f64>> {
    if levels.is_empty() { vec![None] } else { levels.iter().copied().map(Some).collect() }
}

fn spread(median: f64, random: &mut Philox) -> f64 {
    median * (SPREAD * normal(random)).exp()
}

fn curves(config: &SynthConfig) -> Vec<Curve> {
    let mut random = stream(config.seed, Part::Course, 0);
    let course = &config.course;
    let paces = [TARGET_PACE, NETWORK_PACE, 1.0, 1.0].map(|pace| Curve { tau: pace * course.tau, delay: 0.0 });
    let modules = (0..config.modules).map(|module| Curve {
        tau: spread(course.tau, &mut random),
        delay: if module == 0 { course.delay } else { 0.0 },
    });
    paces.into_iter().chain(modules).collect()
}

fn reached(curves: &[Curve], time: Option<f64>) -> Vec<f32> {
    match time {
        Some(time) => curves.iter().map(|curve| curve.reached(time) as f32).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Courses, Curve, Pace, ec50, hill};
    use crate::synth::{Preset, SynthConfig, World};

    fn config() -> SynthConfig {
        let mut config = SynthConfig::preset(Preset::Demo, World::W2, 3);
        (config.course.doses, config.course.times) = (vec![0.1, 1.0, 10.0], vec![6.0, 24.0]);
        config
    }

    #[test]
    fn curves_have_their_golden_values() {
        for (dose, ec50, exponent, share) in
            [(1.0, 1.0, 3.0, 0.5), (2.0, 1.0, 1.0, 2.0 / 3.0), (3.0, 1.0, 2.0, 0.9), (0.5, 2.0, 2.0, 1.0 / 17.0)]
        {
            assert!((hill(dose, ec50, exponent) - share).abs() < 1e-12);
        }
        assert_eq!((hill(0.0, 1.0, 2.0), hill(1e300, 1e-10, 9.0)), (0.0, 1.0));
        let late = Curve { tau: 10.0, delay: 5.0 };
        for (time, share) in [(0.0, 0.0), (5.0, 0.0), (15.0, 0.632_120_558_828_557_7), (35.0, 0.950_212_931_632_136)] {
            assert!((late.reached(time) - share).abs() < 1e-12, "{time}");
        }
    }

    #[test]
    fn every_dose_meets_every_time_and_parts_follow_their_clocks() {
        let courses = Courses::plant(&config());
        assert_eq!(courses.settings.len(), 6);
        assert_eq!((courses.settings[3].dose, courses.settings[3].time), (Some(1.0), Some(24.0)));
        let (early, late) = (courses.pace(0), courses.pace(1));
        for clock in [Clock::Target, Clock::Network, Clock::Shared, Clock::Private, Clock::Module(5)] {
            assert!(0.0 < early.of(clock) && early.of(clock) < late.of(clock) && late.of(clock) < 1.0, "{clock:?}");
        }
        assert_eq!(early.of(Clock::Module(0)), 0.0, "the first module waits");
        assert!(
            early.of(Clock::Target) > early.of(Clock::Shared) && early.of(Clock::Shared) > early.of(Clock::Network)
        );
        let lagged = courses.lagged(6.0);
        assert_eq!(Pace(&lagged[0]).of(Clock::Target), 0.0);
        assert!(Pace(&lagged[1]).of(Clock::Shared) < late.of(Clock::Shared));
        assert!(ec50(&config(), 4).is_some_and(|dose| (0.1..10.0).contains(&dose)));
        assert_eq!(courses.dosed(3, Some(1.0)), 0.5);
    }

    #[test]
    fn without_doses_and_times_all_of_an_effect_is_there() {
        let config = SynthConfig::preset(Preset::Demo, World::W2, 3);
        let courses = Courses::plant(&config);
        assert_eq!((courses.settings.len(), courses.curves.len(), ec50(&config, 4)), (1, 0, None));
        assert_eq!((courses.pace(0).of(Clock::Module(7)), courses.dosed(0, None)), (1.0, 1.0));
    }
}
