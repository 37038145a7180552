//! Where a rank is: its step, what it does there and its last collective operation. Ranks tell each other this and
//! nothing else.

use std::fmt;

use serde::Serialize;

/// A rank and the machine that it runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Member {
    /// Rank.
    pub rank: usize,
    /// Name of the machine.
    pub host: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} on host {}", self.rank, self.host)
    }
}

/// What a rank does between and around its collective operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before the first step.
    #[default]
    StartUp,
    /// Waits for a batch.
    Data,
    /// Forward pass.
    Forward,
    /// Backward pass.
    Backward,
    /// Updates parameters.
    Optimizer,
    /// Evaluates.
    Evaluation,
    /// Writes or reads a checkpoint.
    Checkpoint,
}

impl Phase {
    /// All phases; a phase's place here is its code on the wire.
    pub const ALL: [Self; 7] =
        [Self::StartUp, Self::Data, Self::Forward, Self::Backward, Self::Optimizer, Self::Evaluation, Self::Checkpoint];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartUp => "starting up",
            Self::Data => "waiting for data",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
            Self::Evaluation => "evaluation",
            Self::Checkpoint => "checkpoint",
        })
    }
}

/// A kind of collective operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Sum or largest value over ranks, on all of them.
    AllReduce,
    /// Sum over ranks, a part on each of them.
    ReduceScatter,
    /// The parts of all ranks, on all of them.
    AllGather,
    /// One rank's values, on all of them.
    Broadcast,
    /// Waits for all ranks.
    Barrier,
}

impl Operation {
    /// All operations; an operation's place here, from 1, is its code on the wire.
    pub const ALL: [Self; 5] = [Self::AllReduce, Self::ReduceScatter, Self::AllGather, Self::Broadcast, Self::Barrier];
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllReduce => "all-reduce",
            Self::ReduceScatter => "reduce-scatter",
            Self::AllGather => "all-gather",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
        })
    }
}

/// Whether a rank still takes part in the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It does.
    #[default]
    Running,
    /// Its watchdog saw a stuck operation: it is about to end, and waits for another rank rather than the reverse.
    GivenUp,
    /// It left the run in good order.
    Ended,
}

impl Standing {
    /// All of them; the place here is the code on the wire.
    pub const ALL: [Self; 3] = [Self::Running, Self::GivenUp, Self::Ended];
}

/// Where a rank is. Operations are numbered from 1 in the order of calls, the same on all ranks; 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Training step.
    pub step: u64,
    /// What it does there.
    pub phase: Phase,
    /// Largest number of an operation that it entered.
    pub entered: u64,
    /// It completed every operation up to this number; at most `entered`.
    pub completed: u64,
    /// Kind of operation `entered`.
    pub operation: Option<Operation>,
    /// Whether it still takes part.
    pub standing: Standing,
}
