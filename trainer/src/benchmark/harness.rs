//! The evaluation: every method on every held-out condition under every metric.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array1, Array2, ArrayView2};

use super::admission::{admit, check_prediction};
use super::bootstrap::Bootstrap;
use super::catalog::catalog;
use super::error::BenchmarkError;
use super::figure::Figure;
use super::method::{Method, Query};
use super::results::{ConditionRow, DroppedCondition, MethodInfo, Results};
use super::retrieval::{Change, by_chance, retrieve};
use super::score::{Frame, Values};
use super::strata;
use super::table::Table;
use super::view::{Encode, View, Viewer};
use crate::metric::{MetricError, no_change, top_genes};
use crate::profile::{Components, Condition, Kept, ProfileError, TestCells, TrainProfiles};

/// Settings of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationConfig {
    /// Held-out cells that a condition needs; others are reported as dropped.
    pub min_cells: u64,
    /// Genes of the expression metrics: those with the highest training control mean.
    pub top_genes: usize,
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Training seeds behind the methods, as they are to stand in the results.
    pub seeds: Vec<u64>,
    /// Points of the embedding figure.
    pub figure_points: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { min_cells: 10, top_genes: 1000, resamples: 10_000, seed: 0, seeds: Vec::new(), figure_points: 2000 }
    }
}

/// What an evaluation needs besides the methods.
pub struct Evaluation<'a> {
    /// Statistics of the training fold.
    pub train: &'a TrainProfiles,
    /// Held-out cells.
    pub test: &'a TestCells,
    /// Components of the training cells.
    pub components: &'a Components,
    /// The frozen encoder, where there is one; it sees measured cells and the cells of methods that predict no latent.
    pub encode: Option<&'a Encode<'a>>,
    /// Settings.
    pub config: EvaluationConfig,
}

/// The held-out controls of one context and what is derived from them.
struct Context<'a> {
    kept: &'a Kept,
    dense: Array2<f32>,
    view: View,
    /// Genes of the expression metrics.
    top: Vec<usize>,
    /// The same without the targets of any held-out condition.
    panel_free: Vec<usize>,
}

/// One held-out condition with enough cells.
struct Item<'a> {
    condition: Condition,
    kept: &'a Kept,
    strata: Vec<&'static str>,
    /// Whether both singles of the double were trained on.
    both_seen: bool,
}

/// What is gathered over the conditions.
struct Gathered {
    /// By method, then condition.
    values: Vec<Vec<Values>>,
    /// By method, then condition.
    flags: Vec<Vec<Vec<String>>>,
    /// By method, then condition.
    changes: Vec<Vec<Change>>,
    truths: Vec<Change>,
    replicates: Vec<Values>,
    figure: Figure,
}

