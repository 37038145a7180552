//! What is asked about cells: perturbation, context and kind, as places in a vocabulary.
//!
//! Guarantee: a name outside the vocabulary is an error, never silently the control; a combination does not depend on the
//! order of its genes.

use syncyte_sharding::labels::Perturbation;
use tch::{Device, Kind, Tensor};

use super::vocabulary::{Vocabulary, VocabularyError};
use crate::device::moved;

/// What is asked of the perturbation encoder for one cell.
#[derive(Clone, Copy, Debug)]
pub enum Query<'a> {
    /// A perturbation in a context, of a kind.
    Known {
        /// Perturbation, possibly the control.
        perturbation: &'a Perturbation,
        /// Name of the context.
        context: &'a str,
        /// Name of the kind of perturbation.
        kind: &'a str,
    },
    /// No condition is given (augmentation training, guidance).
    Null,
}

/// A batch of queries as indices into the vocabulary.
#[derive(Debug)]
pub struct EncodedQueries {
    /// Target genes `[B, M]`, padded with −1.
    pub(crate) targets: Tensor,
    /// Kind `[B]`.
    pub(crate) kinds: Tensor,
    /// Slot of the kind among [`KINDS`], their number for a kind that has none `[B]`.
    pub(crate) slots: Tensor,
    /// Context `[B]`.
    pub(crate) contexts: Tensor,
    /// 1 where the query is the null condition `[B]`.
    pub(crate) null: Tensor,
}

/// Names of the kinds that have a slot of their own in metadata, in lower case without hyphens.
pub(crate) const KINDS: [&[&str]; 6] = [
    &["knockout", "crisprko"],
    &["knockdown", "crispri"],
    &["activation", "crispra"],
    &["overexpression", "orf"],
    &["drug", "compound"],
    &["cytokine"],
];

/// Slot of a kind by its name, so that it means the same in every store; a kind of another name has none.
fn slot(kind: &str) -> i64 {
    let name = kind.to_lowercase().replace('-', "");
    KINDS.iter().position(|names| names.contains(&name.as_str())).unwrap_or(KINDS.len()) as i64
}

/// Largest number of targets of one condition.
pub const MAX_TARGETS: usize = 4;

impl EncodedQueries {
    /// Looks every query up.
    ///
    /// # Errors
    /// A target, context or kind that is not in the vocabulary, or too many targets, by name.
    pub fn new(queries: &[Query<'_>], vocabulary: &Vocabulary, device: Device) -> Result<Self, VocabularyError> {
        let (mut targets, mut kinds, mut contexts, mut null) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut slots = Vec::new();
        for query in queries {
            let mut row = [-1_i64; MAX_TARGETS];
            match query {
                Query::Null => {
                    kinds.push(0);
                    slots.push(KINDS.len() as i64);
                    contexts.push(0);
                    null.push(1.0_f32);
                }
                Query::Known { perturbation, context, kind } => {
                    if perturbation.targets.len() > MAX_TARGETS {
                        return Err(VocabularyError::TooManyTargets {
                            perturbation: perturbation.name.clone(),
                            limit: MAX_TARGETS,
                        });
                    }
                    for (slot, gene) in row.iter_mut().zip(&perturbation.targets) {
                        *slot = vocabulary.target(gene)?;
                    }
                    kinds.push(vocabulary.kind(kind)?);
                    slots.push(slot(kind));
                    contexts.push(vocabulary.context(context)?);
                    null.push(0.0);
                }
            }
            targets.extend_from_slice(&row);
        }
        let batch = queries.len() as i64;
        let there = |values: &[i64]| moved(&Tensor::from_slice(values), device);
        Ok(Self {
            targets: there(&targets).view([batch, MAX_TARGETS as i64]),
            kinds: there(&kinds),
            slots: there(&slots),
            contexts: there(&contexts),
            null: moved(&Tensor::from_slice(&null), device),
        })
    }

    /// The same on a device.
    #[must_use]
    pub fn on(&self, device: Device) -> Self {
        Self {
            targets: moved(&self.targets, device),
            kinds: moved(&self.kinds, device),
            slots: moved(&self.slots, device),
            contexts: moved(&self.contexts, device),
            null: moved(&self.null, device),
        }
    }

    /// Targets of each query, `[B]` in f32.
    pub fn n_targets(&self) -> Tensor {
        self.targets.ge(0).sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)
    }

    /// Number of queries.
    pub fn len(&self) -> i64 {
        self.null.size()[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_the_slot_of_its_name() {
        for (name, wanted) in [("knockout", 0), ("CRISPRi", 1), ("CRISPRa", 2), ("Over-expression", 3), ("none", 6)] {
            assert_eq!(slot(name), wanted, "{name}");
        }
    }

    #[test]
    fn an_unknown_target_is_an_error_and_not_the_control() {
        let vocabulary = Vocabulary {
            targets: vec!["A".into()],
            contexts: vec!["k562".into()],
            kinds: vec!["CRISPRa".into()],
            ..Vocabulary::default()
        };
        let perturbation = Perturbation::of(["ZZZ".to_owned()]);
        let query = [Query::Known { perturbation: &perturbation, context: "k562", kind: "CRISPRa" }];
        let error = EncodedQueries::new(&query, &vocabulary, Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("ZZZ"), "{error}");
    }
}
