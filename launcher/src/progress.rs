//! Progress bars: on standard error, and only where that is a terminal. Under `launch` there is one, that of the first
//! rank, which `launch` draws.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use syncyte_trainer::task;

use crate::logging::is_first_rank;
use crate::relay::{Note, Wanted};

const CELLS: &str = "{prefix:>12} {wide_bar} {human_pos}/{human_len} cells  {per_sec}  {eta} left";
const STEPS: &str = "{prefix:>12} {wide_bar} step {pos}/{len}  {msg}  {eta} left";

/// Least time between two notes to `launch`.
const NOTE_EVERY: Duration = Duration::from_millis(200);

/// A bar that fills, here or in `launch`.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Of the first rank of a `launch` that draws: when the last note was sent.
    relay: Option<Instant>,
}

impl Progress {
    /// Over cells, with cells per second and the time left.
    pub(crate) fn cells(what: &str, total: u64) -> Self {
        Self { bar: bar(what, total, CELLS), relay: None }
    }

    /// Over the steps of a task that is yet to begin.
    pub(crate) fn task() -> Self {
        let relay = Wanted::of_this_process() == Some(Wanted::Progress) && is_first_rank();
        Self { bar: ProgressBar::hidden(), relay: relay.then(Instant::now) }
    }

    /// Moves to a position.
    pub(crate) fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Removes the bar: the answer that follows says what was done.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints something else on the terminal, beside the bar.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }
}

fn bar(what: &str, total: u64, template: &str) -> ProgressBar {
    // Hides itself where standard error is no terminal.
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(what.to_owned());
    bar
}

impl task::Progress for Progress {
    fn begin(&mut self, what: &str, done: u64, total: u64) {
        if let Some(sent) = &mut self.relay {
            *sent = Instant::now();
            return Note::Begin { what: what.to_owned(), done, total }.send();
        }
        self.bar = bar(what, total, STEPS);
        self.bar.set_position(done);
        // The time left is that of the steps to come, not of those before a resume.
        self.bar.reset_eta();
    }

    fn step(&mut self, done: u64, loss: f64, cells_per_s: f64) {
        if let Some(sent) = &mut self.relay {
            if sent.elapsed() >= NOTE_EVERY {
                *sent = Instant::now();
                let finite = |number: f64| Some(number).filter(|number| number.is_finite());
                Note::Step { done, loss: finite(loss), cells_per_s: finite(cells_per_s) }.send();
            }
            return;
        }
        // Not every log has a rate.
        let rate = if cells_per_s.is_finite() { format!("  {cells_per_s:.0} cells/s") } else { String::new() };
        self.bar.set_message(format!("loss {loss:.4}{rate}"));
        self.bar.set_position(done);
    }

    fn end(&mut self) {
        if self.relay.is_some() {
            return Note::End.send();
        }
        self.finish();
    }
}
