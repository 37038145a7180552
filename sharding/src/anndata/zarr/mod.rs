//! The adapter over `zarrs`: no other module names that crate.
//!
//! Guarantee: every error names the store, the node and, where a chunk does not decode, the file of the
//! chunk. Reads are safe from many threads at once and decode on the calling thread only. Every array
//! written carries a crc32c of each chunk.

mod array;
mod bytes;
mod error;
mod numbers;
mod read;
mod remote;
mod shards;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use self::array::{ArrayReader, Dtype, room};
pub use self::error::ZarrError;
pub(crate) use self::numbers::{NumberArray, Scratch};
pub(crate) use self::read::{NodeKind, ZarrReader};
pub(crate) use self::remote::is_remote;
pub(crate) use self::shards::{NumberStream, StreamSoFar};
pub(crate) use self::write::{ArrayStream, Item, ShardLayout, ZarrWriter};

fn node_path(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}
