//! The verdict at the top of the page.

use crate::content::Content;
use crate::format::{arrow, count, joined};
use crate::page::markup::{details, escape, notes};
use crate::verdict::{Duel, caveats, synthetic};

/// Wins that are shown at once; more of them are folded away. Losses never are.
const MOST_WINS: usize = 24;

/// Says at the very top whether the data are synthetic.
pub(crate) fn data_kind(content: &Content<'_>) -> String {
    match synthetic(&content.table) {
        Some(true) => "<p class=\"banner\"><strong>Synthetic data.</strong> All numbers below come from generated cells with \
                       a planted truth. They say how well the methods recover that truth, and nothing about real cells.</p>"
            .into(),
        Some(false) => String::new(),
        None => "<p class=\"banner\">The results do not record whether the data are synthetic.</p>".into(),
    }
}

/// Sentences, then losses, then wins.
pub(crate) fn section(content: &Content<'_>) -> String {
    let (verdict, table) = (&content.verdict, &content.table);
    let mut html: Vec<String> = Vec::new();
    for (index, sentence) in verdict.sentences(table).iter().enumerate() {
        let class = if index == 0 { " class=\"lead\"" } else { "" };
        html.push(format!("<p{class}>{}</p>\n", escape(sentence)));
    }
    if !table.results.warnings.is_empty() {
        html.push(warnings(&table.results.warnings));
    }
    html.push(duels(content, "Where a baseline is at least as good", &verdict.lost));
    let won = duels(content, "Where our best model is ahead", &verdict.won);
    let long = verdict.won.len() > MOST_WINS;
    let summary = format!("Where our best model is ahead: {}", count(verdict.won.len(), "combination"));
    html.push(if long { details(&summary, &won) } else { won });
    if !verdict.open.is_empty() {
        let names = verdict
            .open
            .iter()
            .map(|(split, metric)| format!("{}, {}", table.splits[*split], table.results.metrics[*metric].title));
        let names: Vec<String> = names.collect();
        html.push(format!("<p>No baseline is defined on: {}.</p>\n", escape(&names.join("; "))));
    }
    html.push(notes(&caveats(table)));
    html.concat()
}

/// What makes the numbers less sure than they look.
fn warnings(warnings: &[String]) -> String {
    let items = joined(warnings.iter().map(|warning| format!("<li>{}</li>", escape(warning))));
    format!("<div class=\"banner\"><strong>Read with care.</strong><ul>{items}</ul></div>\n")
}

fn duels(content: &Content<'_>, heading: &str, duels: &[Duel]) -> String {
    let heading = format!("<h3>{} <span class=\"count\">{}</span></h3>\n", escape(heading), duels.len());
    if duels.is_empty() {
        return format!("{heading}<p>Nowhere.</p>\n");
    }
    let rows = joined(duels.iter().map(|duel| row(content, duel)));
    format!(
        "{heading}<div class=\"scroll\"><table class=\"duels\"><thead><tr><th>Split</th><th>Metric</th><th>Best baseline</th>\
         <th class=\"num\">Value</th><th>Our best model</th><th class=\"num\">Value</th>\
         <th class=\"num\">Difference</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>\n"
    )
}

fn row(content: &Content<'_>, duel: &Duel) -> String {
    let table = &content.table;
    let metric = &table.results.metrics[duel.metric];
    let value = |method: Option<usize>| {
        let value = method.and_then(|method| table.row(duel.split, method, duel.metric).value);
        value.map_or_else(|| "undefined".into(), |value| table.digits(duel.metric).value(value))
    };
    let title = |method: Option<usize>| method.map_or("none", |method| table.results.methods[method].title.as_str());
    let (difference, detail) = duel.evidence_text(table);
    let class = if duel.clear() { "clear" } else { "unclear" };
    format!(
        "<tr class=\"{class}\"><th scope=\"row\">{}</th><td>{}\u{a0}{}</td><td>{}</td><td class=\"num\">{}</td><td>{}</td>\
         <td class=\"num\">{}</td><td class=\"num\">{difference}<span class=\"interval\">{}</span></td><td class=\"reading\">{}</td></tr>\n",
        escape(table.splits[duel.split]),
        escape(&metric.title),
        arrow(metric.better),
        escape(title(Some(duel.baseline))),
        value(Some(duel.baseline)),
        escape(title(duel.model)),
        value(duel.model),
        escape(&detail),
        duel.reading()
    )
}
