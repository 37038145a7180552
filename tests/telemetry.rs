//! A run tells where its time goes: lines of `metrics.jsonl`, a metrics endpoint, a trace.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use syncyte_tests::{Lab, metrics, signal, turn};

const PHASES: [&str; 7] = ["backward", "checkpoint", "data", "exposed_communication", "forward", "optimizer", "other"];
const PATIENCE: Duration = Duration::from_mins(1);

/// Asserts that an object has a number of milliseconds for each phase and nothing else.
fn assert_phases(phases: &Value) {
    let phases = phases.as_object().unwrap_or_else(|| panic!("no object: {phases}"));
    let mut names: Vec<_> = phases.keys().collect();
    names.sort();
    assert_eq!(names, PHASES);
    assert!(phases.values().all(|ms| ms.as_f64().is_some_and(|ms| ms >= 0.0)), "{phases:?}");
    assert!(["forward", "backward"].iter().all(|phase| phases[*phase].as_f64() > Some(0.0)), "{phases:?}");
}

#[test]
fn lines_of_the_log_tell_phases_and_now_and_then_those_of_all_ranks() {
    let _turn = turn("lines_of_the_log_tell_phases_and_now_and_then_those_of_all_ranks");
    let lab = Lab::new();
    lab.train(2, "pretrain", "run", &["engine.steps=20", "engine.monitor_every=10"]).assert_code(0);
    let lines = metrics(&lab.path("run"));
    assert_eq!(lines.len(), 20);
    // Times are those of the steps before, so the first has none.
    for line in &lines[1..] {
        assert!(line["step_ms"].as_f64() > Some(0.0), "{line}");
        assert_phases(&line["phases_ms"]);
    }
    for line in &lines {
        let ranks = &line["ranks"];
        if line["step"].as_u64().unwrap() % 10 != 0 {
            assert!(ranks.is_null(), "{line}");
            continue;
        }
        let of = |key: &str| ranks[key].as_array().filter(|list| list.len() == 2).unwrap_or_else(|| panic!("{line}"));
        of("phases_ms").iter().for_each(assert_phases);
        assert!(of("resident_bytes").iter().all(|bytes| bytes.as_u64() > Some(1 << 20)), "{line}");
        assert!(of("straggler_scores").iter().all(|score| in_unit_interval(score.as_f64())), "{line}");
    }
}

/// Whether a score is there and lies in (0, 1].
fn in_unit_interval(score: Option<f64>) -> bool {
    score.is_some_and(|score| score > 0.0 && score <= 1.0)
}

/// The body of the answer to `GET path`.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer}"));
    assert!(head.starts_with("HTTP/1.1 200 ") && head.to_lowercase().contains("content-type: text/plain"), "{head}");
    body.to_owned()
}

/// Samples of a scrape by name and labels.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name, value.parse().unwrap())).collect()
}

#[test]
fn a_running_run_answers_at_the_port_that_its_log_names() {
    let _turn = turn("a_running_run_answers_at_the_port_that_its_log_names");
    let lab = Lab::new();
    let settings = ["engine.steps=100000", "engine.monitor_every=5", "metrics.address=127.0.0.1:0"];
    let mut running = lab.start(2, "pretrain", "run", &settings);
    // Times of the ranks are told at every fifth step.
    lab.wait_for_step(&mut running, "run", 6);
    let log = fs::read_to_string(lab.path("run/log/rank-0.log")).unwrap();
    let (_, rest) = log.split_once("http://").unwrap_or_else(|| panic!("no address in the log: {log}"));
    let (address, _) = rest.split_once("/metrics").unwrap();
    assert!(address.starts_with("127.0.0.1:") && running.stderr().contains(address), "{address}");

    let body = get(address, "/metrics");
    let samples = samples(&body);
    let value = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name} in {body}"));
    assert!(value("syncyte_step") >= 5.0);
    for name in ["syncyte_loss", "syncyte_learning_rate", "syncyte_gradient_norm", "syncyte_cells_per_second"] {
        assert!(value(name) > 0.0, "{name} in {body}");
        assert!(body.contains(&format!("# TYPE {name} gauge\n")), "{name} in {body}");
    }
    assert_eq!(value("syncyte_skipped_steps_total"), 0.0);
    for rank in 0..2 {
        for phase in ["forward", "backward"] {
            assert!(value(&format!("syncyte_phase_seconds{{rank=\"{rank}\",phase=\"{phase}\"}}")) > 0.0, "{body}");
        }
        assert!(value(&format!("syncyte_resident_memory_bytes{{rank=\"{rank}\"}}")) > f64::from(1 << 20), "{body}");
        assert!(in_unit_interval(Some(value(&format!("syncyte_straggler_score{{rank=\"{rank}\"}}")))), "{body}");
    }
    signal(&[running.id()], "USR1");
    running.to_end().assert_code(85);
}

