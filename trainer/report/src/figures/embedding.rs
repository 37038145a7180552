//! Measured cells and predictions on the two leading principal components, fitted jointly.

use std::collections::BTreeMap;

use syncyte_evaluation::benchmark::results::CONTROL;

use crate::svg::Figure;
use crate::svg::color::{Color, SERIES};
use crate::svg::scatter::{Cloud, Link, Scatter};
use syncyte_evaluation::benchmark::results::EmbeddingPoint;

/// Points drawn at about most; more of them hide each other.
const MOST_POINTS: usize = 5_000;

/// The figure; `None` without points.
pub(crate) fn embedding(points: &[EmbeddingPoint]) -> Option<Figure> {
    if points.is_empty() {
        return None;
    }
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let top = top(points);
    let place = |name: &str| top.iter().position(|other| *other == name);
    let cloud = |name: &str, color: Color, keep: &dyn Fn(&str) -> bool| {
        let own = |predicted: bool| {
            let own = points.iter().filter(move |point| point.predicted == predicted && keep(&point.perturbation));
            own.step_by(stride).map(|point| (point.x, point.y)).collect()
        };
        Cloud { name: name.into(), color, dots: own(false), rings: own(true), diamonds: Vec::new() }
    };
    let mut rest = cloud("other perturbations", Color::Rest, &|name| name != CONTROL && place(name).is_none());
    // Predictions of the rest would cover the picture without adding to it.
    rest.rings.clear();
    let mut clouds = vec![rest, cloud("control", Color::Muted, &|name| name == CONTROL)];
    let mut links = Vec::new();
    for (index, name) in top.iter().enumerate().rev() {
        let color = Color::Series(index);
        let mut cloud = cloud(name, color, &|other| other == *name);
        let predicted = centroid(points, name, true);
        cloud.diamonds.extend(predicted);
        clouds.push(cloud);
        links.extend(centroid(points, name, false).zip(predicted).map(|(from, to)| Link { from, to, color }));
    }
    clouds.retain(|cloud| !cloud.dots.is_empty() || !cloud.diamonds.is_empty());
    let scatter = Scatter {
        name: "embedding".into(),
        title: "Measured cells and predictions".into(),
        subtitle: "lines join the centre of the measured cells of a perturbation to the centre of its predictions"
            .into(),
        labels: ("principal component 1".into(), "principal component 2".into()),
        markers: ["measured cell".into(), "predicted cell".into(), "centre of predictions".into()],
        links,
        clouds,
    };
    Some(scatter.draw())
}

/// The perturbations with the most measured cells among those that have a prediction.
fn top(points: &[EmbeddingPoint]) -> Vec<&str> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for point in points.iter().filter(|point| point.perturbation != CONTROL) {
        let count = counts.entry(&point.perturbation).or_default();
        if point.predicted { count.1 += 1 } else { count.0 += 1 }
    }
    let mut ranked: Vec<(&str, (usize, usize))> = counts.into_iter().collect();
    ranked.sort_by_key(|(name, (measured, predicted))| (*predicted == 0, std::cmp::Reverse(*measured), *name));
    ranked.into_iter().take(SERIES).map(|(name, _)| name).collect()
}

fn centroid(points: &[EmbeddingPoint], perturbation: &str, predicted: bool) -> Option<(f64, f64)> {
    let own = points.iter().filter(|point| point.predicted == predicted && point.perturbation == perturbation);
    let (mut count, mut x, mut y) = (0usize, 0.0, 0.0);
    for point in own.filter(|point| point.x.is_finite() && point.y.is_finite()) {
        (count, x, y) = (count + 1, x + point.x, y + point.y);
    }
    (count > 0).then(|| (x / count as f64, y / count as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(perturbation: &str, predicted: bool, x: f64) -> EmbeddingPoint {
        EmbeddingPoint { x, y: 0.0, perturbation: perturbation.into(), predicted }
    }

    #[test]
    fn the_most_measured_perturbations_with_a_prediction_have_a_colour() {
        let points = [
            point("A", false, 0.0),
            point("B", false, 0.0),
            point("B", false, 1.0),
            point("B", true, 1.0),
            point(CONTROL, false, 0.0),
            point("A", true, 0.0),
            point("C", false, 0.0),
        ];
        assert_eq!(top(&points), ["B", "A", "C"]);
        assert_eq!(centroid(&points, "B", false), Some((0.5, 0.0)));
        assert_eq!(centroid(&points, "C", true), None);
    }

    #[test]
    fn no_points_make_no_figure() {
        assert!(embedding(&[]).is_none());
        assert!(embedding(&[point("A", false, f64::NAN)]).is_some_and(|figure| !figure.inline().contains("NaN")));
    }
}
