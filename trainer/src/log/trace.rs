//! What every thread did in a range of steps, as a trace that Perfetto and `chrome://tracing` open.
//!
//! Guarantee: `trace-rank-R.json` is whole or absent and in the Trace Event Format
//! (<https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>): complete events, the rank as
//! process. Times are whole microseconds of the wall clock, so that spans of one thread nest exactly and the files
//! of several ranks lie side by side. Memory is bounded by a number of events; what is dropped is counted in the file.
//! A trace that is off or not in its range costs one atomic load a span.

mod file;

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Events that a trace holds unless told otherwise, some 25 MB of them.
pub const MAX_EVENTS: usize = 1 << 18;

/// Rows of the picture. Each thread that records on a track has a row of its own there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Track {
    /// Phases of the step.
    Main,
    /// Collectives.
    Communication,
    /// Writing of checkpoints.
    Checkpoint,
    /// Reading and decoding of cells.
    Loader,
}

impl Track {
    fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Communication => "communication",
            Self::Checkpoint => "checkpoint",
            Self::Loader => "loader",
        }
    }
}

/// Numbers that go with a span, by name.
type Numbers = Vec<(&'static str, u64)>;

/// A handle on the trace of this rank; clones record into the same file. The last one to go writes what is there.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    path: PathBuf,
    rank: usize,
    steps: Range<u64>,
    limit: usize,
    /// One moment on both clocks.
    origin: (Instant, u64),
    recording: AtomicBool,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Events {
    /// Who recorded on which track; the place is the row of an event.
    rows: Vec<(Track, ThreadId)>,
    spans: Vec<Event>,
    dropped: u64,
}

/// A complete event; microseconds since the epoch.
#[derive(Debug)]
struct Event {
    row: usize,
    name: Cow<'static, str>,
    begin: u64,
    end: u64,
    numbers: Numbers,
}

impl Trace {
    /// Records nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Will record steps `steps.start` up to but without `steps.end` into `folder/trace-rank-{rank}.json`, at most
    /// `max_events` spans of them.
    pub fn new(folder: &Path, rank: usize, steps: Range<u64>, max_events: usize) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        Self(Some(Arc::new(Recorder {
            path: folder.join(format!("trace-rank-{rank}.json")),
            rank,
            steps,
            limit: max_events,
            origin: (Instant::now(), epoch),
            recording: AtomicBool::new(false),
            events: Mutex::default(),
        })))
    }

    /// Says that a step begins, which begins or ends the recording; at the end of the range the file is written.
    ///
    /// # Errors
    /// When the file cannot be written; what was recorded is lost then.
    pub fn begin_step(&self, step: u64) -> io::Result<()> {
        let Some(recorder) = &self.0 else { return Ok(()) };
        if recorder.steps.contains(&step) {
            recorder.recording.store(true, Ordering::Relaxed);
            return Ok(());
        }
        recorder.write().map(|_| ())
    }

    /// Whether spans are being recorded.
    pub fn is_recording(&self) -> bool {
        self.recorder().is_some()
    }

    /// Records from now until the guard goes. Spans of one thread on one track must nest, as guards in a scope do.
    pub fn span(&self, track: Track, name: impl Into<Cow<'static, str>>) -> Span {
        let open = |recorder: &Arc<Recorder>| Open {
            recorder: Arc::clone(recorder),
            track,
            name: name.into(),
            begin: Instant::now(),
            numbers: Vec::new(),
        };
        Span(self.recorder().map(open))
    }

    /// Records a span whose ends are known. The same holds for nesting as for [`Trace::span`].
    pub fn complete(
        &self,
        track: Track,
        name: impl Into<Cow<'static, str>>,
        begin: Instant,
        end: Instant,
        numbers: &[(&'static str, u64)],
    ) {
        if let Some(recorder) = self.recorder() {
            recorder.record(track, name.into(), begin, end, numbers.to_vec());
        }
    }

    /// Ends the recording and writes the file; returns its path where there was something to write.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&self) -> io::Result<Option<PathBuf>> {
        self.0.as_ref().map_or(Ok(None), |recorder| recorder.write())
    }

    fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.0.as_ref().filter(|recorder| recorder.recording.load(Ordering::Relaxed))
    }
}

impl Recorder {
    fn record(&self, track: Track, name: Cow<'static, str>, begin: Instant, end: Instant, numbers: Numbers) {
        let (begin, end) = (self.microseconds(begin), self.microseconds(end));
        let thread = thread::current().id();
        let mut events = self.lock();
        if !self.recording.load(Ordering::Relaxed) {
            return;
        }
        if events.spans.len() >= self.limit {
            events.dropped += 1;
        } else {
            let row = events.row(track, thread);
            events.spans.push(Event { row, name, begin, end: end.max(begin), numbers });
        }
    }

    /// Microseconds since the epoch, rounded down: the order of moments is kept.
    fn microseconds(&self, moment: Instant) -> u64 {
        let (origin, epoch) = self.origin;
        match moment.checked_duration_since(origin) {
            Some(after) => epoch + after.as_micros() as u64,
            None => epoch - (origin - moment).as_nanos().div_ceil(1000) as u64,
        }
    }

    /// Stops recording and writes what was recorded; nothing where nothing was.
    fn write(&self) -> io::Result<Option<PathBuf>> {
        if !self.recording.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let events = {
            let mut events = self.lock();
            // Under the lock: a span that is being recorded now comes before or not at all.
            if !self.recording.swap(false, Ordering::Relaxed) {
                return Ok(None);
            }
            std::mem::take(&mut *events)
        };
        if events.dropped > 0 {
            tracing::warn!("the trace is full: {} spans were dropped; trace fewer steps", events.dropped);
        }
        file::write(&self.path, self.rank, &self.steps, events)?;
        Ok(Some(self.path.clone()))
    }

    /// A thread that panicked while it recorded leaves whole events.
    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    fn row(&mut self, track: Track, thread: ThreadId) -> usize {
        self.rows.iter().position(|&row| row == (track, thread)).unwrap_or_else(|| {
            self.rows.push((track, thread));
            self.rows.len() - 1
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.write() {
            tracing::warn!("{} was not written: {error}", self.path.display());
        }
    }
}

/// A span that is recorded when this goes.
#[derive(Debug)]
#[must_use = "the span ends where this is dropped"]
pub struct Span(Option<Open>);

#[derive(Debug)]
struct Open {
    recorder: Arc<Recorder>,
    track: Track,
    name: Cow<'static, str>,
    begin: Instant,
    numbers: Numbers,
}

impl Span {
    /// Adds a number to what the picture says of the span.
    pub fn number(&mut self, name: &'static str, value: u64) {
        if let Some(open) = &mut self.0 {
            open.numbers.push((name, value));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(Open { recorder, track, name, begin, numbers }) = self.0.take() {
            recorder.record(track, name, begin, Instant::now(), numbers);
        }
    }
}

#[cfg(test)]
mod tests;
