//! The benchmark as bars: one chart a metric, one group of bars a split.

use crate::figures::file_name;
use crate::format::{arrow, direction};
use crate::svg::Figure;
use crate::svg::bar::{Bar, BarChart, Group};
use crate::svg::color::Color;
use crate::table::Table;

/// Bars of every method on every split under a metric.
pub(crate) fn metric_bars(table: &Table<'_>, metric: usize) -> Figure {
    let info = &table.results.metrics[metric];
    let groups = (0..table.splits.len()).map(|split| group(table, split, metric)).collect();
    let chart = BarChart {
        name: format!("metric-{}", file_name(&info.name)),
        title: format!("{} {}", info.title, arrow(info.better)),
        subtitle: format!("mean over conditions and 95 % interval; {}", direction(info.better)),
        groups,
        legend: vec![(Color::Series(0), "our models".into()), (Color::Bar, "baselines".into())],
        row: 21.0,
        width: 760.0,
    };
    chart.draw()
}

fn group(table: &Table<'_>, split: usize, metric: usize) -> Group {
    let bars = table.results.methods.iter().enumerate().map(|(method, info)| {
        let row = table.row(split, method, metric);
        Bar {
            label: info.title.clone(),
            value: row.value,
            interval: row.ci_low.zip(row.ci_high),
            text: table.digits(metric).result(row),
            color: if info.baseline { Color::Bar } else { Color::Series(0) },
            bold: table.is_best(split, method, metric),
        }
    });
    let name = table.splits[split];
    let references = table.results.references.iter().filter(|reference| {
        reference.split == name && reference.metric == table.results.metrics[metric].name && reference.value.is_finite()
    });
    let references = references.map(|reference| {
        (reference.value, format!("{} {}", reference.name, table.digits(metric).value(reference.value)))
    });
    Group { heading: name.into(), bars: bars.collect(), references: references.collect() }
}
