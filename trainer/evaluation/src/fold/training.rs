//! Means of the training conditions: all that the baselines may know.

use std::collections::BTreeMap;

use ndarray::Array1;
use syncyte_sharding::labels::Perturbation;

use super::rows::{Condition, RowLabel, Rows};
use super::{FoldError, require_split};

/// Mean over the cells of one condition.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionMean {
    /// Number of cells.
    pub n: u64,
    /// Mean log-normalised expression of every gene.
    pub mean: Array1<f64>,
}

/// Where a training statistic comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The context asked for.
    Context,
    /// The mean over other contexts with perturbations of the same kind, the context itself having none.
    OtherContexts,
}

/// A change against the control of its own context.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// Change of every gene.
    pub delta: Array1<f64>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Sums over the training cells, block by block.
#[derive(Clone, Debug)]
pub struct TrainingMeansBuilder {
    split_id: String,
    genes: Vec<String>,
    perturbations: Vec<Perturbation>,
    controls: BTreeMap<u32, ConditionMean>,
    conditions: BTreeMap<Condition, ConditionMean>,
}

impl TrainingMeansBuilder {
    /// Starts the sums for a split; `perturbations` is the list that the labels count in, the control first.
    pub fn new(split_id: &str, genes: &[String], perturbations: &[Perturbation]) -> Self {
        Self {
            split_id: split_id.into(),
            genes: genes.to_vec(),
            perturbations: perturbations.to_vec(),
            controls: BTreeMap::new(),
            conditions: BTreeMap::new(),
        }
    }

    /// Adds a block of TRAIN cells.
    ///
    /// # Errors
    /// When labels, genes and rows do not fit, or a value is not finite.
    pub fn add(&mut self, labels: &[RowLabel], rows: Rows<'_>) -> Result<(), FoldError> {
        rows.check(labels, &self.genes)?;
        for (row, label) in labels.iter().enumerate() {
            let Condition { context, perturbation, .. } = label.condition;
            let known = self.perturbations.len();
            if perturbation as usize >= known {
                return Err(FoldError::Perturbation { cell: label.cell, perturbation, known });
            }
            let empty = || ConditionMean { n: 0, mean: Array1::zeros(self.genes.len()) };
            let sum = if label.is_control() {
                self.controls.entry(context).or_insert_with(empty)
            } else {
                self.conditions.entry(label.condition).or_insert_with(empty)
            };
            sum.n += 1;
            rows.add_to(row, |value| value, &mut sum.mean);
        }
        Ok(())
    }

    /// Divides the sums.
    ///
    /// # Errors
    /// When there is no perturbed cell, or a context with perturbed cells has no control.
    pub fn finish(mut self) -> Result<TrainingMeans, FoldError> {
        if self.conditions.is_empty() {
            return Err(FoldError::Empty { fold: "train" });
        }
        if let Some(condition) = self.conditions.keys().find(|at| !self.controls.contains_key(&at.context)) {
            return Err(FoldError::NoControl { context: condition.context, fold: "train" });
        }
        let all = self.controls.values_mut().chain(self.conditions.values_mut());
        all.for_each(|profile| profile.mean /= profile.n as f64);
        let Self { split_id, genes, perturbations, controls, conditions } = self;
        Ok(TrainingMeans { split_id, genes, perturbations, controls, conditions })
    }
}

/// Means of the training conditions and of the training controls of every context.
#[derive(Clone, Debug)]
pub struct TrainingMeans {
    split_id: String,
    genes: Vec<String>,
    perturbations: Vec<Perturbation>,
    controls: BTreeMap<u32, ConditionMean>,
    conditions: BTreeMap<Condition, ConditionMean>,
}

impl TrainingMeans {
    /// Id of the split that the cells were the training fold of.
    pub fn split_id(&self) -> &str {
        &self.split_id
    }

    /// Refuses to be used under another split.
    ///
    /// # Errors
    /// When `split_id` is not the split of the training cells.
    pub fn require_split(&self, split_id: &str) -> Result<(), FoldError> {
        require_split("table of training profiles", &self.split_id, split_id)
    }

    /// Genes of the means.
    pub fn genes(&self) -> &[String] {
        &self.genes
    }

    /// The list that [`Condition::perturbation`] counts in.
    pub fn perturbations(&self) -> &[Perturbation] {
        &self.perturbations
    }

    /// Mean of the control cells of a context.
    pub fn control(&self, context: u32) -> Option<&ConditionMean> {
        self.controls.get(&context)
    }

