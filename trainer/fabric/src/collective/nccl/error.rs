//! What can go wrong with NCCL, said so that it can be put right.

use std::fmt::{Display, Formatter};
use std::path::PathBuf;
use std::time::Duration;

use super::interface::{Code, INVALID_USAGE, REMOTE, UNHANDLED_CUDA};
use super::version::Version;

/// How to get an NCCL.
const INSTALL: &str = "scripts/setup.sh --gpu installs NCCL, and SYNCYTE_NCCL can name another libnccl.so.2";

/// Why NCCL did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NcclError {
    /// No path was given, and the loader finds none.
    #[error("no NCCL: {reason}; {INSTALL}")]
    NotFound {
        /// What the loader says.
        reason: String,
    },
    /// The file that was named is not there.
    #[error("no NCCL at {}: there is no such file; {INSTALL}", path.display())]
    NoSuchFile {
        /// The path that was named.
        path: PathBuf,
    },
    /// The file that was named is no shared library for this machine.
    #[error("{} cannot be opened: {reason}; {INSTALL}", path.display())]
    Open {
        /// The path that was named.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// A library was opened that is not NCCL, or not a recent one.
    #[error("{} has no {symbol}: {}", path.display(), identity(*version))]
    MissingSymbol {
        /// The library.
        path: PathBuf,
        /// The function that it lacks.
        symbol: &'static str,
        /// Its version; `None` when it is not NCCL.
        version: Option<Version>,
    },
    /// A second NCCL was asked for. Functions of the one would call functions of the other.
    #[error(
        "{} was asked for, but this process already has {}; name it in SYNCYTE_NCCL, to be opened before libtorch_cuda",
        asked.display(),
        loaded.display()
    )]
    OtherLoaded {
        /// The path that was named.
        asked: PathBuf,
        /// What was loaded before.
        loaded: PathBuf,
    },
    /// A call failed, or NCCL reported later that it had failed.
    #[error("{}{call} failed with code {code} ({name}){}{}", Prefix(*member), Part(": ", text), Part("; ", hint))]
    Call {
        /// The function of NCCL.
        call: &'static str,
        /// Who called; `None` outside a communicator.
        member: Option<Member>,
        /// The code (`ncclResult_t`).
        code: i32,
        /// The code in words (`ncclGetErrorString`).
        name: String,
        /// What NCCL last complained about (`ncclGetLastError`); may be empty, and may belong to another call.
        text: String,
        /// What to do about it; empty when nothing is known.
        hint: &'static str,
    },
    /// NCCL was still at it when the time was over.
    #[error("{member}: {call} was not done after {:.1} s{}", waited.as_secs_f64(), Part("; ", hint))]
    Deadline {
        /// The function of NCCL.
        call: &'static str,
        /// Who called.
        member: Member,
        /// How long it was waited for.
        waited: Duration,
        /// What to look at.
        hint: &'static str,
    },
    /// The communicator failed or was aborted before.
    #[error("{member}: {call} was not called: the communicator has failed or was aborted")]
    Unusable {
        /// The function of NCCL.
        call: &'static str,
        /// Who called.
        member: Member,
    },
    /// A group is open on this thread, and NCCL would put the call off until its end.
    #[error("{member}: {call} was not called: it cannot be part of the group that is open on this thread")]
    InGroup {
        /// The function of NCCL.
        call: &'static str,
        /// Who called.
        member: Member,
    },
}

/// A rank of a communicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its rank.
    pub rank: usize,
    /// Number of ranks.
    pub world: usize,
}

impl Display for Member {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.world)
    }
}

struct Prefix(Option<Member>);

impl Display for Prefix {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |member| write!(f, "{member}: "))
    }
}

/// A text behind a separator, or nothing.
struct Part<'a>(&'static str, &'a str);

impl Display for Part<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if self.1.is_empty() { Ok(()) } else { write!(f, "{}{}", self.0, self.1) }
    }
}

fn identity(version: Option<Version>) -> String {
    version.map_or_else(
        || "it is not NCCL".to_owned(),
        |version| format!("it is NCCL {version}, and 2.14 or later is needed"),
    )
}

const DUPLICATE: &str = "two ranks share one GPU; NCCL before 2.30 refuses that, and later ones allow it with \
    NCCL_MULTI_RANK_GPU_ENABLE=1 and NCCL_MAX_CTAS=4; give every rank a GPU of its own";
const MISMATCH: &str = "the ranks have loaded different releases of NCCL; install the same on every node";
const USAGE: &str = "two ranks share one GPU, or the ranks have loaded different releases of NCCL; NCCL_DEBUG=WARN \
    prints which";
const DRIVER: &str = "there is no NVIDIA driver, or it is older than this NCCL's CUDA; nvidia-smi shows it";
const NO_DEVICE: &str = "no GPU is visible to this process; CUDA_VISIBLE_DEVICES may hide them";
const GONE: &str = "another rank ended or cannot be reached; its own message says why";
const START_LATE: &str = "not every rank started, or they cannot reach each other; NCCL_SOCKET_IFNAME chooses the \
    network, NCCL_DEBUG=INFO shows how far they came";
const LATE: &str = "another rank did not make the same call, or ended";

/// What to do about a failure.
pub(super) fn hint(code: Code, text: &str) -> &'static str {
    let texts = [
        ("Duplicate GPU", DUPLICATE),
        ("Mismatched NCCL version", MISMATCH),
        ("CUDA driver version is insufficient", DRIVER),
        ("no CUDA-capable device", NO_DEVICE),
    ];
    let known = texts.iter().find(|(part, _)| matches!(code, UNHANDLED_CUDA | INVALID_USAGE) && text.contains(part));
    match (known, code) {
        (Some((_, hint)), _) => hint,
        (None, INVALID_USAGE) => USAGE,
        (None, REMOTE) => GONE,
        (None, _) => "",
    }
}

/// What to look at when a call does not end.
pub(super) fn late(call: &str) -> &'static str {
    if call == "ncclCommInitRankConfig" { START_LATE } else { LATE }
}