impl Evaluation<'_> {
    /// Evaluates the methods. The provenance of the results is left for the caller.
    ///
    /// # Errors
    /// When something was fitted under another split, a method or the encoder fails, a prediction is not finite or has
    /// the wrong shape, or no condition has enough cells.
    pub fn run(&self, methods: &[Box<dyn Method>]) -> Result<Results, BenchmarkError> {
        admit(self, methods)?;
        let infos: Vec<MethodInfo> = methods.iter().map(|method| method.info()).collect();
        let (items, dropped) = self.items()?;
        let contexts = self.contexts(&items)?;
        let shown = infos.iter().position(|info| !info.baseline).unwrap_or(0);

        let mut gathered = Gathered {
            values: vec![Vec::new(); methods.len()],
            flags: vec![Vec::new(); methods.len()],
            changes: vec![Vec::new(); methods.len()],
            truths: Vec::new(),
            replicates: Vec::new(),
            figure: Figure::new(self.config.figure_points, items.len()),
        };
        for item in &items {
            self.condition(item, &contexts[&item.condition.context], methods, &infos, shown, &mut gathered)?;
        }
        self.results(infos, &items, dropped, shown, gathered)
    }

    fn items(&self) -> Result<(Vec<Item<'_>>, Vec<DroppedCondition>), BenchmarkError> {
        let min_cells = self.config.min_cells;
        let (mut items, mut dropped) = (Vec::new(), Vec::new());
        for (&condition, kept) in self.test.conditions() {
            let perturbation = self.test.perturbation(&condition);
            if kept.n < min_cells {
                dropped.push(DroppedCondition {
                    perturbation: perturbation.name.clone(),
                    context: self.test.context(&condition),
                    n_cells: kept.n as usize,
                    reason: format!("fewer than {min_cells} held-out cells"),
                });
            } else {
                let strata = strata::of(&condition, perturbation, self.train);
                items.push(Item { condition, kept, both_seen: strata::both_seen(&strata), strata });
            }
        }
        if items.is_empty() {
            return Err(BenchmarkError::NoCondition { conditions: dropped.len(), min_cells });
        }
        strata::drop_repeats(items.iter_mut().map(|item| &mut item.strata));
        Ok((items, dropped))
    }

    fn contexts(&self, items: &[Item<'_>]) -> Result<BTreeMap<u32, Context<'_>>, BenchmarkError> {
        let mut panels: BTreeMap<u32, BTreeSet<&String>> = BTreeMap::new();
        for Item { condition, .. } in items {
            panels.entry(condition.context).or_default().extend(&self.test.perturbation(condition).targets);
        }
        let mut contexts = BTreeMap::new();
        for (context, panel) in panels {
            let fold = "held-out";
            let kept = self.test.controls().get(&context).ok_or(ProfileError::NoControl { context, fold })?;
            let dense = kept.dense();
            let view = self.view("control", dense.view(), None, None)?;
            let top = top_genes(self.train.control_or_average(context).view(), self.config.top_genes);
            let panel_free = top.iter().copied().filter(|&gene| !panel.contains(&self.test.genes()[gene])).collect();
            contexts.insert(context, Context { kept, dense, view, top, panel_free });
        }
        Ok(contexts)
    }

    /// Predicts and scores one condition with every method.
    fn condition(
        &self,
        item: &Item<'_>,
        context: &Context<'_>,
        methods: &[Box<dyn Method>],
        infos: &[MethodInfo],
        shown: usize,
        gathered: &mut Gathered,
    ) -> Result<(), BenchmarkError> {
        let Condition { context: number, kind, .. } = item.condition;
        let perturbation = self.test.perturbation(&item.condition);
        let name = perturbation.name.as_str();
        let dense = item.kept.dense();
        let truth = self.view(name, dense.view(), Some(&item.kept.mean), None)?;
        let centroid = self.train.perturbed_centroid(number, kind);
        let train_control = self.train.control_or_average(number);
        let frame = Frame {
            truth: &truth,
            control: &context.view,
            train_control: &train_control,
            top: &context.top,
            centroid: centroid.as_ref(),
        };
        let failed = |method: &str| {
            let (method, perturbation) = (method.to_string(), name.to_string());
            move |source| BenchmarkError::Metric { method, perturbation, source }
        };

        let query =
            Query { perturbation, context: number, kind, control: context.dense.view(), cells: &context.kept.cells };
        for (at, (method, info)) in methods.iter().zip(infos).enumerate() {
            let prediction = method.predict(&query).map_err(|source| BenchmarkError::Method {
                method: info.name.clone(),
                perturbation: name.into(),
                source: Box::new(source),
            })?;
            check_prediction(&prediction, &truth, self.test.genes()).map_err(|reason| BenchmarkError::Prediction {
                method: info.name.clone(),
                perturbation: name.into(),
                reason,
            })?;
            let view = self.view(name, prediction.cells.view(), None, prediction.latent.as_ref())?;
            gathered.values[at].push(frame.score(&view).map_err(failed(&info.name))?);
            gathered.changes[at].push(Change::of(&view, &context.view, &context.panel_free));
            gathered.flags[at].push(flags(prediction.flags, &view, context, item));
            if at == shown {
                gathered.figure.add(name, &truth, &view);
            }
        }
        gathered.truths.push(Change::of(&truth, &context.view, &context.panel_free));
        gathered.replicates.push(replicate(&frame, dense.view()).map_err(failed("replicate"))?);
        Ok(())
    }

    fn view(
        &self,
        perturbation: &str,
        cells: ArrayView2<'_, f32>,
        mean: Option<&Array1<f64>>,
        latent: Option<&Array2<f32>>,
    ) -> Result<View, BenchmarkError> {
        let viewer = Viewer { components: self.components, encode: self.encode };
        viewer
            .view(cells, mean, latent)
            .map_err(|source| BenchmarkError::Encode { perturbation: perturbation.into(), source })
    }

    fn results(
        &self,
        infos: Vec<MethodInfo>,
        items: &[Item<'_>],
        dropped: Vec<DroppedCondition>,
        shown: usize,
        gathered: Gathered,
    ) -> Result<Results, BenchmarkError> {
        let Gathered { mut values, flags, changes, truths, replicates, figure } = gathered;
        let contexts: Vec<u32> = items.iter().map(|item| item.condition.context).collect();
        for (method, info) in infos.iter().enumerate() {
            let found = retrieve(&contexts, &truths, &changes[method]).map_err(|source| BenchmarkError::Metric {
                method: info.name.clone(),
                perturbation: "retrieval".into(),
                source,
            })?;
            values[method].iter_mut().zip(found).for_each(|(values, found)| values.extend(found));
        }

        let metrics = catalog(self.config.top_genes, self.encode.is_some());
        let strata: Vec<_> = items.iter().map(|item| item.strata.clone()).collect();
        let table = Table { methods: &infos, metrics: &metrics, strata: &strata, values: &values };
        let mut bootstrap = Bootstrap::new(self.config.resamples, self.config.seed);
        let results = table.rows(&self.config.seeds, &mut bootstrap);
        let comparisons = table.comparisons(&mut bootstrap);
        let mut references = table.references("chance", &by_chance(&contexts, &truths));
        references.extend(table.references("replicate", &replicates));
        let embedding_method = infos.get(shown).map(|info| info.name.clone()).unwrap_or_default();
        Ok(Results {
            results,
            conditions: self.condition_rows(&infos, items, values, flags),
            comparisons,
            references,
            dropped,
            embedding_method,
            embedding: figure.points()?,
            metrics,
            methods: infos,
            ..Results::default()
        })
    }

    fn condition_rows(
        &self,
        infos: &[MethodInfo],
        items: &[Item<'_>],
        values: Vec<Vec<Values>>,
        flags: Vec<Vec<Vec<String>>>,
    ) -> Vec<ConditionRow> {
        let mut rows = Vec::new();
        for (info, (values, flags)) in infos.iter().zip(values.into_iter().zip(flags)) {
            for (item, (metrics, mut flags)) in items.iter().zip(values.into_iter().zip(flags)) {
                let undefined = metrics.iter().filter(|(_, value)| value.is_none());
                flags.extend(undefined.map(|(metric, _)| format!("undefined:{metric}")));
                rows.push(ConditionRow {
                    method: info.name.clone(),
                    split: strata::finest(&item.strata).into(),
                    perturbation: self.test.perturbation(&item.condition).name.clone(),
                    context: self.test.context(&item.condition),
                    n_cells: item.kept.n as usize,
                    metrics,
                    flags,
                });
            }
        }
        rows
    }
}

/// The remarks of the method and of the harness.
fn flags(mut flags: Vec<String>, view: &View, context: &Context<'_>, item: &Item<'_>) -> Vec<String> {
    if no_change(view.mean.view(), context.view.mean.view()) {
        flags.push("no_predicted_change".into());
    }
    if item.both_seen {
        flags.push("both_singles_seen".into());
    }
    flags
}

/// One half of the kept cells predicting the other: what repeating the experiment, at half the size, would score.
fn replicate(frame: &Frame<'_>, dense: ArrayView2<'_, f32>) -> Result<Values, MetricError> {
    let (even, odd): (Vec<usize>, Vec<usize>) = (0..dense.nrows()).partition(|row| row % 2 == 0);
    if odd.is_empty() {
        return Ok(Values::new());
    }
    let half = Frame { truth: &frame.truth.select(dense, &odd), ..*frame };
    half.score(&frame.truth.select(dense, &even))
}

#[cfg(test)]
mod tests;
