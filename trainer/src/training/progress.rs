//! What a long task tells of its progress.

/// Called along the way of a long task, to draw progress.
pub trait Progress {
    /// A task of `total` steps begins at `done`.
    fn begin(&mut self, what: &str, done: u64, total: u64);
    /// A step is done.
    fn step(&mut self, done: u64, loss: f64, cells_per_s: f64);
    /// The task is over.
    fn end(&mut self);
}

/// Draws nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _what: &str, _done: u64, _total: u64) {}
    fn step(&mut self, _done: u64, _loss: f64, _cells_per_s: f64) {}
    fn end(&mut self) {}
}
