//! The HTML page: one file that loads nothing, runs no script, and reads on light, dark and printed paper.

mod benchmark;
mod markup;
mod perturbation;
mod provenance;
mod training;
mod verdict;

use super::content::Content;
use super::format::joined;
use super::svg::color;
use markup::{escape, figure};

const STYLE: &str = include_str!("style.css");

/// The page.
pub(crate) fn render(content: &Content<'_>) -> String {
    let sections = [
        ("verdict", "Verdict", verdict::section(content)),
        ("benchmark", "Benchmark", benchmark::section(content)),
        ("perturbations", "By perturbation", perturbation::section(content)),
        ("embedding", "Embedding", embedding(content)),
        ("training", "Training", training::section(content)),
        ("definitions", "Methods and metrics", benchmark::definitions(content)),
        ("provenance", "Provenance", provenance::section(content)),
    ];
    let contents = joined(sections.iter().map(|(id, title, _)| format!("<a href=\"#{id}\">{}</a>", escape(title))));
    let body = joined(
        sections
            .iter()
            .map(|(id, title, html)| format!("<section id=\"{id}\"><h2>{}</h2>\n{html}</section>\n", escape(title))),
    );
    let name = escape(&content.inputs.name);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{name} · Syncyte report</title>\n\
         <style>\n{}{STYLE}</style></head>\n<body><main>\n<header><p class=\"eyebrow\">Syncyte report</p><h1>{name}</h1>\
         {}<nav>{contents}</nav></header>\n{body}</main></body></html>\n",
        color::STYLE,
        verdict::data_kind(content)
    )
}

fn embedding(content: &Content<'_>) -> String {
    let Some(drawn) = &content.figures.embedding else {
        return "<p class=\"missing\">The results hold no points of the embedding; <code>syncyte evaluate</code> adds them \
                where the run has a checkpoint and predictions.</p>"
            .into();
    };
    figure(
        drawn,
        "Held-out cells and predictions on the two leading principal components, fitted on both together. A short line means \
         that the centre of the predictions is near the centre of the cells; it says nothing about the other dimensions.",
    )
}
