//! Baselines that know means only: no change, mean shift, mean of the perturbed training cells.

use std::sync::Arc;

use ndarray::Array1;

use super::{borrowed, check_genes, info, shifted, uninformed, untrained};
use crate::benchmark::method::{Method, MethodError, Outcome, Prediction, Query};
use crate::benchmark::results::MethodInfo;
use crate::fold::TrainingMeans;

/// The control cells as they are.
#[derive(Clone, Copy, Debug)]
pub struct NoChange;

impl Method for NoChange {
    fn info(&self) -> MethodInfo {
        uninformed("no_change", "No change", "The held-out control cells themselves; sees no perturbation.")
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        Ok(shifted(Array1::zeros(query.control.ncols()), Vec::new()))
    }
}

/// Control cells plus a mean change of the training fold.
#[derive(Clone, Debug)]
pub struct MeanShift {
    train: Arc<TrainingMeans>,
    use_own: bool,
}

impl MeanShift {
    /// The perturbation's own training change where it was seen, else the mean over all.
    pub fn own(train: &Arc<TrainingMeans>) -> Self {
        Self { train: Arc::clone(train), use_own: true }
    }

    /// Always the mean over all training perturbations.
    pub fn all(train: &Arc<TrainingMeans>) -> Self {
        Self { train: Arc::clone(train), use_own: false }
    }

    fn shift(&self, query: &Query<'_>) -> (Array1<f64>, Vec<String>) {
        let Query { perturbation, context, kind, .. } = *query;
        let mut flags = Vec::new();
        let own = if self.use_own { self.train.shift(context, kind, &perturbation.name) } else { None };
        if self.use_own && own.is_none() {
            flags.push("unseen_perturbation".into());
        }
        let Some(shift) = own.or_else(|| self.train.mean_shift(context, kind)) else {
            flags.push("no_training_perturbation".into());
            return (Array1::zeros(self.train.genes().len()), flags);
        };
        flags.extend(borrowed(shift.origin));
        (shift.delta, flags)
    }
}

impl Method for MeanShift {
    fn info(&self) -> MethodInfo {
        if self.use_own {
            info(
                "mean_shift",
                "Mean shift",
                "Control cells plus the mean training change of the perturbation, or of all training perturbations where it \
                 was not seen.",
            )
        } else {
            uninformed(
                "mean_shift_all",
                "Mean shift of all",
                "Control cells plus the mean change over all training perturbations, whatever is asked for.",
            )
        }
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(self.train.split_id())
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        check_genes(query, self.train.genes().len())?;
        let (delta, flags) = self.shift(query);
        Ok(shifted(delta, flags))
    }
}

/// The mean of the perturbed training cells, for every cell and every perturbation.
#[derive(Clone, Debug)]
pub struct TrainMean {
    train: Arc<TrainingMeans>,
}

impl TrainMean {
    /// From the means of the training fold.
    pub fn new(train: &Arc<TrainingMeans>) -> Self {
        Self { train: Arc::clone(train) }
    }
}

impl Method for TrainMean {
    fn info(&self) -> MethodInfo {
        uninformed(
            "train_mean",
            "Training mean",
            "Mean of the perturbed training cells of the context, for every cell and every perturbation.",
        )
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(self.train.split_id())
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        check_genes(query, self.train.genes().len())?;
        let Some((mean, origin)) = self.train.perturbed_mean(query.context, query.kind) else {
            return Ok(untrained(query.control.ncols()));
        };
        Ok(Prediction { outcome: Outcome::Profile(mean), flags: borrowed(origin).into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::{MeanShift, NoChange, TrainMean};
    use crate::baseline::fixtures::{close, effect, planted, predicted_shift, query_cells};
    use crate::baseline::untrained;
    use crate::benchmark::method::{Method, MethodError, Outcome, Query};

    #[test]
    fn no_change_gives_the_control_back() {
        let (planted, control) = (planted(), query_cells());
        let query = planted.query(&["A"], &control);
        assert_eq!(NoChange.predict(&query).unwrap().outcome, Outcome::Shift(Array1::zeros(control.ncols())));
    }

    #[test]
    fn a_seen_perturbation_moves_by_its_own_change_and_an_unseen_one_by_the_mean() {
        let (planted, control) = (planted(), query_cells());
        let own = MeanShift::own(&planted.train);
        let seen = own.predict(&planted.query(&["A"], &control)).unwrap();
        assert!(seen.flags.is_empty() && close(&predicted_shift(&seen), &effect(&["A"])));
        let unseen = own.predict(&planted.query(&["A", "C"], &control)).unwrap();
        let mean = (effect(&["A"]) + effect(&["B"]) + effect(&["C"])) / 3.0;
        assert_eq!(unseen.flags, ["unseen_perturbation"]);
        assert!(close(&predicted_shift(&unseen), &mean));
        let all = MeanShift::all(&planted.train).predict(&planted.query(&["A"], &control)).unwrap();
        assert!(all.flags.is_empty() && close(&predicted_shift(&all), &mean));
    }

    #[test]
    fn the_training_mean_is_one_profile_for_everything() {
        let (planted, control) = (planted(), query_cells());
        let method = TrainMean::new(&planted.train);
        let outcome = |targets: &[&str]| method.predict(&planted.query(targets, &control)).unwrap().outcome;
        let Outcome::Profile(profile) = outcome(&["A"]) else { panic!("one profile was asked for") };
        let change = &profile - &planted.train.control_or_average(0);
        let mean = (effect(&["A"]) + effect(&["B"]) + effect(&["C"])) / 3.0;
        assert!(close(&change, &mean) && mean.iter().any(|&value| value.abs() > 0.1), "{change} and {mean}");
        assert_eq!(outcome(&["A"]), outcome(&["B", "C"]));
    }

    #[test]
    fn another_context_borrows_another_kind_does_not_and_both_say_so() {
        let (planted, control) = (planted(), query_cells());
        let query = planted.query(&["A"], &control);
        let borrowed = MeanShift::own(&planted.train).predict(&Query { context: 1, ..query }).unwrap();
        assert_eq!(borrowed.flags, ["other_context"]);
        let kind = MeanShift::all(&planted.train).predict(&Query { kind: 1, ..query }).unwrap();
        assert_eq!(kind, untrained(control.ncols()));
    }

    #[test]
    fn other_genes_are_an_error() {
        let (planted, control) = (planted(), query_cells());
        let narrow = control.slice(ndarray::s![.., 1..]);
        let query = Query { control: narrow, ..planted.query(&["A"], &control) };
        assert!(matches!(TrainMean::new(&planted.train).predict(&query), Err(MethodError::Genes { .. })));
    }
}
