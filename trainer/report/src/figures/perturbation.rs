//! One model perturbation by perturbation: how similar and how far its prediction is.
//!
//! Guarantee: a condition with fewer than [`LEAST_CELLS`] measured cells is left out, since its truth is mostly noise.

use std::collections::BTreeSet;

use crate::figures::file_name;
use crate::format::{Digits, arrow, count, direction};
use crate::svg::Figure;
use crate::svg::bar::{Bar, BarChart, Group};
use crate::svg::color::Color;
use crate::table::Table;
use syncyte_evaluation::benchmark::results::{Better, ConditionRow};

/// Measured cells that a condition needs to be shown.
pub(crate) const LEAST_CELLS: usize = 10;
/// Bars that a chart shows at most, half from the top and half from the bottom.
const MOST_BARS: usize = 50;

/// The conditions of one method, the most similar first.
#[derive(Debug)]
pub(crate) struct PerMethod<'a> {
    /// Position of the method.
    pub(crate) method: usize,
    /// Position of the metric of similarity, if there is one.
    pub(crate) similarity: Option<usize>,
    /// Position of the metric of distance, if there is one.
    pub(crate) distance: Option<usize>,
    /// Its conditions with enough cells.
    pub(crate) conditions: Vec<&'a ConditionRow>,
    /// Number of conditions left out for too few cells.
    pub(crate) left_out: usize,
}

impl<'a> PerMethod<'a> {
    /// The conditions of our best model; `None` without a model.
    pub(crate) fn best_model(table: &Table<'a>) -> Option<Self> {
        let method = table.best_model()?;
        let first = |better: Better| table.results.metrics.iter().position(|metric| metric.better == better);
        let (similarity, distance) = (first(Better::Higher), first(Better::Lower));
        let name = &table.results.methods[method].name;
        let own: Vec<&ConditionRow> = table.results.conditions.iter().filter(|row| row.method == *name).collect();
        let mut conditions: Vec<&ConditionRow> = own.iter().copied().filter(|row| row.n_cells >= LEAST_CELLS).collect();
        let left_out = own.len() - conditions.len();
        let merit = |row: &ConditionRow| {
            let value = |metric: Option<usize>| metric.and_then(|metric| value(table, row, metric));
            let distance = value(distance).map(|distance| -distance);
            value(similarity).or(if similarity.is_none() { distance } else { None }).unwrap_or(f64::NEG_INFINITY)
        };
        conditions.sort_by(|a, b| {
            let names = |row: &'a ConditionRow| (&row.perturbation, &row.context, &row.split);
            merit(b).total_cmp(&merit(a)).then_with(|| names(a).cmp(&names(b)))
        });
        Some(Self { method, similarity, distance, conditions, left_out })
    }

    /// What a condition is called: its perturbation, with the context where there are several.
    pub(crate) fn label(&self, row: &ConditionRow) -> String {
        let contexts: BTreeSet<&str> = self.conditions.iter().map(|row| row.context.as_str()).collect();
        if contexts.len() > 1 { format!("{} ({})", row.perturbation, row.context) } else { row.perturbation.clone() }
    }

    /// Digits of a metric over the conditions.
    pub(crate) fn digits(&self, table: &Table<'_>, metric: usize) -> Digits {
        Digits::of(self.conditions.iter().filter_map(|row| value(table, row, metric)))
    }
}

/// Value of a condition under a metric.
pub(crate) fn value(table: &Table<'_>, row: &ConditionRow, metric: usize) -> Option<f64> {
    row.metrics.get(&table.results.metrics[metric].name).copied().flatten()
}

/// The bars of similarity and of distance, in the same order.
pub(crate) fn perturbation_bars(table: &Table<'_>, own: &PerMethod<'_>) -> Vec<Figure> {
    if own.conditions.is_empty() {
        return Vec::new();
    }
    let metrics = [("similarity", own.similarity), ("distance", own.distance)];
    metrics.into_iter().filter_map(|(kind, metric)| metric.map(|metric| bars(table, own, kind, metric))).collect()
}

fn bars(table: &Table<'_>, own: &PerMethod<'_>, kind: &str, metric: usize) -> Figure {
    let info = &table.results.metrics[metric];
    let digits = own.digits(table, metric);
    let bar = |row: &&ConditionRow| Bar {
        label: own.label(row),
        value: value(table, row, metric),
        interval: None,
        text: value(table, row, metric).map_or_else(String::new, |value| digits.value(value)),
        color: Color::Series(0),
        bold: false,
    };
    let group = |heading: String, rows: &[&ConditionRow]| Group {
        heading,
        bars: rows.iter().map(bar).collect(),
        references: Vec::new(),
    };
    let total = own.conditions.len();
    let half = MOST_BARS / 2;
    let groups = if total > MOST_BARS {
        vec![
            group(format!("the {half} most similar of {}", count(total, "condition")), &own.conditions[..half]),
            group(format!("the {half} least similar"), &own.conditions[total - half..]),
        ]
    } else {
        vec![group(String::new(), &own.conditions)]
    };
    let chart = BarChart {
        name: format!("perturbations-{kind}-{}", file_name(&info.name)),
        title: format!("{} {} by perturbation", info.title, arrow(info.better)),
        subtitle: format!(
            "{}; sorted by similarity; {}",
            table.results.methods[own.method].title,
            direction(info.better)
        ),
        groups,
        legend: Vec::new(),
        row: 17.0,
        width: 520.0,
    };
    chart.draw()
}
