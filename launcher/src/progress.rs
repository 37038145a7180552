//! Progress bars: on standard error, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use syncyte_trainer::task;

const CELLS: &str = "{prefix:>12} {wide_bar} {human_pos}/{human_len} cells  {per_sec}  {eta} left";
const STEPS: &str = "{prefix:>12} {wide_bar} step {pos}/{len}  {msg}  {eta} left";

/// A bar that fills.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Over cells, with cells per second and the time left.
    pub(crate) fn cells(what: &str, total: u64) -> Self {
        Self(bar(what, total, CELLS))
    }

    /// Over the steps of a task that is yet to begin.
    pub(crate) fn task() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Moves to a position.
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Removes the bar: the answer that follows says what was done.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
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
        self.0 = bar(what, total, STEPS);
        self.0.set_position(done);
        // The time left is that of the steps to come, not of those before a resume.
        self.0.reset_eta();
    }

    fn step(&mut self, done: u64, loss: f64, cells_per_s: f64) {
        // Not every log has a rate.
        let rate = if cells_per_s.is_finite() { format!("  {cells_per_s:.0} cells/s") } else { String::new() };
        self.0.set_message(format!("loss {loss:.4}{rate}"));
        self.0.set_position(done);
    }

    fn end(&mut self) {
        self.finish();
    }
}
