//! Records of a run: JSON lines and TensorBoard event files.

mod jsonl;
mod tensorboard;

pub use jsonl::JsonLines;
pub use tensorboard::EventFile;
