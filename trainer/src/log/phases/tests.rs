use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Runs a clock through `(phase, milliseconds)` and ends the step.
fn run(clock: &mut StepClock, now: &mut Instant, phases: &[(Phase, u64)]) -> StepTimes {
    for &(phase, ms) in phases {
        clock.enter_at(*now, phase);
        *now += Duration::from_millis(ms);
    }
    clock.finish_at(*now)
}

#[test]
fn time_goes_to_the_phase_that_was_entered_last() {
    let mut now = Instant::now();
    let mut clock = StepClock::new_at(now, 40, 8, Trace::off());
    now += Duration::from_millis(1);
    let times = run(
        &mut clock,
        &mut now,
        &[(Phase::Data, 3), (Phase::Forward, 5), (Phase::Forward, 2), (Phase::Backward, 9), (Phase::Data, 4)],
    );
    assert_eq!((times.step, times.step_ms), (40, 24.0));
    assert_eq!(times.phases_ms, PhaseTimes([7.0, 7.0, 9.0, 0.0, 0.0, 0.0, 1.0]));
    // The next step begins where this one ended, with nothing carried over.
    let next = run(&mut clock, &mut now, &[(Phase::Optimizer, 6)]);
    assert_eq!((next.step, next.step_ms, next.phases_ms[Phase::Optimizer]), (41, 6.0, 6.0));
}

proptest! {
    #[test]
    fn phases_add_up_to_steps_and_steps_to_the_time_gone_by(
        steps in prop::collection::vec(prop::collection::vec((0..Phase::COUNT, 0_u64..50_000_000), 0..20), 1..10),
    ) {
        let began = Instant::now();
        let mut now = began;
        let mut clock = StepClock::new_at(now, 0, 4, Trace::off());
        let mut total = 0.0;
        for phases in steps {
            for (phase, ns) in phases {
                clock.enter_at(now, Phase::ALL[phase]);
                now += Duration::from_nanos(ns);
            }
            let times = clock.finish_at(now);
            prop_assert!((times.phases_ms.0.iter().sum::<f64>() - times.step_ms).abs() < 1e-9);
            total += times.step_ms;
        }
        prop_assert!((total - milliseconds(now - began)).abs() < 1e-6);
    }
}

#[test]
fn the_real_clock_covers_the_whole_step() {
    let before = Instant::now();
    let mut clock = StepClock::new(0, 1, Trace::off());
    clock.enter(Phase::Data);
    std::thread::sleep(Duration::from_millis(2));
    clock.enter(Phase::Forward);
    let times = clock.finish();
    assert!(times.phases_ms[Phase::Data] >= 2.0 && times.step_ms <= milliseconds(before.elapsed()), "{times:?}");
}

#[test]
fn the_summary_covers_the_newest_steps_with_interpolated_quantiles() {
    let mut now = Instant::now();
    let mut clock = StepClock::new_at(now, 0, 5, Trace::off());
    assert_eq!(clock.summary(), None);
    for ms in [1000, 1000, 10, 50, 20, 40, 30] {
        run(&mut clock, &mut now, &[(Phase::Forward, ms), (Phase::Data, 2 * ms)]);
    }
    let summary = clock.summary().unwrap();
    // numpy.percentile([10, 20, 30, 40, 50], [50, 95]) is [30, 48]; the two slow steps have left the window.
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
    assert_eq!(summary.steps, 5);
    near(summary.step_ms_median, 90.0);
    near(summary.step_ms_p95, 144.0);
    near(summary.phases_ms[Phase::Forward], 30.0);
    near(summary.phases_ms_p95[Phase::Data], 96.0);
    near(summary.phases_ms_p95[Phase::Backward], 0.0);
}

#[test]
fn times_serialise_by_the_names_that_other_programs_read() {
    let times = StepTimes { step: 3, step_ms: 28.0, phases_ms: PhaseTimes([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) };
    let phases = json!({
        "data": 1.0, "forward": 2.0, "backward": 3.0, "exposed_communication": 4.0, "optimizer": 5.0,
        "checkpoint": 6.0, "other": 7.0,
    });
    assert_eq!(serde_json::to_value(times).unwrap(), json!({ "step": 3, "step_ms": 28.0, "phases_ms": phases }));
    let text = serde_json::to_string(&times.phases_ms).unwrap();
    assert!(text.starts_with("{\"data\":1.0,\"forward\":2.0,"), "{text}");
}

#[test]
fn a_recorded_step_encloses_its_phases_in_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::new(folder.path(), 2, 5..6, 100);
    let mut now = Instant::now();
    let mut clock = StepClock::new_at(now, 4, 1, trace);
    for _ in 0..3 {
        run(&mut clock, &mut now, &[(Phase::Other, 1), (Phase::Data, 3), (Phase::Forward, 5)]);
    }
    let text = std::fs::read_to_string(folder.path().join("trace-rank-2.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let spans: Vec<_> = document["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X").collect();
    let begin = spans[0]["ts"].as_u64().unwrap();
    let found: Vec<_> = spans
        .iter()
        .map(|e| (e["name"].as_str().unwrap(), e["ts"].as_u64().unwrap() - begin, e["dur"].as_u64().unwrap()))
        .collect();
    assert_eq!(found[0].0, "step");
    assert_eq!(spans[0]["args"], json!({ "step": 5 }));
    // Whole microseconds: a millisecond on the clock may be cut at either end.
    let wanted = [("step", 0, 9000), ("other", 0, 1000), ("data", 1000, 3000), ("forward", 4000, 5000)];
    for (span, (name, at, lasts)) in found.iter().zip(wanted) {
        assert!(span.0 == name && span.1.abs_diff(at) <= 1 && span.2.abs_diff(lasts) <= 1, "{found:?}");
    }
    assert_eq!(found.len(), wanted.len());
}
