//! Ingest: h5ad files, AnnData zarr stores and Matrix Market folders become one cell store.
//!
//! Guarantee: what is decided without being asked (label columns, matrix, rules of quality control) is in the
//! [`ImportReport`]; what cannot be decided is an error that names the option to set.

mod again;
mod cells;
mod columns;
mod error;
#[cfg(test)]
mod fixture;
mod h5ad;
mod import;
mod inputs;
mod labels;
mod mtx;
mod names;
mod qc;
mod rules;
mod scatter;
mod source;
mod spill;
mod tables;
#[cfg(test)]
mod tests;
mod values;
mod write;
mod zarr;

pub use self::columns::{Keys, TakenColumns};
pub use self::error::{BadValue, IngestError};
pub use self::h5ad::H5ad;
pub use self::import::{ImportOptions, ImportReport, InputReport, import};
pub use self::labels::LabelParser;
pub use self::mtx::MtxFolder;
pub use self::rules::{Dropped, QcOptions, QcReport, QcRules, Tally};
pub use self::source::{MatrixPath, Source, open};
pub use self::values::Values;
pub use self::zarr::ZarrSource;