    /// Mean of the control cells of a context, or over the contexts where it has none.
    pub fn control_or_average(&self, context: u32) -> Array1<f64> {
        match self.controls.get(&context) {
            Some(profile) => profile.mean.clone(),
            None => average(self.controls.values().map(|profile| profile.mean.clone()), self.genes.len()),
        }
    }

    /// All training conditions with their means.
    pub fn conditions(&self) -> impl Iterator<Item = (&Condition, &ConditionMean)> {
        self.conditions.iter()
    }

    /// The training conditions of one kind in a context, or in the other contexts where it has none.
    pub fn of_kind(&self, context: u32, kind: u32) -> Option<(Vec<(&Condition, &ConditionMean)>, Origin)> {
        self.pool(context, |condition| condition.kind == kind)
    }

    /// Change that a perturbation (by canonical name) makes: in its context, or on average over the others.
    pub fn shift(&self, context: u32, kind: u32, name: &str) -> Option<Shift> {
        let perturbation = self.index(name)?;
        let (pool, origin) = self.pool(context, |at| at.kind == kind && at.perturbation == perturbation)?;
        Some(self.average_shift(&pool, origin))
    }

    /// Whether a perturbation (by canonical name) was trained on in this very context.
    pub fn seen(&self, context: u32, kind: u32, name: &str) -> bool {
        self.index(name)
            .is_some_and(|perturbation| self.conditions.contains_key(&Condition { context, kind, perturbation }))
    }

    /// Mean over training conditions, each with weight 1, of their changes.
    pub fn mean_shift(&self, context: u32, kind: u32) -> Option<Shift> {
        let (pool, origin) = self.of_kind(context, kind)?;
        Some(self.average_shift(&pool, origin))
    }

    /// Mean over training conditions, each with weight 1, of their means: the perturbed centroid.
    pub fn perturbed_centroid(&self, context: u32, kind: u32) -> Option<Array1<f64>> {
        let (pool, _) = self.of_kind(context, kind)?;
        Some(average(pool.iter().map(|(_, profile)| profile.mean.clone()), self.genes.len()))
    }

    /// Mean over the perturbed training cells, each with weight 1.
    pub fn perturbed_mean(&self, context: u32, kind: u32) -> Option<(Array1<f64>, Origin)> {
        let (pool, origin) = self.of_kind(context, kind)?;
        let cells: u64 = pool.iter().map(|(_, profile)| profile.n).sum();
        let mut mean = Array1::zeros(self.genes.len());
        for (_, profile) in &pool {
            mean.scaled_add(profile.n as f64 / cells as f64, &profile.mean);
        }
        Some((mean, origin))
    }

    /// Change of a training condition against the control of its context.
    pub fn delta(&self, condition: &Condition, profile: &ConditionMean) -> Array1<f64> {
        &profile.mean - &self.control_or_average(condition.context)
    }

    fn index(&self, name: &str) -> Option<u32> {
        self.perturbations.iter().position(|known| known.name == name).map(|at| at as u32)
    }

    fn pool(
        &self,
        context: u32,
        wanted: impl Fn(&Condition) -> bool,
    ) -> Option<(Vec<(&Condition, &ConditionMean)>, Origin)> {
        let all: Vec<_> = self.conditions.iter().filter(|(condition, _)| wanted(condition)).collect();
        let here: Vec<_> = all.iter().copied().filter(|(condition, _)| condition.context == context).collect();
        match (here.is_empty(), all.is_empty()) {
            (false, _) => Some((here, Origin::Context)),
            (true, false) => Some((all, Origin::OtherContexts)),
            (true, true) => None,
        }
    }

    fn average_shift(&self, pool: &[(&Condition, &ConditionMean)], origin: Origin) -> Shift {
        let deltas = pool.iter().map(|(condition, profile)| self.delta(condition, profile));
        Shift { delta: average(deltas, self.genes.len()), origin }
    }
}

