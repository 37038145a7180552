//! Training curves: losses, their terms, the learning rate and the monitors of collapse.

use crate::report::log::Log;
use crate::report::svg::Figure;
use crate::report::svg::line::{LineChart, Series};
use crate::report::svg::scale::Spacing;

/// Ratio of the greatest to the least value from which a positive curve is drawn on a logarithmic axis.
const WIDE: f64 = 30.0;

/// What one panel shows.
struct Panel<'a> {
    name: &'a str,
    title: &'a str,
    y_label: &'a str,
    /// Path of the number in the log, and its name in the figure.
    curves: &'a [(&'a str, &'a str)],
    from_zero: bool,
    may_be_log: bool,
    noisy: bool,
}

/// The panels of a pretraining log: those of which the log has numbers.
pub(crate) fn pretraining(log: &Log) -> Vec<Figure> {
    let panels = [
        Panel {
            name: "pretraining-loss",
            title: "Pretraining loss",
            y_label: "all terms together",
            curves: &[("loss", "loss")],
            from_zero: false,
            may_be_log: true,
            noisy: true,
        },
        Panel {
            name: "pretraining-terms",
            title: "Terms of the loss",
            y_label: "as logged",
            curves: &[
                ("terms.invariance", "invariance"),
                ("terms.variance", "variance"),
                ("terms.covariance", "covariance"),
            ],
            from_zero: false,
            may_be_log: true,
            noisy: true,
        },
        Panel {
            name: "pretraining-rank",
            title: "Effective rank of the embedding",
            y_label: "exponential of the entropy of the singular values",
            curves: &[("monitors.effective_rank", "effective rank")],
            from_zero: true,
            may_be_log: false,
            noisy: true,
        },
        Panel {
            name: "pretraining-sd",
            title: "Spread of the embedding",
            y_label: "standard deviation over the dimensions",
            curves: &[("monitors.sd_mean", "mean"), ("monitors.sd_min", "least")],
            from_zero: true,
            may_be_log: false,
            noisy: true,
        },
        Panel {
            name: "pretraining-cosine",
            title: "Mean cosine between cells",
            y_label: "1 means that all cells have the same embedding",
            curves: &[("monitors.mean_cosine", "mean cosine")],
            from_zero: true,
            may_be_log: false,
            noisy: true,
        },
        Panel {
            name: "pretraining-lr",
            title: "Learning rate",
            y_label: "of the optimizer, after warm-up and schedule",
            curves: &[("lr", "learning rate")],
            from_zero: true,
            may_be_log: false,
            noisy: false,
        },
        Panel {
            name: "pretraining-gradient",
            title: "Gradient norm",
            y_label: "norm before clipping",
            curves: &[("grad_norm", "gradient norm")],
            from_zero: true,
            may_be_log: true,
            noisy: true,
        },
        Panel {
            name: "pretraining-throughput",
            title: "Throughput",
            y_label: "cells per second",
            curves: &[("cells_per_s", "cells per second")],
            from_zero: true,
            may_be_log: false,
            noisy: true,
        },
    ];
    let mut marks: Vec<(f64, String)> = log.boundaries();
    for mark in &mut marks {
        mark.1 = format!("phase: {} →", mark.1);
    }
    panels.iter().filter_map(|panel| draw(log, panel, &marks)).collect()
}

/// The losses of a log: `loss` and every number whose name ends in `_loss`.
pub(crate) fn loss_curves(log: &Log, name: &str, title: &str) -> Option<Figure> {
    let paths = log.names(|name| name == "loss" || name.ends_with("_loss"));
    let labels: Vec<String> = paths
        .iter()
        .map(|path| match path.strip_suffix("_loss") {
            Some(part) => part.replace('_', " "),
            None => "training".into(),
        })
        .collect();
    let curves: Vec<(&str, &str)> =
        paths.iter().zip(&labels).map(|(path, label)| (path.as_str(), label.as_str())).collect();
    draw(
        log,
        &Panel { name, title, y_label: "", curves: &curves, from_zero: false, may_be_log: true, noisy: true },
        &log.boundaries(),
    )
}

fn draw(log: &Log, panel: &Panel<'_>, marks: &[(f64, String)]) -> Option<Figure> {
    let series = panel.curves.iter().map(|(path, name)| Series { name: (*name).into(), points: log.series(path) });
    let series: Vec<Series> = series.filter(|series| series.points.iter().any(|point| point.1.is_finite())).collect();
    if series.is_empty() {
        return None;
    }
    let chart = LineChart {
        name: panel.name.into(),
        title: panel.title.into(),
        y_label: panel.y_label.into(),
        x_label: "optimizer step".into(),
        spacing: if panel.may_be_log && wide(&series) { Spacing::Log } else { Spacing::Linear },
        from_zero: panel.from_zero,
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
