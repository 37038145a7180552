//! The weighted sum of some losses.

use tch::{Kind, Tensor};

use super::moments::{Moments, global_moments, tree_sum};
use super::{Loss, Outputs, Parts, Terms};
use crate::component::Choice;
use syncyte_fabric::collective::{Collective, CollectiveError};

/// What a training minimises.
#[derive(Debug)]
pub struct Objective {
    losses: Vec<Box<dyn Loss>>,
}

impl Objective {
    /// The sum of these losses.
    pub fn new(losses: Vec<Box<dyn Loss>>) -> Self {
        Self { losses }
    }

    /// The sum of the losses of a configuration.
    ///
    /// # Errors
    /// When settings are not those of the kind.
    pub fn of(choices: &[Choice<dyn Loss>]) -> Result<Self, String> {
        Ok(Self::new(choices.iter().map(|choice| (choice.build())(choice.table())).collect::<Result<_, _>>()?))
    }

    /// Parts of a micro-batch, loss by loss; `batch` is the number of cells of the step over all ranks.
    pub fn parts(&self, outputs: &Outputs, batch: usize) -> Vec<Parts> {
        let outputs = outputs.in_f32();
        self.losses.iter().map(|loss| loss.parts(&outputs, batch)).collect()
    }

    /// Measures the loss over all micro-batches of all ranks, each of them the parts of every loss. `flags` are summed over
    /// ranks on the way.
    ///
    /// # Errors
    /// When an all-reduce fails.
    pub fn measure(
        &self,
        micro_batches: &[Vec<Parts>],
        flags: &mut [f64],
        collective: &dyn Collective,
    ) -> Result<Measured, CollectiveError> {
        let sums = micro_batches.iter().map(|losses| {
            losses.iter().flat_map(|parts| &parts.sums).map(|sum| sum.double_value(&[])).collect::<Vec<f64>>()
        });
        let mut extra = tree_sum(sums.collect());
        let n_sums = extra.len();
        extra.extend_from_slice(flags);
        let rows: Vec<Vec<Tensor>> = micro_batches
            .iter()
            .map(|losses| losses.iter().flat_map(|parts| &parts.rows).map(Tensor::detach).collect())
            .collect();
        let moments = global_moments(collective, &rows, &mut extra)?;
        flags.copy_from_slice(&extra[n_sums..]);
        Ok(self.terms(micro_batches.first().map_or(&[], Vec::as_slice), &extra[..n_sums], moments))
    }

    /// Every loss gets its own of the sums and the moments, which lie one behind the other.
    fn terms(&self, shape: &[Parts], mut sums: &[f64], mut moments: Vec<Moments>) -> Measured {
        let mut measured = Measured { loss: 0.0, terms: Vec::new(), losses: Vec::new() };
        for (loss, parts) in self.losses.iter().zip(shape) {
            let (own, rest) = sums.split_at(parts.sums.len());
            sums = rest;
            let later = moments.split_off(parts.rows.len());
            let own_moments = std::mem::replace(&mut moments, later);
            let terms = loss.measure(own, &own_moments);
            for ((name, value), weight) in loss.terms().iter().zip(&terms.values).zip(&terms.weights) {
                measured.loss += weight * value;
                measured.terms.push((name, *value));
            }
            measured.losses.push((terms, own_moments));
        }
        measured
    }
}

/// The loss over the global batch, and what its gradient needs.
#[derive(Debug)]
pub struct Measured {
    /// The loss.
    pub loss: f64,
    /// Its terms by name, unweighted.
    pub terms: Vec<(&'static str, f64)>,
    losses: Vec<(Terms, Vec<Moments>)>,
}

impl Measured {
    /// What to call `backward` on for a micro-batch: its gradients, **summed** over micro-batches and ranks, are those
    /// of the loss over the global batch.
    pub fn surrogate(&self, parts: &[Parts]) -> Tensor {
        let mut surrogate: Option<Tensor> = None;
        let mut add = |term: Tensor| {
            surrogate = Some(match surrogate.take() {
                Some(sum) => sum + term,
                None => term,
            });
        };
        for ((terms, moments), parts) in self.losses.iter().zip(parts) {
            for (sum, weight) in parts.sums.iter().zip(&terms.sums) {
                add(sum * *weight);
            }
            for ((rows, moments), gradient) in parts.rows.iter().zip(moments).zip(&terms.covariances) {
                if rows.requires_grad() {
                    add(moments.surrogate(rows, gradient));
                }
            }
        }
        surrogate.unwrap_or_else(|| Tensor::from(0.0_f32).to_kind(Kind::Float))
    }

    /// A term by name.
    pub fn term(&self, name: &str) -> Option<f64> {
        self.terms.iter().find(|(term, _)| *term == name).map(|(_, value)| *value)
    }
}