fn average(vectors: impl Iterator<Item = Array1<f64>>, length: usize) -> Array1<f64> {
    let mut count = 0usize;
    let sum = vectors.fold(Array1::zeros(length), |sum, vector| {
        count += 1;
        sum + vector
    });
    sum / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, array};
    use syncyte_sharding::csr::Csr;
    use syncyte_sharding::labels::Perturbation;

    use super::{Origin, TrainingMeans, TrainingMeansBuilder};
    use crate::fold::{Condition, FoldError, RowLabel, Rows};

    fn label(cell: u64, context: u32, perturbation: u32) -> RowLabel {
        RowLabel { cell, condition: Condition { context, kind: 0, perturbation } }
    }

    fn perturbations() -> Vec<Perturbation> {
        vec![Perturbation::control(), Perturbation::of(["A".into()]), Perturbation::of(["B".into()])]
    }

    fn builder() -> TrainingMeansBuilder {
        TrainingMeansBuilder::new("split-1", &["g0".into(), "g1".into()], &perturbations())
    }

    fn example(order: &[usize]) -> TrainingMeans {
        let rows = array![[1.0f32, 0.0], [3.0, 0.0], [4.0, 1.0], [2.0, 2.0], [2.0, 4.0], [0.0, 5.0]];
        let labels = [label(0, 0, 0), label(1, 0, 0), label(2, 0, 1), label(3, 0, 2), label(4, 0, 2), label(5, 1, 0)];
        let mut builder = builder();
        for &at in order {
            builder.add(&labels[at..=at], Rows::Dense(rows.slice(ndarray::s![at..=at, ..]))).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn means_and_shifts_are_those_of_the_cells_in_any_order_of_blocks() {
        for order in [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 4, 2]] {
            let train = example(&order);
            assert_eq!(train.control(0).unwrap().mean, array![2.0, 0.0]);
            assert_eq!(train.shift(0, 0, "A").unwrap().delta, array![2.0, 1.0]);
            assert_eq!(train.mean_shift(0, 0).unwrap().delta, array![1.0, 2.0], "conditions weigh alike");
            assert_eq!(train.perturbed_centroid(0, 0).unwrap(), array![3.0, 2.0]);
            let (mean, _) = train.perturbed_mean(0, 0).unwrap();
            assert!((mean - array![8.0 / 3.0, 7.0 / 3.0]).iter().all(|gap| gap.abs() < 1e-12), "cells weigh alike");
            assert!(train.shift(0, 1, "A").is_none(), "another kind is another perturbation");
        }
    }

    #[test]
    fn a_context_without_training_perturbations_borrows_and_says_so() {
        let train = example(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(train.shift(0, 0, "A").unwrap().origin, Origin::Context);
        assert_eq!(train.shift(1, 0, "A").unwrap().origin, Origin::OtherContexts);
        assert!(train.seen(0, 0, "A") && !train.seen(1, 0, "A") && !train.seen(0, 0, "nothing"));
    }

    #[test]
    fn sparse_and_dense_rows_give_the_same_means() {
        let dense = Array2::from_shape_fn((4, 2), |(i, j)| ((i + j) % 3) as f32);
        let mut sparse = Csr::empty(2);
        for row in dense.rows() {
            let (genes, values): (Vec<u32>, Vec<f32>) =
                row.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(gene, &v)| (gene as u32, v)).unzip();
            sparse.push_row(&genes, &values);
        }
        let labels = [label(0, 0, 0), label(1, 0, 1), label(2, 0, 1), label(3, 0, 2)];
        let means = |rows: Rows<'_>| {
            let mut builder = builder();
            builder.add(&labels, rows).unwrap();
            let train = builder.finish().unwrap();
            train.conditions().map(|(_, profile)| profile.mean.clone()).collect::<Vec<Array1<f64>>>()
        };
        assert_eq!(means(Rows::Dense(dense.view())), means(Rows::Sparse(&sparse)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rows = array![[1.0f32, f32::NAN]];
        let error = builder().add(&[label(9, 0, 0)], Rows::Dense(rows.view())).unwrap_err();
        assert!(error.to_string().contains("cell 9, gene `g1`"), "{error}");
        let rows = array![[1.0f32, 0.0]];
        let mut only = builder();
        only.add(&[label(0, 3, 1)], Rows::Dense(rows.view())).unwrap();
        assert!(matches!(only.finish(), Err(FoldError::NoControl { context: 3, .. })));
        assert!(matches!(builder().finish(), Err(FoldError::Empty { fold: "train" })));
        assert!(matches!(builder().add(&[], Rows::Dense(rows.view())), Err(FoldError::Labels { .. })));
        let wide = array![[1.0f32, 0.0, 0.0]];
        assert!(matches!(builder().add(&[label(0, 0, 0)], Rows::Dense(wide.view())), Err(FoldError::Genes { .. })));
        let unknown = builder().add(&[label(0, 0, 7)], Rows::Dense(rows.view()));
        assert!(matches!(unknown, Err(FoldError::Perturbation { perturbation: 7, known: 3, .. })));
    }

    #[test]
    fn profiles_of_one_split_are_refused_under_another() {
        let train = example(&[0, 1, 2, 3, 4, 5]);
        assert!(train.require_split("split-1").is_ok());
        let error = train.require_split("split-2").unwrap_err().to_string();
        assert!(error.contains("split-1") && error.contains("split-2"));
    }
}
