//! Progress bars: on standard error, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that fills.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Over cells, with cells per second and the time left.
    pub(crate) fn cells(what: &str, total: u64) -> Self {
        Self::new(what, total, "{prefix:>12} {wide_bar} {human_pos}/{human_len} cells  {per_sec}  {eta} left")
    }

    /// Over training steps, with what [`Progress::say`] says and the time left.
    pub(crate) fn steps(what: &str, total: u64) -> Self {
        Self::new(what, total, "{prefix:>12} {wide_bar} step {pos}/{len}  {msg}  {eta} left")
    }

    fn new(what: &str, total: u64, template: &str) -> Self {
        // Hides itself where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_prefix(what.to_owned());
        Self(bar)
    }

    /// Moves to a position.
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Shows a few words beside the bar.
    pub(crate) fn say(&self, words: String) {
        self.0.set_message(words);
    }

    /// Removes the bar: the answer that follows says what was done.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
