//! Collectives: what ranks do together.
//!
//! Guarantee: every rank asks for the same operations in the same order; after a sum every rank holds the same bits,
//! those of a fixed binary tree over the ranks (`number`), on every backend and any arrangement of the ranks on
//! nodes of a power of two. A world of one needs no MPI.
//!
//! A backend (`transport`) gives memory and moves bytes; the operations are written once (`algorithm`) and run on
//! a thread of their own (`communicator`), so that gradients are reduced while backward goes on. What lies on GPUs, NCCL
//! reduces (`device`): among the others, but in an order of its own within each sum.

mod algorithm;
mod communicator;
#[cfg(test)]
mod contract;
mod device;
mod mpi;
pub mod nccl;
mod node;
mod number;
mod region;
mod solo;
mod threads;
mod transport;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::watch::{self, Recorder};

pub use communicator::{Communicator, Pending, Starter};
pub use device::{DeviceRegion, Devices};
pub use mpi::Mpi;
pub use region::Region;
pub use solo::Solo;
pub use threads::Threads;
pub use transport::Topology;

/// The number format in which summands travel between nodes. Within a node, and by NCCL, it is always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// 32-bit floating point: the sum has the bits of the tree over all ranks.
    #[default]
    F32,
    /// Half the bytes: every node's sum is rounded to bfloat16, added up in f32, and the total of an all-reduce is rounded
    /// again. All ranks get the same bits.
    Bf16,
}

/// Operations on a range of a [`Region`], in place, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Every rank gets the sum.
    AllReduce(Wire),
    /// Every rank gets the sum of the part that it owns ([`Collective::owned`]); the rest is undefined afterwards.
    ReduceScatter(Wire),
    /// Every rank gets, for each part, the values of the rank that owns it.
    AllGather,
    /// Every rank gets the values of `root`.
    Broadcast {
        /// Rank whose values go to all.
        root: usize,
    },
    /// Every rank gets a copy of the values of the next rank of its node, for measurements: what one pass over the
    /// shared memory takes.
    Fetch {
        /// Elements behind the range where the copy goes.
        behind: usize,
    },
}

impl Operation {
    /// Name as in MPI's literature.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllReduce(_) => "all-reduce",
            Self::ReduceScatter(_) => "reduce-scatter",
            Self::AllGather => "all-gather",
            Self::Broadcast { .. } => "broadcast",
            Self::Fetch { .. } => "fetch",
        }
    }

    fn kind(self) -> watch::Operation {
        match self {
            Self::AllReduce(_) => watch::Operation::AllReduce,
            Self::ReduceScatter(_) => watch::Operation::ReduceScatter,
            Self::AllGather => watch::Operation::AllGather,
            Self::Broadcast { .. } | Self::Fetch { .. } => watch::Operation::Broadcast,
        }
    }
}

/// What an operation is for, in messages and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    what: &'static str,
    index: Option<usize>,
}

impl Label {
    /// A thing of which there is one.
    pub fn plain(what: &'static str) -> Self {
        Self { what, index: None }
    }

    /// One of several things, e.g. a bucket of gradients.
    pub fn numbered(what: &'static str, index: usize) -> Self {
        Self { what, index: Some(index) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => f.write_str(self.what),
            Some(index) => write!(f, "{} {index}", self.what),
        }
    }
}

/// Bytes of a rank's text that go in one round.
const TEXT_ROUND: usize = 1 << 20;

/// Operations on all ranks of a run. Every rank calls every one of them in the same order, from one thread at a time.
pub trait Collective: Send + Sync {
    /// Rank of this process, below [`Collective::size`].
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Zeroed memory for `len` f32 on every rank, to run operations on.
    ///
    /// # Errors
    /// When a rank cannot have it.
    fn allocate(&self, len: usize) -> Result<Region, CollectiveError>;

    /// The part of a range that this rank owns after a reduce-scatter and before an all-gather of that range.
    fn owned(&self, range: &Range<usize>) -> Range<usize>;

