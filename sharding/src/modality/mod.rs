//! Tables beside the expression of the same cells: surface proteins and open chromatin (D16).
//!
//! Guarantee: cells are joined by their exact barcode, and every barcode without a partner is reported. Proteins
//! are normalised cell by cell, so nothing is fitted; the weights of peaks are fitted on the training fold alone.

mod clr;
mod error;
mod join;
mod tfidf;

pub use clr::{clr, protein};
pub use error::ModalityError;
pub use join::{Joined, join};
pub use tfidf::TfIdf;
