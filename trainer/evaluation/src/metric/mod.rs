//! Measures of a prediction against held-out cells, in expression, in principal components and in an embedding.
//!
//! Guarantee: a value that is undefined (a correlation without variance, an unbiased within-group mean of one
//! cell) is `None` and never 0 or NaN; an input that is not finite is an error that names it. Every definition is
//! one of the literature and is checked against an independent implementation through the stored vectors
//! of `tests/oracle`.

mod delta;
mod energy;
mod info;
mod retrieval;
pub mod role;
mod rows;
mod table;
mod vector;

pub use delta::{cosine_delta, no_change, pearson_delta, top_genes};
pub use energy::{Distance, Distances, Estimator, energy};
pub use info::{Better, MetricInfo};
pub(crate) use retrieval::rank_among;
pub use retrieval::{Rank, chance, rank};
pub use role::Sides;
pub use table::{Column, METRICS, Sizes, columns};
pub use vector::{cosine, l2, mae, mse, pearson};

/// Why a metric cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricError {
    /// Two inputs that belong together differ in length.
    #[error("the {what} has {found} entries, but {expected} are needed")]
    Length {
        /// Which input.
        what: &'static str,
        /// Entries that it should have.
        expected: usize,
        /// Entries that it has.
        found: usize,
    },
    /// An input holds NaN or an infinity.
    #[error("the {what} is {value} at entry {at}, which no metric is defined for")]
    NotFinite {
        /// Which input.
        what: &'static str,
        /// Position of the first such entry.
        at: usize,
        /// The entry.
        value: f64,
    },
    /// An input has no entries.
    #[error("the {what} is empty")]
    Empty {
        /// Which input.
        what: &'static str,
    },
}

/// Checks that a vector has `expected` entries, all finite.
fn check(what: &'static str, vector: ndarray::ArrayView1<'_, f64>, expected: usize) -> Result<(), MetricError> {
    if vector.is_empty() {
        return Err(MetricError::Empty { what });
    }
    if vector.len() != expected {
        return Err(MetricError::Length { what, expected, found: vector.len() });
    }
    match vector.iter().position(|entry| !entry.is_finite()) {
        Some(at) => Err(MetricError::NotFinite { what, at, value: vector[at] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod oracle;
