//! Collectives: what ranks do together.
//!
//! Guarantee: after an all-reduce every rank holds the same bits; calls happen in the same order on every
//! rank. A world of one needs no MPI.

mod mpi;
mod solo;

pub use mpi::Mpi;
pub use solo::Solo;

/// Operations on all ranks of a run. Every rank calls every one of them in the same order.
pub trait Collective {
    /// Rank of this process, below [`Collective::size`].
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Sum over ranks, in place, of f32 values.
    ///
    /// # Errors
    /// When the transport fails; the message names the operation and its return code.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError>;

    /// Sum over ranks, in place, of f64 values.
    ///
    /// # Errors
    /// When the transport fails.
    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<(), CollectiveError>;

    /// Largest value over ranks, in place.
    ///
    /// # Errors
    /// When the transport fails.
    fn all_reduce_max_u64(&self, values: &mut [u64]) -> Result<(), CollectiveError>;

    /// The text of every rank, in order of rank, on every rank.
    ///
    /// # Errors
    /// When the transport fails.
    fn all_gather_text(&self, text: &str) -> Result<Vec<String>, CollectiveError>;

    /// Waits for all ranks.
    ///
    /// # Errors
    /// When the transport fails.
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// Ends every rank at once with this exit code.
    fn abort(&self, code: i32) -> !;
}

/// A collective operation failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed on rank {rank} with MPI code {code}")]
pub struct CollectiveError {
    /// Name of the operation.
    pub operation: &'static str,
    /// Rank that saw it.
    pub rank: usize,
    /// Return code of the transport.
    pub code: i32,
}

/// Runs `step` on every rank and fails on every rank when it failed on one, with all messages.
///
/// # Errors
/// One message that names each rank whose step failed.
pub fn agree<T, E: std::fmt::Display>(
    collective: &dyn Collective,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, AgreeError> {
    let outcome = step();
    let message = outcome.as_ref().err().map_or_else(String::new, ToString::to_string);
    let messages = collective.all_gather_text(&message)?;
    let failed: Vec<String> = messages
        .iter()
        .enumerate()
        .filter(|(_, text)| !text.is_empty())
        .map(|(rank, text)| if collective.size() == 1 { text.clone() } else { format!("rank {rank}: {text}") })
        .collect();
    match outcome {
        Ok(value) if failed.is_empty() => Ok(value),
        _ => Err(AgreeError::Failed(failed.join("; "))),
    }
}

/// Why ranks did not complete a step together.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// The exchange itself failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// The step failed on at least one rank.
    #[error("{0}")]
    Failed(String),
}
