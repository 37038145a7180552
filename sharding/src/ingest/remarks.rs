//! What is said of labels that may not mean what they were taken for: guides of one gene, combinations of unknown
//! symbols, controls of two kinds.

use std::collections::{BTreeMap, BTreeSet};

use super::labels::LabelParser;
use super::rewrite::some;

/// Genes named with their guides, at most.
const NAMED_GENES: usize = 4;
/// Guides named of a gene, at most.
const NAMED_GUIDES: usize = 3;

/// A label as it is read, with its number of cells.
pub(super) type Counts<'a> = BTreeMap<&'a str, usize>;

/// Says what is remarkable about the labels.
pub(super) fn remarks(parser: &LabelParser, labels: &Counts<'_>, strips: bool, own_controls: bool) -> Vec<String> {
    let mut said = Vec::new();
    if !strips {
        said.extend(guides(parser, labels));
    }
    said.extend(opaque(parser, labels));
    said.extend(genes_like_controls(parser, labels));
    if !own_controls {
        said.extend(kinds_of_control(parser, labels));
    }
    said
}

fn guides(parser: &LabelParser, labels: &Counts<'_>) -> Option<String> {
    let found = parser.guides(labels.keys().copied());
    let count: usize = found.values().map(BTreeSet::len).sum();
    let named = found.iter().take(NAMED_GENES).map(|(gene, guides)| {
        let more = if guides.len() > NAMED_GUIDES { " …" } else { "" };
        let guides: Vec<&str> = guides.iter().take(NAMED_GUIDES).copied().collect();
        format!("{}{more} of {gene}", guides.join(", "))
    });
    let mut named: Vec<String> = named.collect();
    if found.len() > NAMED_GENES {
        named.push(format!("those of {} more genes", found.len() - NAMED_GENES));
    }
    (count > 0).then(|| {
        format!(
            "{count} labels look like guides and are kept apart: {}; --strip-guide-suffix merges the guides of a gene",
            named.join("; ")
        )
    })
}

fn opaque(parser: &LabelParser, labels: &Counts<'_>) -> Option<String> {
    let found: Vec<String> = labels
        .iter()
        .filter(|(label, _)| parser.is_opaque(label))
        .map(|(label, cells)| format!("{label} ({cells} cells)"))
        .collect();
    (!found.is_empty()).then(|| {
        format!(
            "{} labels look like combinations, but not all their parts are genes of the data or labels of their own, so each \
             is one perturbation: {}; --label-map says what they mean",
            found.len(),
            some(&found)
        )
    })
}

fn genes_like_controls(parser: &LabelParser, labels: &Counts<'_>) -> Option<String> {
    let found = labels.iter().flat_map(|(label, cells)| {
        parser.genes_like_controls(label).into_iter().map(move |member| format!("{member} ({cells} cells)"))
    });
    let found: Vec<String> = found.collect();
    (!found.is_empty()).then(|| {
        format!(
            "genes of the data are named like controls, so these labels are perturbations: {}; if they are controls, \
                 name them with --control",
            some(&found)
        )
    })
}

/// Controls of two kinds may differ: a vehicle is not an untreated cell.
fn kinds_of_control(parser: &LabelParser, labels: &Counts<'_>) -> Option<String> {
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (label, cells) in labels.iter().filter(|(label, _)| parser.parse(label).is_control()) {
        for kind in parser.control_kinds(label) {
            kinds.entry(kind).or_default().push(format!("{label} ({cells} cells)"));
        }
    }
    let named: Vec<String> = kinds.iter().map(|(kind, labels)| format!("{kind}: {}", some(labels))).collect();
    (kinds.len() > 1).then(|| {
        format!(
            "controls of {} kinds are taken together ({}); where they are not alike, name those that are meant with --control",
            kinds.len(),
            named.join("; ")
        )
    })
}
