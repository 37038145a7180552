//! Ingest: h5ad files, AnnData zarr stores and Matrix Market folders become one cell store.
//!
//! Guarantee: what is decided without being asked (label columns, matrix, rules of quality control) is in the
//! [`ImportReport`]; what cannot be decided is an error that names the option to set.

mod again;
mod candidates;
mod cells;
mod columns;
mod controls;
mod error;
#[cfg(test)]
mod fixture;
mod guides;
mod h5ad;
mod import;
mod inputs;
#[cfg(test)]
mod label_tests;
mod labels;
mod mtx;
mod names;
mod open;
mod qc;
mod remarks;
mod rewrite;
mod rounding;
mod rules;
mod scale;
mod scatter;
mod source;
mod spill;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;
mod values;
mod write;
mod zarr;

pub use self::columns::{InputOptions, Keys, TakenColumns};
pub use self::error::{BadValue, IngestError};
pub use self::h5ad::H5ad;
pub use self::import::{ImportOptions, ImportReport, InputReport, import};
pub use self::labels::LabelParser;
pub use self::mtx::MtxFolder;
pub use self::open::open;
pub use self::rewrite::Rewriting;
pub use self::rules::{Dropped, QcOptions, QcReport, QcRules, Tally};
pub use self::scale::Base;
pub use self::source::{MatrixPath, Source};
pub use self::values::Values;
pub use self::zarr::ZarrSource;
