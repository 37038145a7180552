//! Our best model, perturbation by perturbation.

use crate::content::Content;
use crate::figures::{LEAST_CELLS, PerMethod, condition_value};
use crate::format::{arrow, count, joined};
use crate::page::markup::{details, escape, figure};

/// Two bar charts and the table.
pub(crate) fn section(content: &Content<'_>) -> String {
    let Some(own) = &content.own else {
        return "<p class=\"missing\">No model of ours was evaluated; <code>syncyte evaluate</code> does so where the run has a \
                checkpoint.</p>"
            .into();
    };
    let method = &content.inputs.results.methods[own.method];
    let left_out = if own.left_out > 0 {
        format!(" {} with fewer than {LEAST_CELLS} measured cells left out.", count(own.left_out, "condition"))
    } else {
        String::new()
    };
    let mut html = vec![format!(
        "<p><strong>{}</strong>, our model with the best rank under the primary metric. {} with at least {LEAST_CELLS} measured \
         cells, the most similar first.{left_out}</p>\n",
        escape(&method.title),
        count(own.conditions.len(), "condition")
    )];
    if own.conditions.is_empty() {
        return html.concat();
    }
    let drawn = joined(content.figures.perturbations.iter().map(|drawn| figure(drawn, "")));
    html.push(format!("<div class=\"panels\">{drawn}</div>\n"));
    html.push(details(&format!("Table of {}", count(own.conditions.len(), "condition")), &table(content, own)));
    html.concat()
}

fn table(content: &Content<'_>, own: &PerMethod<'_>) -> String {
    let table = &content.table;
    let metrics: Vec<usize> = [own.similarity, own.distance].into_iter().flatten().collect();
    let heads = joined(metrics.iter().map(|&metric| {
        let info = &table.results.metrics[metric];
        format!("<th class=\"num\">{}\u{a0}{}</th>", escape(&info.title), arrow(info.better))
    }));
    let rows = joined(own.conditions.iter().map(|row| {
        let values = joined(metrics.iter().map(|&metric| {
            let value = condition_value(table, row, metric);
            let text = value.map_or_else(|| "undefined".into(), |value| own.digits(table, metric).value(value));
            format!("<td class=\"num\">{text}</td>")
        }));
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"num\">{}</td>{values}<td>{}</td></tr>\n",
            escape(&row.perturbation),
            escape(&row.context),
            escape(&row.split),
            row.n_cells,
            escape(&row.flags.join(", "))
        )
    }));
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>Perturbation</th><th>Context</th><th>Split</th><th class=\"num\">Cells</th>\
         {heads}<th>Remarks</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
}
