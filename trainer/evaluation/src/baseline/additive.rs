//! The additive baseline: a combination does what its members do, summed.

use std::sync::Arc;

use ndarray::Array1;
use syncyte_sharding::labels::Perturbation;

use super::{borrowed, check_genes, info, shifted};
use crate::benchmark::method::{Method, MethodError, Prediction, Query};
use crate::benchmark::results::MethodInfo;
use crate::fold::TrainingMeans;

/// `control + Σ Δ` over the single perturbations of the targets; it uses no combination at all.
#[derive(Clone, Debug)]
pub struct Additive {
    train: Arc<TrainingMeans>,
}

impl Additive {
    /// From the means of the training fold.
    pub fn new(train: &Arc<TrainingMeans>) -> Self {
        Self { train: Arc::clone(train) }
    }
}

impl Method for Additive {
    fn info(&self) -> MethodInfo {
        info(
            "additive",
            "Additive",
            "Control cells plus the training changes of the single perturbations of all targets; a single that was not seen \
             adds nothing.",
        )
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(self.train.split_id())
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        let n_genes = self.train.genes().len();
        check_genes(query, n_genes)?;
        let (mut delta, mut flags) = (Array1::zeros(n_genes), Vec::new());
        for target in &query.perturbation.targets {
            let single = Perturbation::of([target.clone()]);
            match self.train.shift(query.context, query.kind, &single.name) {
                Some(shift) => {
                    delta += &shift.delta;
                    flags.extend(borrowed(shift.origin));
                }
                None => flags.push(format!("single_missing:{target}")),
            }
        }
        flags.dedup();
        Ok(shifted(delta, flags))
    }
}

#[cfg(test)]
mod tests {
    use super::Additive;
    use crate::baseline::fixtures::{close, effect, planted, predicted_shift, query_cells};
    use crate::benchmark::method::Method;

    #[test]
    fn it_is_exact_on_additive_data() {
        let (planted, control) = (planted(), query_cells());
        let method = Additive::new(&planted.train);
        for targets in [&["A"][..], &["A", "B"], &["B", "C"], &["A", "B", "C"]] {
            let prediction = method.predict(&planted.query(targets, &control)).unwrap();
            assert!(prediction.flags.is_empty());
            assert!(close(&predicted_shift(&prediction), &effect(targets)), "{targets:?}");
        }
    }

    #[test]
    fn a_missing_single_adds_nothing_and_is_flagged() {
        let (planted, control) = (planted(), query_cells());
        let method = Additive::new(&planted.train);
        let prediction = method.predict(&planted.query(&["A", "D"], &control)).unwrap();
        assert_eq!(prediction.flags, ["single_missing:D"]);
        assert!(close(&predicted_shift(&prediction), &effect(&["A"])));
        let alone = method.predict(&planted.query(&["D"], &control)).unwrap();
        assert_eq!(alone.flags, ["single_missing:D"]);
        assert!(close(&predicted_shift(&alone), &effect(&[])));
    }
}
