//! Pieces of HTML that several sections use.

use crate::format::joined;
use crate::svg::Figure;
pub(crate) use crate::svg::text::escape;

/// A figure with its caption; scrolls sideways where the window is narrower.
pub(crate) fn figure(figure: &Figure, caption: &str) -> String {
    let caption =
        if caption.is_empty() { String::new() } else { format!("<figcaption>{}</figcaption>", escape(caption)) };
    format!("<figure><div class=\"scroll\">{}</div>{caption}</figure>\n", figure.inline())
}

/// Names and values, one pair a line.
pub(crate) fn facts<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let rows =
        joined(rows.map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))));
    format!("<dl class=\"facts\">{rows}</dl>\n")
}

/// Something that unfolds.
pub(crate) fn details(summary: &str, html: &str) -> String {
    format!("<details><summary>{}</summary>{html}</details>\n", escape(summary))
}

/// A list of paragraphs in small print.
pub(crate) fn notes(notes: &[String]) -> String {
    joined(notes.iter().map(|note| format!("<p class=\"note\">{}</p>\n", escape(note))))
}
