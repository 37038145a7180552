//! What a backend provides: memory that the ranks of a node share, a barrier there, and exchanges between nodes.
//!
//! The collectives themselves are written once, in [`algorithm`](super::algorithm), for all backends.

use std::ops::Range;

use super::CollectiveError;
use super::number::part;
use super::region::Region;

/// Where a rank stands. Ranks of a node are consecutive, and every node has equally many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Rank.
    pub rank: usize,
    /// Number of ranks.
    pub size: usize,
    /// Ranks that share memory with this one, itself included.
    pub locals: usize,
}

impl Topology {
    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.size / self.locals
    }

    /// Number of this rank's node.
    pub fn node(&self) -> usize {
        self.rank / self.locals
    }

    /// Place of this rank within its node.
    pub fn local(&self) -> usize {
        self.rank % self.locals
    }

    /// The part of a range that the rank with this place in its node reduces within the node.
    pub(super) fn local_part(&self, range: &Range<usize>, local: usize) -> Range<usize> {
        part(range, local, self.locals)
    }

    /// The part of a range that a rank owns after a reduce-scatter.
    pub(super) fn owned(&self, range: &Range<usize>, rank: usize) -> Range<usize> {
        part(&self.local_part(range, rank % self.locals), rank / self.locals, self.nodes())
    }
}

/// A backend. All calls come from one thread, in the same order on all ranks.
///
/// Exchanges between nodes are among the ranks that have the same place in their nodes, one of each node.
pub(super) trait Transport: Send {
    /// Where this rank stands.
    fn topology(&self) -> Topology;

    /// Zeroed memory of this many bytes on every rank.
    fn allocate(&mut self, bytes: usize) -> Result<Region, CollectiveError>;

    /// Waits for the ranks of the node; `eager` where the program waits too.
    fn node_barrier(&mut self, eager: bool) -> Result<(), CollectiveError>;

    /// Sends `pieces[n]` of `from` to node `n` and receives, one behind the other, the pieces that are for this node.
    fn exchange(&mut self, from: &[u8], pieces: &[Range<usize>], to: &mut [u8]) -> Result<(), CollectiveError>;

    /// Piece `n` of `values` is that of node `n`; afterwards all have all pieces.
    fn gather(&mut self, values: &mut [u8], pieces: &[Range<usize>]) -> Result<(), CollectiveError>;

    /// Copies the values of node `root` to all.
    fn broadcast(&mut self, values: &mut [u8], root: usize) -> Result<(), CollectiveError>;
}
