//! The benchmark table, its bars, and what its rows and columns mean.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::content::Content;
use crate::format::{arrow, count, direction, joined};
use crate::page::markup::{details, escape, figure};
use crate::table::Table;
use crate::verdict::beats_best_baseline;
use syncyte_evaluation::benchmark::results::{Reference, ResultRow};

/// Columns that a table has at most; more metrics go into a second one under it.
const MOST_COLUMNS: usize = 7;
/// Charts that are shown at once; those of more metrics are folded away.
const MOST_CHARTS: usize = 4;

/// Tables for each split, then the bars.
pub(crate) fn section(content: &Content<'_>) -> String {
    let table = &content.table;
    let mut html: Vec<String> = Vec::new();
    let metrics = table.results.metrics.len();
    let columns = metrics.div_ceil(metrics.div_ceil(MOST_COLUMNS).max(1)).max(1);
    for split in 0..table.splits.len() {
        html.push(format!("<h3>{}</h3>\n", escape(table.splits[split])));
        let starts = (0..metrics).step_by(columns);
        html.extend(starts.map(|start| part(table, split, start..(start + columns).min(metrics))));
    }
    html.push(legend(table));
    html.push(dropped(content));
    let charts: Vec<String> = content.figures.metrics.iter().map(|drawn| figure(drawn, "")).collect();
    let (shown, folded) = charts.split_at(charts.len().min(MOST_CHARTS));
    html.push(shown.concat());
    if !folded.is_empty() {
        html.push(details(&format!("Bars of {}", count(folded.len(), "more metric")), &folded.concat()));
    }
    html.concat()
}

/// A table of some metrics on a split; mean rank and number of conditions stand in the first.
fn part(table: &Table<'_>, split: usize, metrics: Range<usize>) -> String {
    let heads = joined(table.results.metrics[metrics.clone()].iter().map(|metric| {
        let (title, hint) = (escape(&metric.title), direction(metric.better));
        format!("<th class=\"num\" scope=\"col\" title=\"{hint}\">{title}\u{a0}{}</th>", arrow(metric.better))
    }));
    let ranks = if metrics.start == 0 {
        "<th class=\"num\" scope=\"col\">Mean rank</th><th class=\"num\" scope=\"col\">n</th>"
    } else {
        ""
    };
    let methods = 0..table.results.methods.len();
    let rows = joined(methods.map(|method| method_row(table, split, method, metrics.clone())));
    format!(
        "<div class=\"scroll\"><table class=\"benchmark\"><thead><tr><th scope=\"col\">Method</th>{heads}{ranks}</tr></thead>\
         <tbody>{rows}</tbody>{}</table></div>\n",
        references(table, split, &metrics)
    )
}

fn method_row(table: &Table<'_>, split: usize, method: usize, metrics: Range<usize>) -> String {
    let info = &table.results.methods[method];
    let all = 0..table.results.metrics.len();
    let most = all.map(|metric| table.row(split, method, metric).n_conditions).max().unwrap_or(0);
    let ranks = if metrics.start == 0 {
        format!("<td class=\"num\">{:.1}</td><td class=\"num\">{most}</td>", table.mean_rank(split, method))
    } else {
        String::new()
    };
    let cells = joined(metrics.map(|metric| cell(table, split, method, metric, most)));
    let (class, tag) = if info.baseline { ("baseline", "<span class=\"tag\">baseline</span>") } else { ("ours", "") };
    format!("<tr class=\"{class}\"><th scope=\"row\">{} {tag}</th>{cells}{ranks}</tr>\n", escape(&info.title))
}

fn cell(table: &Table<'_>, split: usize, method: usize, metric: usize, most: usize) -> String {
    let row: &ResultRow = table.row(split, method, metric);
    let digits = table.digits(metric);
    let Some(value) = row.value else {
        return "<td class=\"num undefined\">undefined†</td>".into();
    };
    let value = digits.value(value);
    let value = if table.is_best(split, method, metric) { format!("<strong>{value}</strong>") } else { value };
    let beats = !table.results.methods[method].baseline && beats_best_baseline(table, split, metric, method);
    let flag =
        if beats { "<span class=\"beats\" title=\"clearly better than the best baseline\">▲</span>" } else { "" };
    let interval = row.ci_low.zip(row.ci_high).map_or_else(String::new, |(low, high)| digits.interval(low, high));
    let fewer = if row.n_conditions < most { format!(" n = {}‡", row.n_conditions) } else { String::new() };
    let sampling = row.sampling_sd.map_or_else(String::new, |sd| format!(" ±{}§", digits.value(sd)));
    format!("<td class=\"num\">{flag}{value}<span class=\"interval\">{interval}{sampling}{fewer}</span></td>")
}

/// Chance levels, ceilings and room of some metrics, under the methods.
fn references(table: &Table<'_>, split: usize, metrics: &Range<usize>) -> String {
    let shown: Vec<&str> = table.results.metrics[metrics.clone()].iter().map(|metric| metric.name.as_str()).collect();
    let all = table.results.references.iter();
    let own: Vec<&Reference> =
        all.filter(|row| row.split == table.splits[split] && shown.contains(&row.metric.as_str())).collect();
    let names: BTreeSet<&str> = own.iter().map(|row| row.name.as_str()).collect();
    let rows = joined(names.into_iter().map(|name| {
        let named: Vec<&&Reference> = own.iter().filter(|row| row.name == name).collect();
        let cells = joined(metrics.clone().map(|metric| {
            let found = named.iter().find(|row| row.metric == table.results.metrics[metric].name);
            let text = found.map_or_else(|| "–".into(), |row| table.digits(metric).value(row.value));
            format!("<td class=\"num\">{text}</td>")
        }));
        let conditions = named.iter().map(|row| row.n_conditions).max().unwrap_or(0);
        let ranks =
            if metrics.start == 0 { format!("<td></td><td class=\"num\">{conditions}</td>") } else { String::new() };
        let name = escape(name);
        format!("<tr><th scope=\"row\">{name} <span class=\"tag\">reference</span></th>{cells}{ranks}</tr>")
    }));
    let room = room(table, split, metrics);
    if rows.is_empty() && room.is_empty() { String::new() } else { format!("<tfoot>{rows}{room}</tfoot>") }
}

