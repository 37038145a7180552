//! The benchmark table, its bars, and what its rows and columns mean.

use crate::benchmark::results::ResultRow;
use crate::report::content::Content;
use crate::report::format::{arrow, count, direction};
use crate::report::page::markup::{details, escape, figure};
use crate::report::table::Table;
use crate::report::verdict::beats_best_baseline;

/// One table for each split, then the bars.
pub(crate) fn section(content: &Content<'_>) -> String {
    let table = &content.table;
    let mut html = String::new();
    for split in 0..table.splits.len() {
        html.push_str(&split_table(table, split));
    }
    html.push_str(&legend(table));
    html.push_str(&dropped(content));
    for drawn in &content.figures.metrics {
        html.push_str(&figure(drawn, ""));
    }
    html
}

fn split_table(table: &Table<'_>, split: usize) -> String {
    let metrics = table.results.metrics.iter();
    let heads: String = metrics
        .map(|metric| {
            let (title, hint) = (escape(&metric.title), direction(metric.better));
            format!("<th class=\"num\" scope=\"col\" title=\"{hint}\">{title}\u{a0}{}</th>", arrow(metric.better))
        })
        .collect();
    let rows: String = (0..table.results.methods.len()).map(|method| method_row(table, split, method)).collect();
    format!(
        "<h3>{}</h3>\n<div class=\"scroll\"><table class=\"benchmark\"><thead><tr><th scope=\"col\">Method</th>{heads}\
         <th class=\"num\" scope=\"col\">Mean rank</th><th class=\"num\" scope=\"col\">n</th></tr></thead>\
         <tbody>{rows}</tbody>{}</table></div>\n",
        escape(table.splits[split]),
        references(table, split)
    )
}

fn method_row(table: &Table<'_>, split: usize, method: usize) -> String {
    let info = &table.results.methods[method];
    let metrics = 0..table.results.metrics.len();
    let most = metrics.clone().map(|metric| table.row(split, method, metric).n_conditions).max().unwrap_or(0);
    let cells: String = metrics.map(|metric| cell(table, split, method, metric, most)).collect();
    let (class, tag) = if info.baseline { ("baseline", "<span class=\"tag\">baseline</span>") } else { ("ours", "") };
    format!(
        "<tr class=\"{class}\"><th scope=\"row\">{} {tag}</th>{cells}<td class=\"num\">{:.1}</td><td class=\"num\">{most}</td></tr>\n",
        escape(&info.title),
        table.mean_rank(split, method)
    )
}

fn cell(table: &Table<'_>, split: usize, method: usize, metric: usize, most: usize) -> String {
    let row: &ResultRow = table.row(split, method, metric);
    let digits = table.digits(metric);
    let Some(value) = row.value else {
        return "<td class=\"num undefined\">undefined†</td>".into();
    };
    let merit = table.merit(split, method, metric);
    let best = [true, false].into_iter().filter_map(|baseline| table.best(split, metric, baseline));
    let most_merit = best.filter_map(|method| table.merit(split, method, metric)).max_by(f64::total_cmp);
    let value = digits.value(value);
    let value = if merit == most_merit { format!("<strong>{value}</strong>") } else { value };
    let beats = !table.results.methods[method].baseline && beats_best_baseline(table, split, metric, method);
    let flag =
        if beats { "<span class=\"beats\" title=\"clearly better than the best baseline\">▲</span>" } else { "" };
    let interval = row.ci_low.zip(row.ci_high).map_or_else(String::new, |(low, high)| digits.interval(low, high));
    let fewer = if row.n_conditions < most { format!(" n = {}‡", row.n_conditions) } else { String::new() };
    format!("<td class=\"num\">{flag}{value}<span class=\"interval\">{interval}{fewer}</span></td>")
}

