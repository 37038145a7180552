//! What can be wrong with a mixture.

use thiserror::Error;

use crate::order::OrderError;

/// Why a mixture cannot be made or asked.
#[derive(Debug, Error, PartialEq)]
pub enum MixtureError {
    /// There is nothing to mix.
    #[error("mixture: no data set given")]
    Empty,
    /// A batch cannot be cut evenly.
    #[error("mixture: a batch of {batch} rows cannot be cut into {packs} packs; take a divisor of {batch}, 1 or more")]
    Packs {
        /// Packs asked for.
        packs: usize,
        /// Rows of a batch.
        batch: usize,
    },
    /// The weights would not be numbers.
    #[error("mixture: the exponent of the weights is {exponent}; take a number of 0 or more, usually 0 to 1")]
    Exponent {
        /// The exponent given.
        exponent: f64,
    },
    /// The order of a data set cannot be made or asked; its batch is a pack here.
    #[error("mixture: data set {dataset} (its batch is a pack): {source}")]
    Part {
        /// Index of the data set.
        dataset: usize,
        /// What is wrong.
        source: OrderError,
    },
}
