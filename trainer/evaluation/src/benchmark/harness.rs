//! The evaluation: every method on every held-out condition under every metric.

use std::collections::{BTreeMap, BTreeSet};

use super::admission::admit;
use super::bootstrap::Bootstrap;
use super::error::BenchmarkError;
use super::evaluation::{Evaluation, EvaluationConfig, Item};
use super::figure::{Figure, project};
use super::measured::{Context, Sampling, top};
use super::method::Method;
use super::redraw::Redraw;
use super::results::{ConditionRow, DroppedCondition, MethodInfo, MetricInfo, Results};
use super::space::Viewer;
use super::strata;
use super::table::{Table, pronounce};
use super::trial::{Entrants, Findings, Trial};
use super::warning::{self, Controls};
use crate::fold::FoldError;
use crate::metric::{Column, Sizes, columns};

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
        let shown = infos.iter().position(|info| !info.baseline).unwrap_or(0);
        let encoder = methods.get(shown).and_then(|method| self.viewer().encoder_of(method.as_ref()));
        let encoder = encoder.or_else(|| (!self.encoders.is_empty()).then_some(0));
        let figure = Figure::new(self.config.figure_points, items.len(), encoder);
        let entrants = Entrants { methods, infos: &infos, shown, figure };
        let columns = self.columns();
        let mut findings = Findings::new(methods.len());
        let mut first = 0;
        // Conditions are in the order of their contexts.
        for items in items.chunk_by(|a, b| a.condition.context == b.condition.context) {
            let context = self.context(items)?;
            self.trial(&entrants, &columns, &context).run(items, first, &mut findings)?;
            first += items.len();
        }
        self.results(infos, columns, &items, dropped, shown, findings)
    }

    fn items(&self) -> Result<(Vec<Item<'_>>, Vec<DroppedCondition>), BenchmarkError> {
        let min_cells = self.config.min_cells;
        let (mut items, mut dropped) = (Vec::new(), Vec::new());
        for (&condition, group) in self.test.conditions() {
            let perturbation = self.test.perturbation(&condition);
            if group.n < min_cells {
                dropped.push(DroppedCondition {
                    perturbation: perturbation.name.clone(),
                    context: self.test.context(&condition),
                    n_cells: group.n as usize,
                    reason: format!("fewer than {min_cells} held-out cells"),
                });
            } else {
                let strata = strata::of(&condition, perturbation, self.train);
                let seen = self.train.seen(condition.context, condition.kind, &perturbation.name);
                let both_seen = strata::both_seen(&strata);
                items.push(Item { condition, group, both_seen, strata, seen, marked_seen: false });
            }
        }
        if items.is_empty() {
            return Err(BenchmarkError::NoCondition { conditions: dropped.len(), min_cells });
        }
        strata::drop_repeats(items.iter_mut().map(|item| &mut item.strata));
        let mixed = items.iter().any(|item| item.seen) && items.iter().any(|item| !item.seen);
        for item in &mut items {
            item.marked_seen = mixed && item.seen;
        }
        Ok((items, dropped))
    }

    fn sampling(&self) -> Sampling {
        let EvaluationConfig { set_cells, cell_draws, seed, .. } = self.config;
        Sampling { bag: set_cells.div_ceil(2), draws: cell_draws, seed }
    }

    fn viewer(&self) -> Viewer<'_> {
        Viewer { components: self.components, encoders: self.encoders }
    }

    fn columns(&self) -> Vec<Column> {
        let EvaluationConfig { top_genes, components, set_cells, .. } = self.config;
        let embeddings = self.encoders.iter().map(|encoder| encoder.name.as_str()).collect();
        columns(&Sizes { top_genes, components, set_cells, embeddings })
    }

    /// The context of these conditions.
    fn context(&self, items: &[Item<'_>]) -> Result<Context, BenchmarkError> {
        let context = items.first().map_or(0, |item| item.condition.context);
        let panel: BTreeSet<&String> =
            items.iter().flat_map(|item| &self.test.perturbation(&item.condition).targets).collect();
        let group = self.test.controls().get(&context).ok_or(FoldError::NoControl { context, fold: "held-out" })?;
        let top = top(self.train, context, self.config.top_genes);
        Context::new(context, group, self.viewer(), self.sampling(), top, &panel, self.test.genes())
            .map_err(|source| BenchmarkError::Encode { perturbation: "control".into(), source })
    }

    fn trial<'a>(&'a self, entrants: &'a Entrants<'a>, columns: &'a [Column], context: &'a Context) -> Trial<'a> {
        let redraw = Redraw::new(columns, context, self.sampling());
        Trial { evaluation: self, entrants, viewer: self.viewer(), redraw }
    }

    fn results(
        &self,
        infos: Vec<MethodInfo>,
        columns: Vec<Column>,
        items: &[Item<'_>],
        dropped: Vec<DroppedCondition>,
        shown: usize,
        findings: Findings,
    ) -> Result<Results, BenchmarkError> {
        let metrics: Vec<MetricInfo> = columns.into_iter().map(|column| column.info).collect();
        let strata: Vec<_> = items.iter().map(|item| item.strata.clone()).collect();
        let Findings { scored, flags, ceilings, chance, set_cells, figure } = findings;
        let table = Table { methods: &infos, metrics: &metrics, strata: &strata, values: &scored, ceilings: &ceilings };
        let mut bootstrap = Bootstrap::new(self.config.resamples, self.config.seed);
        let mut results = table.rows(&self.config.seeds, &mut bootstrap);
        let comparisons = table.comparisons(&mut bootstrap);
        pronounce(&mut results, &comparisons, &metrics);
        let mut references = table.references("chance", |at, metric| chance[at].get(&metric).copied().flatten());
        references.extend(table.references("ceiling", |at, metric| ceilings[at].value(metric)));
        let ranges = table.ranges();
        let mut warnings = warning::few_controls(&self.controls(items));
        warnings.extend(warning::few_conditions(&results));
        warnings.extend(warning::above_ceiling(&table.above_ceiling(&mut bootstrap)));
        let seen = items.iter().filter(|item| item.seen).count();
        warnings.extend(warning::mixed(strata::EVERY, seen, items.len() - seen));
        let embedding_method = infos.get(shown).map(|info| info.name.clone()).unwrap_or_default();
        let mut conditions = Vec::new();
        for (info, (scored, flags)) in infos.iter().zip(scored.into_iter().zip(flags)) {
            for ((item, n), (scored, flags)) in items.iter().zip(&set_cells).zip(scored.into_iter().zip(flags)) {
                let named = |(column, value): (usize, Option<f64>)| (metrics[column].name.clone(), value);
                let metrics = scored.into_values().into_iter().map(named).collect();
                conditions.push(ConditionRow { n_distance_cells: *n, metrics, ..self.row(info, item, flags) });
            }
        }
        for row in &mut conditions {
            let undefined = row.metrics.iter().filter(|(_, value)| value.is_none());
            row.flags.extend(undefined.map(|(metric, _)| format!("undefined:{metric}")));
        }
        Ok(Results {
            results,
            conditions,
            comparisons,
            references,
            ranges,
            warnings,
            dropped,
            embedding_method,
            embedding: project(figure)?,
            metrics,
            methods: infos,
            ..Results::default()
        })
    }

    fn row(&self, info: &MethodInfo, item: &Item<'_>, flags: Vec<String>) -> ConditionRow {
        ConditionRow {
            method: info.name.clone(),
            split: strata::finest(&item.strata).into(),
            perturbation: self.test.perturbation(&item.condition).name.clone(),
            context: self.test.context(&item.condition),
            n_cells: item.group.n as usize,
            flags,
            ..ConditionRow::default()
        }
    }

    /// Controls of the contexts of these conditions.
    fn controls(&self, items: &[Item<'_>]) -> Vec<Controls> {
        let contexts: BTreeMap<u32, String> =
            items.iter().map(|item| (item.condition.context, self.test.context(&item.condition))).collect();
        let controls = contexts.into_iter().map(|(number, context)| Controls {
            context,
            held_out: self.test.controls().get(&number).map_or(0, |group| group.n),
            training: self.train.control(number).map_or(0, |profile| profile.n),
        });
        controls.collect()
    }
}

#[cfg(test)]
mod tests;