    /// Starts an operation on f32. Until it is complete, nobody may touch the range in this rank's copy.
    fn start(&self, operation: Operation, region: &Region, range: Range<usize>, label: Label) -> Pending {
        self.starter().start(operation, region, range, label)
    }

    /// Starts operations from other threads, as hooks of the backward pass do. The order must still be the same on
    /// all ranks.
    fn starter(&self) -> Starter;

    /// The record of all operations of this rank; `None` in a world of one.
    fn recorder(&self) -> Option<Arc<Recorder>> {
        None
    }

    /// Sum over ranks, in place, of f32 values.
    ///
    /// # Errors
    /// When the transport fails; the message names the operation.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError>;

    /// Sum over ranks, in place, of f64 values.
    ///
    /// # Errors
    /// When the transport fails.
    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<(), CollectiveError>;

    /// The text of every rank, in order of rank, on every rank; in rounds, so that no more than the texts is held.
    ///
    /// # Errors
    /// When the transport fails.
    fn all_gather_text(&self, text: &str) -> Result<Vec<String>, CollectiveError> {
        let (rank, size) = (self.rank(), self.size());
        let mut lengths = vec![0.0_f64; size];
        lengths[rank] = text.len() as f64;
        self.all_reduce_sum_f64(&mut lengths)?;
        let longest = lengths.iter().map(|&n| n as usize).max().unwrap_or(0);
        let mut texts: Vec<Vec<u8>> = lengths.iter().map(|&n| Vec::with_capacity(n as usize)).collect();
        for start in (0..longest).step_by(TEXT_ROUND) {
            // One slot a rank, a byte a number: sums of one byte and zeros are exact.
            let slot = TEXT_ROUND.min(longest - start);
            let mut bytes = vec![0.0_f32; slot * size];
            for (to, from) in bytes[slot * rank..slot * (rank + 1)].iter_mut().zip(text.as_bytes().iter().skip(start)) {
                *to = f32::from(*from);
            }
            self.all_reduce_sum(&mut bytes)?;
            for (of, text) in texts.iter_mut().enumerate() {
                let own = (lengths[of] as usize).saturating_sub(start).min(slot);
                text.extend(bytes[slot * of..slot * of + own].iter().map(|&byte| byte as u8));
            }
        }
        Ok(texts.into_iter().map(|text| String::from_utf8_lossy(&text).into_owned()).collect())
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// When the transport fails.
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// Ends this process at once with this exit code, which ends the other ranks too.
    fn abort(&self, code: i32) -> !;
}

/// A collective operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}{} failed on rank {rank}: {cause}", of(.label.as_ref()))]
pub struct CollectiveError {
    /// Name of the operation.
    pub operation: &'static str,
    /// What it was for.
    pub label: Option<Label>,
    /// Rank that saw it.
    pub rank: usize,
    /// What the transport said.
    pub cause: String,
}

fn of(label: Option<&Label>) -> String {
    label.map_or_else(String::new, |label| format!(" of {label}"))
}

impl CollectiveError {
    fn new(operation: &'static str, rank: usize, cause: String) -> Self {
        Self { operation, label: None, rank, cause }
    }

    fn labelled(self, label: Label) -> Self {
        Self { label: Some(label), ..self }
    }
}

/// Ends this process without running anything that might wait for other ranks or threads.
pub(crate) fn end_process(code: i32) -> ! {
    // SAFETY: does not return and touches no memory of this program.
    unsafe { libc::_exit(code) }
}

/// Who can put an error right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever started the run, by starting it again: it was asked to end and wrote a checkpoint.
    Requeue,
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
        Fault::Requeue => 'q',
    };
    format!("{letter}{message}")
}

fn decode(text: &str) -> Option<(Fault, String)> {
    let mut letters = text.chars();
    let fault = match letters.next()? {
        'u' => Fault::Usage,
        'd' => Fault::Data,
        'q' => Fault::Requeue,
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