#[test]
fn an_address_that_cannot_be_listened_on_is_refused_by_key() {
    let _turn = turn("an_address_that_cannot_be_listened_on_is_refused_by_key");
    let lab = Lab::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("metrics.address={}", other.local_addr().unwrap());
    for ranks in [1, 2] {
        let refused = lab.train(ranks, "pretrain", "run", &["engine.steps=4", &taken]);
        refused.assert_refused(2, &["metrics.address", "is taken by another program"]);
        lab.assert_nothing_in("run");
    }
    let refused = lab.train(1, "pretrain", "run", &["engine.steps=4", "metrics.address=here"]);
    refused.assert_refused(2, &["metrics.address = \"here\"", "HOST:PORT"]);
    lab.assert_nothing_in("run");
}

/// A complete event of a trace; microseconds.
#[derive(Debug)]
struct Span {
    name: String,
    begin: u64,
    end: u64,
    thread: u64,
    step: Option<u64>,
}

impl Span {
    fn holds(&self, other: &Self) -> bool {
        self.begin <= other.begin && other.end <= self.end
    }
}

/// The complete events in `trace-rank-R.json`, by begin.
fn trace(lab: &Lab, name: &str, rank: usize) -> Vec<Span> {
    let path = lab.path(name).join(format!("trace-rank-{rank}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let complete = file["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
    let spans = complete.map(|event| {
        assert_eq!(event["pid"], rank, "{event}");
        let (begin, duration) = (event["ts"].as_u64().unwrap(), event["dur"].as_u64().unwrap());
        let (thread, step) = (event["tid"].as_u64().unwrap(), event["args"]["step"].as_u64());
        Span { name: event["name"].as_str().unwrap().to_owned(), begin, end: begin + duration, thread, step }
    });
    let mut spans: Vec<_> = spans.collect();
    spans.sort_by_key(|span| span.begin);
    spans
}

/// Microseconds by which a begin may be told too early: times are rounded down, those of communication twice.
const ROUNDING: u64 = 3;

/// Sizes at which backward takes several milliseconds, so that a communication thread that gets half of a core is seen
/// at work during it.
const LARGER: [&str; 6] = [
    "model.encoder.hidden=[256, 256]",
    "model.encoder.width=64",
    "model.encoder.depth=2",
    "data.batch_size=256",
    "metrics.trace_from=3",
    "metrics.trace_to=6",
];

#[test]
fn a_trace_shows_phases_of_its_steps_and_gradients_that_are_summed_during_backward() {
    let _turn = turn("a_trace_shows_phases_of_its_steps_and_gradients_that_are_summed_during_backward");
    let lab = Lab::new();
    for overlap in ["hooks", "none"] {
        let key = format!("engine.overlap={overlap}");
        lab.train(2, "pretrain", overlap, &[&LARGER[..], &["engine.steps=8", &key]].concat()).assert_code(0);
        for rank in 0..2 {
            let spans = trace(&lab, overlap, rank);
            let of = |name: &str| spans.iter().filter(|span| span.name.starts_with(name)).collect::<Vec<_>>();
            let steps = of("step");
            assert_eq!(steps.iter().map(|span| span.step).collect::<Vec<_>>(), [Some(3), Some(4), Some(5)]);
            let buckets = of("all-reduce gradients bucket ");
            let mut during_backward = 0;
            for step in &steps {
                for phase in ["data", "forward", "backward", "exposed_communication", "optimizer", "other"] {
                    let inside = of(phase).into_iter().filter(|span| step.holds(span));
                    assert!(inside.clone().count() > 0, "no {phase} in step {:?} of rank {rank}", step.step);
                    assert!(inside.into_iter().all(|span| span.thread == step.thread), "{phase} is on another row");
                }
                let backward: Vec<_> = of("backward").into_iter().filter(|span| step.holds(span)).collect();
                let of_step: Vec<_> = buckets.iter().filter(|span| step.holds(span)).collect();
                assert!(!of_step.is_empty(), "no bucket in step {:?} of rank {rank}", step.step);
                assert!(of_step.iter().all(|span| span.thread != step.thread), "communication is on the main row");
                let early = |span: &Span| backward.iter().any(|phase| span.begin + ROUNDING < phase.end);
                during_backward += of_step.iter().filter(|span| early(span)).count();
            }
            assert_eq!(during_backward > 0, overlap == "hooks", "{overlap}, rank {rank}: {spans:?}");
            let outside = spans.iter().find(|span| span.end < steps[0].begin || span.begin > steps[2].end);
            assert!(outside.is_none(), "rank {rank}: {outside:?} is outside the steps");
        }
    }
}
