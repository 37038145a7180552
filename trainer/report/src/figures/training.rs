//! Training curves: losses, their terms, the learning rate and the monitors of collapse.

use crate::log::Log;
use crate::svg::Figure;
use crate::svg::line::{LineChart, Series};
use crate::svg::scale::Spacing;

/// Ratio of the greatest to the least value from which a positive curve is drawn on a logarithmic axis.
const WIDE: f64 = 30.0;

/// Numbers of a log step that are no losses.
const NOT_LOSSES: [&str; 7] = ["lr", "encoder_lr", "weight_decay", "momentum", "grad_norm", "cells_per_s", "epoch"];

/// What one panel shows.
struct Panel<'a> {
    name: &'a str,
    title: &'a str,
    y_label: &'a str,
    /// Path of every number in the log, and its name in the figure.
    curves: Vec<(String, String)>,
    scale: Axis,
    noisy: bool,
}

/// How the y axis of a panel is laid.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// From zero.
    FromZero,
    /// Around the values; logarithmic where they are positive and of very different size.
    Free,
}

/// The panels of a pretraining log: those of which the log has numbers.
pub(crate) fn pretraining(log: &Log) -> Vec<Figure> {
    let one = |path: &str| vec![(path.to_owned(), path.replace('_', " "))];
    let terms = log.names(|name| name.starts_with("terms."));
    let terms = terms.into_iter().map(|path| (path.clone(), path["terms.".len()..].replace('_', " "))).collect();
    let panel = |name, title, y_label, curves, scale, noisy| Panel { name, title, y_label, curves, scale, noisy };
    let panels = [
        panel("pretraining-loss", "Pretraining loss", "all terms together", one("loss"), Axis::Free, true),
        panel("pretraining-terms", "Terms of the loss", "as logged", terms, Axis::Free, true),
        panel(
            "pretraining-rank",
            "Effective rank of the embedding",
            "exponential of the entropy of the singular values",
            monitors(log, &[("effective_rank", "")]),
            Axis::FromZero,
            true,
        ),
        panel(
            "pretraining-sd",
            "Spread of the embedding",
            "standard deviation over cells: mean and least over the dimensions",
            monitors(log, &[("sd_mean", "mean"), ("sd_min", "least")]),
            Axis::FromZero,
            true,
        ),
        panel(
            "pretraining-cosine",
            "Mean cosine between cells",
            "1 means that all cells have the same direction",
            monitors(log, &[("mean_cosine", "")]),
            Axis::FromZero,
            true,
        ),
        panel(
            "pretraining-predictor",
            "What the predictor listens to",
            "variance of the predictions",
            monitors(
                log,
                &[("variance_over_cells", "over cells"), ("variance_over_perturbations", "over perturbations")],
            ),
            Axis::Free,
            true,
        ),
        panel("pretraining-lr", "Learning rate", "after warm-up and schedule", one("lr"), Axis::FromZero, false),
        panel("pretraining-gradient", "Gradient norm", "before clipping", one("grad_norm"), Axis::Free, true),
        panel("pretraining-throughput", "Throughput", "cells per second", one("cells_per_s"), Axis::FromZero, true),
    ];
    let mut marks: Vec<(f64, String)> = log.boundaries();
    for mark in &mut marks {
        mark.1 = format!("phase: {} →", mark.1);
    }
    panels.iter().filter_map(|panel| draw(log, panel, &marks)).collect()
}

/// Monitors by the end of their name, e.g. `sd_min`; what they watch, e.g. `student`, stands before it.
fn monitors(log: &Log, wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut curves = Vec::new();
    for path in log.names(|name| name.starts_with("monitors.")) {
        let (watched, monitor) =
            path["monitors.".len()..].rsplit_once(['/', '.']).unwrap_or(("", &path["monitors.".len()..]));
        if let Some((_, label)) = wanted.iter().find(|(name, _)| *name == monitor) {
            // There is but one predictor.
            let watched = if watched == "predictor" { "" } else { watched };
            let label = [watched, label].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
            curves.push((path, label));
        }
    }
    curves
}

/// The losses of a log: the whole, and its parts.
pub(crate) fn loss_curves(log: &Log, name: &str, title: &str) -> Option<Figure> {
    let mut paths = log.names(|name| !name.contains('.') && !NOT_LOSSES.contains(&name));
    paths.sort_by_key(|path| path != "loss");
    let curves = paths.into_iter().map(|path| (path.clone(), path.replace('_', " "))).collect();
    draw(log, &Panel { name, title, y_label: "", curves, scale: Axis::Free, noisy: true }, &log.boundaries())
}

fn draw(log: &Log, panel: &Panel<'_>, marks: &[(f64, String)]) -> Option<Figure> {
    let series = panel.curves.iter().map(|(path, name)| Series { name: name.clone(), points: log.series(path) });
    let series: Vec<Series> = series.filter(|series| series.points.iter().any(|point| point.1.is_finite())).collect();
    if series.is_empty() {
        return None;
    }
    let chart = LineChart {
        name: panel.name.into(),
        title: panel.title.into(),
        y_label: panel.y_label.into(),
        x_label: "optimizer step".into(),
        spacing: if panel.scale == Axis::Free && wide(&series) { Spacing::Log } else { Spacing::Linear },
        from_zero: panel.scale == Axis::FromZero,
        series,
        marks: marks.to_vec(),
        noisy: panel.noisy,
    };
    Some(chart.draw())
}

/// Whether all values are positive and of very different size.
fn wide(series: &[Series]) -> bool {
    let values =
        || series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).filter(|value| value.is_finite());
    let (low, high) = values().fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    low > 0.0 && high / low > WIDE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Record;

    #[test]
    fn monitors_are_named_by_what_they_watch() {
        let names =
            ["monitors.student/sd_min", "monitors.teacher/sd_min", "monitors.predictor/sd_min", "monitors.sd_mean"];
        let values = names.map(|name| (name.to_owned(), 1.0)).into();
        let log = Log { records: vec![Record { step: 1, values, ..Record::default() }] };
        let labels: Vec<String> = monitors(&log, &[("sd_min", "least")]).into_iter().map(|curve| curve.1).collect();
        assert_eq!(labels, ["least", "student, least", "teacher, least"]);
        assert_eq!(monitors(&log, &[("sd_mean", "")]), [("monitors.sd_mean".to_owned(), String::new())]);
    }
}