/// Chance and replicate levels, under the methods.
fn references(table: &Table<'_>, split: usize) -> String {
    let own = || table.results.references.iter().filter(|reference| reference.split == table.splits[split]);
    let mut names: Vec<&str> = own().map(|reference| reference.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let row = |name: &&str| {
        let cells: String = (0..table.results.metrics.len())
            .map(|metric| {
                let wanted = &table.results.metrics[metric].name;
                let found = own().find(|reference| reference.name == **name && reference.metric == *wanted);
                let text = found.map_or_else(|| "–".into(), |reference| table.digits(metric).value(reference.value));
                format!("<td class=\"num\">{text}</td>")
            })
            .collect();
        let conditions =
            own().filter(|reference| reference.name == **name).map(|reference| reference.n_conditions).max();
        let name = escape(name);
        format!(
            "<tr><th scope=\"row\">{name} <span class=\"tag\">reference</span></th>{cells}<td></td><td class=\"num\">{}</td></tr>",
            conditions.unwrap_or(0)
        )
    };
    let rows: String = names.iter().map(row).collect();
    if rows.is_empty() { String::new() } else { format!("<tfoot>{rows}</tfoot>") }
}

fn legend(table: &Table<'_>) -> String {
    let rows = || table.results.results.iter();
    let mut html = String::from(
        "<p class=\"note\">Mean over held-out conditions with its 95 % bootstrap interval; n counts conditions. <strong>Bold</strong>: \
         best on the split. <span class=\"beats\">▲</span> clearly better than the best baseline of that column: the paired 95 % \
         interval of the difference lies on the better side of zero or, where no paired difference was computed, the two \
         intervals do not overlap. Mean rank: over the metrics, 1 is best, undefined ranks last.</p>\n",
    );
    if rows().any(|row| row.value.is_none()) {
        html.push_str(
            "<p class=\"note\">† The metric is undefined for this method, e.g. a correlation with a prediction that has no change \
             at all. It is not zero, and enters no mean.</p>\n",
        );
    }
    if rows().any(|row| row.n_undefined > 0 && row.value.is_some()) {
        html.push_str(
            "<p class=\"note\">‡ Undefined on some conditions; the mean is over the others, and thus not over the conditions of the \
             other methods.</p>\n",
        );
    }
    if table.results.references.iter().any(|reference| reference.name == "replicate") {
        html.push_str(
            "<p class=\"note\">Replicate: one half of the measured cells of a condition predicts the other half. Its distance to the \
             baselines is the room a metric leaves.</p>\n",
        );
    }
    html
}

fn dropped(content: &Content<'_>) -> String {
    let dropped = &content.inputs.results.dropped;
    if dropped.is_empty() {
        return String::new();
    }
    let rows: String = dropped
        .iter()
        .map(|row| {
            let (name, context, reason) = (escape(&row.perturbation), escape(&row.context), escape(&row.reason));
            format!(
                "<tr><th scope=\"row\">{name}</th><td>{context}</td><td class=\"num\">{}</td><td>{reason}</td></tr>",
                row.n_cells
            )
        })
        .collect();
    let table = format!(
        "<div class=\"scroll\"><table><thead><tr><th>Perturbation</th><th>Context</th><th class=\"num\">Cells</th><th>Reason</th></tr>\
         </thead><tbody>{rows}</tbody></table></div>"
    );
    details(&format!("{} held out but not evaluated", count(dropped.len(), "condition")), &table)
}

/// What methods and metrics are.
pub(crate) fn definitions(content: &Content<'_>) -> String {
    let results = &content.inputs.results;
    let methods: String = results
        .methods
        .iter()
        .map(|method| {
            let tag = if method.baseline { " <span class=\"tag\">baseline</span>" } else { "" };
            format!(
                "<div><dt>{}{tag}<br><code>{}</code></dt><dd>{}</dd></div>",
                escape(&method.title),
                escape(&method.name),
                escape(&method.description)
            )
        })
        .collect();
    let metrics: String = results
        .metrics
        .iter()
        .enumerate()
        .map(|(index, metric)| {
            let tag = if index == 0 { " <span class=\"tag\">primary</span>" } else { "" };
            format!(
                "<div><dt>{}\u{a0}{}{tag}<br><code>{}</code></dt><dd>{}</dd></div>",
                escape(&metric.title),
                arrow(metric.better),
                escape(&metric.name),
                escape(&metric.definition)
            )
        })
        .collect();
    format!(
        "<h3>Methods</h3>\n<dl class=\"facts\">{methods}</dl>\n<h3>Metrics</h3>\n<dl class=\"facts\">{metrics}</dl>\n"
    )
}
