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

/// Who can put an error right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever wrote the configuration or the command line.
    Usage,
    /// Whoever made the data or the checkpoint.
    Data,
    /// Nobody by a change of input: the run failed.
    Run,
}

/// An error that says whose it is, so that all ranks can say the same.
pub trait Blame: std::fmt::Display {
    /// Who can put it right.
    fn fault(&self) -> Fault;
}

/// Runs `step` on every rank and fails on every rank when it failed on one, with all messages.
///
/// # Errors
/// One message that names each rank whose step failed, with the fault of the first.
pub fn agree<T, E: Blame>(collective: &dyn Collective, step: impl FnOnce() -> Result<T, E>) -> Result<T, AgreeError> {
    let outcome = step();
    let own = outcome.as_ref().err().map(|error| (error.fault(), error.to_string()));
    let texts = collective.all_gather_text(&own.as_ref().map_or_else(String::new, encode))?;
    let failed: Vec<_> = texts.iter().enumerate().filter_map(|(rank, text)| Some((rank, decode(text)?))).collect();
    match (outcome, failed.first()) {
        (Ok(value), None) => Ok(value),
        (_, first) => {
            let fault = first.map_or(Fault::Run, |(_, (fault, _))| *fault);
            let alone = collective.size() == 1;
            let named = |(rank, (_, text)): &(usize, (Fault, String))| {
                if alone { text.clone() } else { format!("rank {rank}: {text}") }
            };
            let message = failed.iter().map(named).collect::<Vec<_>>().join("; ");
            Err(AgreeError::Failed { fault, message })
        }
    }
}

/// An error as text for the other ranks; never empty, which stands for success.
fn encode((fault, message): &(Fault, String)) -> String {
    let letter = match fault {
        Fault::Usage => 'u',
        Fault::Data => 'd',
        Fault::Run => 'r',
    };
    format!("{letter}{message}")
}

fn decode(text: &str) -> Option<(Fault, String)> {
    let mut letters = text.chars();
    let fault = match letters.next()? {
        'u' => Fault::Usage,
        'd' => Fault::Data,
        _ => Fault::Run,
    };
    Some((fault, letters.as_str().to_owned()))
}

/// Why ranks did not complete a step together.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// The exchange itself failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// The step failed on at least one rank.
    #[error("{message}")]
    Failed {
        /// Who can put it right, by the first rank that failed.
        fault: Fault,
        /// What the ranks said.
        message: String,
    },
}

impl Blame for AgreeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Collective(_) => Fault::Run,
            Self::Failed { fault, .. } => *fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("wrong key")]
    struct Mistake(Fault);

    impl Blame for Mistake {
        fn fault(&self) -> Fault {
            self.0
        }
    }

    #[test]
    fn ranks_agree_on_the_fault_with_the_message() {
        for fault in [Fault::Usage, Fault::Data, Fault::Run] {
            let error = agree(&Solo, || Err::<(), _>(Mistake(fault))).unwrap_err();
            assert_eq!((error.fault(), error.to_string().as_str()), (fault, "wrong key"));
        }
        assert_eq!(agree(&Solo, || Ok::<_, Mistake>(7)).unwrap(), 7);
    }
}