/// From what knowing nothing scores to the ceiling, and which share of the way to perfect that is.
fn room(table: &Table<'_>, split: usize, metrics: &Range<usize>) -> String {
    if !metrics.clone().any(|metric| table.range(split, metric).is_some()) {
        return String::new();
    }
    let cells = joined(metrics.clone().map(|metric| {
        let Some(range) = table.range(split, metric) else { return "<td class=\"num\">–</td>".into() };
        let digits = table.digits(metric);
        let share = range.share.map_or_else(String::new, |share| format!("{:.0} % of the way", 100.0 * share));
        let (floor, ceiling) = (digits.value(range.floor), digits.value(range.ceiling));
        format!("<td class=\"num\">{floor} → {ceiling}<span class=\"interval\">{share}</span></td>")
    }));
    let ranks = if metrics.start == 0 { "<td></td><td></td>" } else { "" };
    format!("<tr><th scope=\"row\">room <span class=\"tag\">reference</span></th>{cells}{ranks}</tr>")
}

fn legend(table: &Table<'_>) -> String {
    let rows = || table.results.results.iter();
    let mut html = vec![String::from(
        "<p class=\"note\">Mean over held-out conditions with its 95 % bootstrap interval over conditions, their cells and the controls; n counts conditions. <strong>Bold</strong>: \
         best on the split. <span class=\"beats\">▲</span> clearly better than the best baseline of that column: the paired 95 % \
         interval of the difference lies on the better side of zero or, where no paired difference was computed, the two \
         intervals do not overlap. Mean rank: over the metrics, 1 is best, undefined ranks last.</p>\n",
    )];
    if rows().any(|row| row.value.is_none()) {
        html.push(String::from("<p class=\"note\">† The metric is undefined for this method, e.g. a correlation with a prediction that has no change \
             at all. It is not zero, and enters no mean.</p>\n"));
    }
    if rows().any(|row| row.n_undefined > 0 && row.value.is_some()) {
        html.push(String::from("<p class=\"note\">‡ Undefined on some conditions; the mean is over the others, and thus not over the conditions of the \
             other methods.</p>\n"));
    }
    if rows().any(|row| row.sampling_sd.is_some()) {
        html.push(String::from("<p class=\"note\">§ How much the value moves because the method samples: standard error over parts of its samples. It is not in the \
             interval.</p>\n"));
    }
    if table.results.references.iter().any(|reference| reference.name == "ceiling") {
        html.push(String::from("<p class=\"note\">Ceiling: what the true mean of the conditions would score, given the cells that were measured. Room: from the best \
             method that predicts the same whatever is asked for to the ceiling, and which share of the way to a perfect score that is; where it is \
             small, the metric cannot tell methods apart on these cells. Metrics “as published” and “plain” have neither, are shown for comparison \
             with papers, and count in no verdict and no mean rank.</p>\n"));
    }
    html.concat()
}

fn dropped(content: &Content<'_>) -> String {
    let dropped = &content.inputs.results.dropped;
    if dropped.is_empty() {
        return String::new();
    }
    let rows = joined(dropped.iter().map(|row| {
        let (name, context, reason) = (escape(&row.perturbation), escape(&row.context), escape(&row.reason));
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{context}</td><td class=\"num\">{}</td><td>{reason}</td></tr>",
            row.n_cells
        )
    }));
    let table = format!(
        "<div class=\"scroll\"><table><thead><tr><th>Perturbation</th><th>Context</th><th class=\"num\">Cells</th><th>Reason</th></tr>\
         </thead><tbody>{rows}</tbody></table></div>"
    );
    details(&format!("{} held out but not evaluated", count(dropped.len(), "condition")), &table)
}

/// What methods and metrics are.
pub(crate) fn definitions(content: &Content<'_>) -> String {
    let results = &content.inputs.results;
    let methods = joined(results.methods.iter().map(|method| {
        let tag = if method.baseline { " <span class=\"tag\">baseline</span>" } else { "" };
        format!(
            "<div><dt>{}{tag}<br><code>{}</code></dt><dd>{}</dd></div>",
            escape(&method.title),
            escape(&method.name),
            escape(&method.description)
        )
    }));
    let metrics = joined(results.metrics.iter().enumerate().map(|(index, metric)| {
        let tag = if index == 0 { " <span class=\"tag\">primary</span>" } else { "" };
        format!(
            "<div><dt>{}\u{a0}{}{tag}<br><code>{}</code></dt><dd>{}</dd></div>",
            escape(&metric.title),
            arrow(metric.better),
            escape(&metric.name),
            escape(&metric.definition)
        )
    }));
    format!(
        "<h3>Methods</h3>\n<dl class=\"facts\">{methods}</dl>\n<h3>Metrics</h3>\n<dl class=\"facts\">{metrics}</dl>\n"
    )
}
