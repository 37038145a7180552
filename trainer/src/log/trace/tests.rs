use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(folder: &Path, rank: usize) -> Value {
    let text = std::fs::read_to_string(folder.join(format!("trace-rank-{rank}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn events(document: &Value, ph: &str) -> Vec<Value> {
    document["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == ph).cloned().collect()
}

/// What the format asks of a file, and what viewers do with it: every thread's spans form a forest in file order.
fn check(document: &Value) {
    assert_eq!(document["displayTimeUnit"], "ms");
    let mut open: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for event in document["traceEvents"].as_array().unwrap() {
        let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key} of {event}"));
        assert!(event["name"].is_string() && event["args"].is_object(), "{event}");
        let (tid, _) = (number("tid"), number("pid"));
        match event["ph"].as_str() {
            Some("M") => {
                named.insert(tid);
                assert!(event.get("ts").is_none());
            }
            Some("X") => {
                assert!(named.contains(&tid), "thread {tid} has no name");
                let (begin, end) = (number("ts"), number("ts") + number("dur"));
                let outer = open.entry(tid).or_default();
                outer.retain(|&outer| outer > begin || outer == begin && end == begin);
                assert!(outer.iter().all(|&outer| end <= outer), "{event} ends after the span around it");
                outer.push(end);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_file_has_the_shape_of_the_trace_event_format() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::new(folder.path(), 3, 10..12, 100);
    trace.begin_step(10).unwrap();
    let begin = Instant::now();
    let at = |us| begin + Duration::from_micros(us);
    trace.complete(Track::Communication, "all_reduce", at(20), at(70), &[("bucket", 1), ("bytes", 4096)]);
    trace.complete(Track::Main, "say \"x\"\n".to_owned(), at(0), at(100), &[]);
    let path = trace.finish().unwrap().unwrap();
    assert_eq!(path, folder.path().join("trace-rank-3.json"));
    let document = read(folder.path(), 3);
    check(&document);
    assert_eq!(document["otherData"], json!({ "rank": 3, "steps": "10..12", "dropped_spans": 0 }));
    let metadata: Vec<_> = events(&document, "M").iter().map(|e| (e["name"].clone(), e["args"].clone())).collect();
    let wanted = [
        ("process_name", json!({ "name": "rank 3" })),
        ("process_sort_index", json!({ "sort_index": 3 })),
        ("thread_name", json!({ "name": "communication" })),
        ("thread_sort_index", json!({ "sort_index": 2 })),
        ("thread_name", json!({ "name": "main" })),
        ("thread_sort_index", json!({ "sort_index": 0 })),
    ];
    assert_eq!(metadata, wanted.map(|(name, args)| (json!(name), args)));
    let spans = events(&document, "X");
    assert_eq!((spans[0]["name"].as_str(), spans[1]["name"].as_str()), (Some("say \"x\"\n"), Some("all_reduce")));
    assert_eq!(spans[1]["args"], json!({ "bucket": 1, "bytes": 4096 }));
    assert_eq!((spans[1]["pid"].as_u64(), spans[1]["tid"].as_u64()), (Some(3), Some(1)));
    assert!(spans[1]["dur"].as_u64().unwrap().abs_diff(50) <= 1, "{spans:?}");
    // Wall-clock microseconds, so that ranks share one axis.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    assert!(spans[0]["ts"].as_u64().unwrap().abs_diff(now) < 60_000_000);
}

#[test]
fn only_the_steps_of_the_range_are_recorded_and_the_file_comes_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::new(folder.path(), 0, 2..4, 100);
    for step in 0..6 {
        trace.begin_step(step).unwrap();
        assert_eq!(trace.is_recording(), (2..4).contains(&step));
        assert_eq!(folder.path().join("trace-rank-0.json").exists(), step >= 4);
        let mut span = trace.span(Track::Main, "step");
        span.number("step", step);
    }
    let document = read(folder.path(), 0);
    let steps: Vec<_> = events(&document, "X").iter().map(|e| e["args"]["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [2, 3]);
    // Nothing more comes, and nothing else lies beside the file.
    assert_eq!(trace.finish().unwrap(), None);
    drop(trace);
    assert_eq!(read(folder.path(), 0), document);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_run_that_ends_within_the_range_leaves_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::new(folder.path(), 0, 0..1000, 100);
    trace.begin_step(0).unwrap();
    drop(trace.span(Track::Checkpoint, "write"));
    let other = trace.clone();
    drop(trace);
    assert!(!folder.path().join("trace-rank-0.json").exists());
    drop(other);
    assert_eq!(events(&read(folder.path(), 0), "X").len(), 1);
}

#[test]
fn a_trace_that_is_off_or_never_in_range_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for trace in [Trace::off(), Trace::new(folder.path(), 0, 5..9, 100)] {
        for step in [0, 4, 9, 10] {
            trace.begin_step(step).unwrap();
            drop(trace.span(Track::Loader, "decode"));
        }
        assert_eq!(trace.finish().unwrap(), None);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn memory_is_bounded_and_what_is_dropped_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::new(folder.path(), 0, 0..1, 10);
    trace.begin_step(0).unwrap();
    for _ in 0..25 {
        drop(trace.span(Track::Main, "span"));
    }
    trace.begin_step(1).unwrap();
    let document = read(folder.path(), 0);
    assert_eq!((events(&document, "X").len(), &document["otherData"]["dropped_spans"]), (10, &json!(15)));
}

#[test]
fn threads_record_into_rows_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::new(folder.path(), 1, 0..1, 10_000);
    trace.begin_step(0).unwrap();
    let together = std::sync::Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                together.wait();
                for _ in 0..100 {
                    let _outer = trace.span(Track::Loader, "read");
                    let _inner = trace.span(Track::Loader, "decode");
                }
            });
        }
    });
    trace.begin_step(1).unwrap();
    let document = read(folder.path(), 1);
    check(&document);
    assert_eq!(events(&document, "X").len(), 800);
    let names: BTreeSet<_> = events(&document, "M")
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .map(|event| event["args"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["loader", "loader 2", "loader 3", "loader 4"].map(String::from).into());
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_once_and_ends_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::new(&folder.path().join("absent"), 0, 0..1, 10);
    trace.begin_step(0).unwrap();
    assert_eq!(trace.begin_step(1).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(!trace.is_recording());
    trace.begin_step(2).unwrap();
}

proptest! {
    #[test]
    fn abutting_and_nested_spans_nest_in_the_file_at_any_fraction_of_a_microsecond(
        parts in prop::collection::vec(0_u64..5000, 1..30), offset in 0_u64..1_000_000, early: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let trace = Trace::new(folder.path(), 0, 0..1, 100);
        trace.begin_step(0).unwrap();
        // Spans may begin before the trace was made.
        let origin = trace.0.as_ref().unwrap().origin.0;
        let offset = Duration::from_nanos(offset);
        let begin = if early { origin.checked_sub(offset).unwrap() } else { origin + offset };
        let mut at = begin;
        for part in parts {
            let end = at + Duration::from_nanos(part);
            trace.complete(Track::Main, "phase", at, end, &[]);
            at = end;
        }
        trace.complete(Track::Main, "step", begin, at, &[]);
        trace.finish().unwrap();
        let document = read(folder.path(), 0);
        check(&document);
        let spans = events(&document, "X");
        let total: u64 = spans.iter().filter(|e| e["name"] == "phase").map(|e| e["dur"].as_u64().unwrap()).sum();
        prop_assert_eq!((&spans[0]["name"], spans[0]["dur"].as_u64()), (&json!("step"), Some(total)));
    }
}
