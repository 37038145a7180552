//! The cell store: an AnnData zarr (version 3, sharded) that Python's anndata reads as it is.
//!
//! Guarantee: [`StoreWriter`] leaves a whole store or nothing, in bounded memory; [`CellStore`] reads blocks of
//! rows from many threads and never returns a block that did not pass its checksums.

mod digest;
mod error;
mod info;
mod inspect;
mod journal;
mod labels;
mod matrix;
mod partial;
mod reader;
mod rows;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use self::error::StoreError;
pub use self::info::{Rounding, StoreInfo, ValueKind};
pub use self::inspect::{Inspection, LabelEntropy, inspect, usual_order};
pub(crate) use self::labels::OWN as OWN_COLUMNS;
pub use self::reader::{CellStore, Layer, Recorded, is_store};
pub use self::rows::{RowReader, Scratch};
pub use self::verify::{Fault, Verification, verify};
pub use self::writer::{StoreWriter, WriteOptions};
