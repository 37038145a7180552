//! The file of a trace: the JSON object form of the Trace Event Format.

use std::cmp::Reverse;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::Path;
use std::thread::ThreadId;

use serde::ser::{Serialize, Serializer};

use super::{Event, Events, Track};

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    display_time_unit: &'static str,
    other_data: OtherData,
    trace_events: Vec<Entry<'a>>,
}

/// Shown by viewers as they find it.
#[derive(serde::Serialize)]
struct OtherData {
    rank: usize,
    steps: String,
    dropped_spans: u64,
}

#[derive(serde::Serialize)]
struct Entry<'a> {
    name: &'a str,
    /// `X`: a complete event. `M`: the name or the place of a process or a thread.
    ph: &'static str,
    pid: usize,
    tid: usize,
    #[serde(flatten)]
    time: Option<Time>,
    args: Args<'a>,
}

#[derive(serde::Serialize)]
struct Time {
    ts: u64,
    dur: u64,
}

enum Args<'a> {
    Numbers(&'a [(&'static str, u64)]),
    Name(String),
    Place(usize),
}

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Numbers(numbers) => serializer.collect_map(numbers.iter().copied()),
            Self::Name(name) => serializer.collect_map([("name", name)]),
            Self::Place(place) => serializer.collect_map([("sort_index", place)]),
        }
    }
}

/// Writes the file beside its place and renames it when whole.
pub(super) fn write(path: &Path, rank: usize, steps: &Range<u64>, mut events: Events) -> io::Result<()> {
    // Viewers take the first of two equal spans for the outer one, which is recorded last.
    events.spans.reverse();
    events.spans.sort_by_key(|span| (span.begin, Reverse(span.end)));
    let mut trace_events = names(rank, &events.rows);
    trace_events.extend(events.spans.iter().map(|span| complete(rank, span)));
    let other_data =
        OtherData { rank, steps: format!("{}..{}", steps.start, steps.end), dropped_spans: events.dropped };
    let document = Document { display_time_unit: "ms", other_data, trace_events };

    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.prefix(".trace-").tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    let mut out = BufWriter::new(file.as_file_mut());
    serde_json::to_writer(&mut out, &document)?;
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A thread's number in the file. Viewers take thread 0 for an idle processor's.
fn tid(row: usize) -> usize {
    row + 1
}

fn complete(rank: usize, span: &Event) -> Entry<'_> {
    Entry {
        name: &span.name,
        ph: "X",
        pid: rank,
        tid: tid(span.row),
        time: Some(Time { ts: span.begin, dur: span.end - span.begin }),
        args: Args::Numbers(&span.numbers),
    }
}

/// Names of the process and its threads, and their order in the picture: ranks, then tracks.
fn names<'a>(rank: usize, rows: &[(Track, ThreadId)]) -> Vec<Entry<'a>> {
    let meta = |name, tid, args| Entry { name, ph: "M", pid: rank, tid, time: None, args };
    let mut entries = vec![
        meta("process_name", 0, Args::Name(format!("rank {rank}"))),
        meta("process_sort_index", 0, Args::Place(rank)),
    ];
    let tracks: Vec<Track> = rows.iter().map(|&(track, _)| track).collect();
    for (row, &track) in tracks.iter().enumerate() {
        let before = tracks[..row].iter().filter(|&&other| other == track).count();
        let name = if before == 0 { track.name().to_owned() } else { format!("{} {}", track.name(), before + 1) };
        entries.push(meta("thread_name", tid(row), Args::Name(name)));
        entries.push(meta("thread_sort_index", tid(row), Args::Place(track as usize * tracks.len() + before)));
    }
    entries
}
