//! Line charts: curves over steps, labelled at their ends.

use super::color::Color;
use super::scale::{Scale, Spacing};
use super::{Anchor, Drawing, Figure, LABEL, SMALL, TITLE, Type, spread, text};

/// Points that a curve is reduced to at most, as pairs of the least and the greatest value of a stretch.
const POINTS: usize = 600;
/// Curves with at least this many points are drawn faint, with their moving mean on top.
const SMOOTHED: usize = 60;

/// One curve.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Name, written at the end of the curve where there are several.
    pub(crate) name: String,
    /// Points in the order of x; a value that is not finite interrupts the curve.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart of curves over the same x.
#[derive(Clone, Debug)]
pub(crate) struct LineChart {
    /// File name without its ending.
    pub(crate) name: String,
    /// Title.
    pub(crate) title: String,
    /// What the y axis measures.
    pub(crate) y_label: String,
    /// What the x axis measures.
    pub(crate) x_label: String,
    /// Spacing of the y axis.
    pub(crate) spacing: Spacing,
    /// Whether the y axis starts at zero; for linear axes.
    pub(crate) from_zero: bool,
    /// The curves.
    pub(crate) series: Vec<Series>,
    /// Vertical marks: x and a name for what begins there. No mean is taken across a mark.
    pub(crate) marks: Vec<(f64, String)>,
    /// Whether long curves are noisy, and drawn faint under their moving mean.
    pub(crate) noisy: bool,
}

/// How much wider bold text is.
const BOLD: f64 = 1.1;
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 270.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 44.0;

impl LineChart {
    /// Draws the chart.
    pub(crate) fn draw(&self) -> Figure {
        let mut drawing = Drawing::default();
        drawing.text(0.0, 16.0, Type::new(TITLE, Color::Ink).bold(true), &self.title);
        let unit = if self.spacing == Spacing::Log { " (log scale)" } else { "" };
        drawing.text(0.0, 34.0, Type::new(SMALL, Color::Muted), format!("{}{unit}", self.y_label).trim_start());
        let labelled = self.series.len() > 1;
        let names = self.series.iter().map(|series| text::width(&series.name, LABEL) * BOLD).fold(0.0, f64::max);
        let right = if labelled { WIDTH - names.min(170.0) - 14.0 } else { WIDTH - 14.0 };
        let (y, left) = self.y_axis();
        let x = self.x_axis(left, right);
        grid(&mut drawing, &x, &y, left, right);
        drawing.text(right, HEIGHT - 6.0, Type::new(SMALL, Color::Muted).anchored(Anchor::End), &self.x_label);
        self.draw_marks(&mut drawing, &x, left, right);
        let mut ends = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            if let Some(end) = self.draw_series(&mut drawing, series, Color::Series(index), &x, &y) {
                ends.push((index, end));
            }
        }
        if labelled {
            let heights: Vec<f64> = ends.iter().map(|(_, end)| *end).collect();
            let placed = spread(&heights, LABEL + 3.0, TOP, HEIGHT - BOTTOM);
            for ((index, _), y) in ends.iter().zip(placed) {
                let name = text::fit(&self.series[*index].name, LABEL * BOLD, 170.0);
                drawing.text(right + 8.0, y + LABEL * 0.35, Type::new(LABEL, Color::Series(*index)).bold(true), &name);
            }
        }
        drawing.finish(&self.name, &self.title, WIDTH, HEIGHT)
    }

    /// The y axis and the left edge of the plot, which its labels decide.
    fn y_axis(&self) -> (Scale, f64) {
        let values = || self.series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
        let values = || values().filter(|value| value.is_finite() && (self.spacing == Spacing::Linear || *value > 0.0));
        let (mut low, high) = range(values());
        if self.from_zero && self.spacing == Spacing::Linear {
            low = low.min(0.0);
        }
        let scale = Scale::nice(self.spacing, low, high, 5, (HEIGHT - BOTTOM, TOP));
        let widest = scale.ticks().iter().map(|(_, label)| text::width(label, SMALL)).fold(0.0, f64::max);
        (scale, widest + 8.0)
    }

    fn x_axis(&self, left: f64, right: f64) -> Scale {
        let (low, high) = range(self.series.iter().flat_map(|series| series.points.iter().map(|point| point.0)));
        Scale::exact(low, high, 5, (left, right))
    }

    fn draw_marks(&self, drawing: &mut Drawing, x: &Scale, left: f64, right: f64) {
        for (at, name) in &self.marks {
            let at = x.at(*at);
            drawing.line((at, TOP - 8.0), (at, HEIGHT - BOTTOM), Color::Muted, 1.0, "3 3");
            let room = text::width(name, SMALL) + 4.0;
            let (at, anchor) = if at + room <= right {
                (at + 4.0, Anchor::Start)
            } else if at - room >= left {
                (at - 4.0, Anchor::End)
            } else {
                (f64::midpoint(left, right), Anchor::Middle)
            };
            drawing.text(at, TOP - 10.0, Type::new(SMALL, Color::Muted).anchored(anchor), name);
        }
    }

    /// Draws a curve; returns the height of its end.
    fn draw_series(&self, drawing: &mut Drawing, series: &Series, color: Color, x: &Scale, y: &Scale) -> Option<f64> {
        let place = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            let at = |value: f64| if value.is_finite() { y.at(value) } else { f64::NAN };
            points.iter().map(|&(step, value)| (x.at(step), at(value))).collect()
        };
        let raw = place(&extremes(&series.points, POINTS / 2));
        let line = if self.noisy && series.points.len() >= SMOOTHED {
            drawing.path(&raw, color, 1.0, 0.32);
            place(&thin(&self.moving_mean(&series.points), POINTS))
        } else {
            raw
        };
        drawing.path(&line, color, 1.8, 1.0);
        let visible: Vec<_> = line.into_iter().filter(|point| point.1.is_finite()).collect();
        if visible.len() <= 24 {
            drawing.dots(&visible, 2.4, color, 1.0);
        }
        visible.last().map(|point| point.1)
    }

    /// Centred mean over a thirtieth of the curve, of the finite values only, between the marks.
    fn moving_mean(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let half = points.len() / 60 + 1;
        let phase = |point: &(f64, f64)| self.marks.iter().filter(|mark| mark.0 <= point.0).count();
        points.chunk_by(|a, b| phase(a) == phase(b)).flat_map(|stretch| centred_mean(stretch, half)).collect()
    }
}

/// Least and greatest of some values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

fn grid(drawing: &mut Drawing, x: &Scale, y: &Scale, left: f64, right: f64) {
    for (at, label) in y.ticks() {
        drawing.line((left, at), (right, at), Color::Grid, 1.0, "");
        let style = Type::new(SMALL, Color::Muted).anchored(Anchor::End);
        drawing.text(left - 6.0, at + SMALL * 0.35, style, &label);
    }
    let base = HEIGHT - BOTTOM;
    drawing.line((left, base), (right, base), Color::Axis, 1.0, "");
    let mut free = f64::NEG_INFINITY;
    for (at, label) in x.ticks() {
        drawing.line((at, base), (at, base + 4.0), Color::Axis, 1.0, "");
        let half = text::width(&label, SMALL) / 2.0;
        if at - half > free && at + half <= WIDTH {
            drawing.text(at, base + 17.0, Type::new(SMALL, Color::Muted).anchored(Anchor::Middle), &label);
            free = at + half + 4.0;
        }
    }
}

/// Least and greatest value of each of `stretches` equal stretches, so that spikes stay visible.
fn extremes(points: &[(f64, f64)], stretches: usize) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(stretches.max(1));
    if size <= 2 {
        return points.to_vec();
    }
    let mut kept = Vec::new();
    for stretch in points.chunks(size) {
        let finite = || stretch.iter().filter(|point| point.1.is_finite());
        let least = finite().min_by(|a, b| a.1.total_cmp(&b.1));
        let most = finite().max_by(|a, b| a.1.total_cmp(&b.1));
        match (least, most) {
            (Some(&least), Some(&most)) if least.0 <= most.0 => kept.extend([least, most]),
            (Some(&least), Some(&most)) => kept.extend([most, least]),
            _ => kept.extend(stretch.first().map(|first| (first.0, f64::NAN))),
        }
    }
    kept
}

/// Centred mean over up to `half` points on either side, as many on one as on the other.
fn centred_mean(points: &[(f64, f64)], half: usize) -> Vec<(f64, f64)> {
    let mean = |index: usize| {
        let reach = half.min(index).min(points.len() - 1 - index);
        let around = points[index - reach..=index + reach].iter().map(|point| point.1);
        let finite: Vec<f64> = around.filter(|value| value.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len() as f64
    };
    points.iter().enumerate().map(|(index, point)| (point.0, mean(index))).collect()
}

/// At most about `count` of the points, evenly, the last one included.
fn thin(points: &[(f64, f64)], count: usize) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(count.max(1)).max(1);
    let last = points.len().saturating_sub(1);
    points
        .iter()
        .enumerate()
        .filter(|(index, _)| index % stride == 0 || *index == last)
        .map(|(_, &point)| point)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, spacing: Spacing) -> LineChart {
        LineChart {
            name: "c".into(),
            title: "Loss".into(),
            y_label: "loss".into(),
            x_label: "step".into(),
            spacing,
            from_zero: false,
            series: vec![
                Series { name: "a".into(), points: points.clone() },
                Series { name: "b".into(), points: points.into_iter().map(|(x, y)| (x, y * 2.0)).collect() },
            ],
            marks: vec![(3.0, "paired".into())],
            noisy: true,
        }
    }

    #[test]
    fn the_same_chart_gives_the_same_bytes() {
        let points: Vec<(f64, f64)> = (0..500).map(|step| (step as f64, (step as f64 * 0.1).sin() + 2.0)).collect();
        let draw = || chart(points.clone(), Spacing::Log).draw().standalone();
        assert_eq!(draw(), draw());
    }

    #[test]
    fn values_that_are_not_finite_leave_a_gap_and_no_nan() {
        let odd = [f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY, 0.0, -3.0];
        for spacing in [Spacing::Linear, Spacing::Log] {
            for count in [0, 1, 6, 200] {
                let points = (0..count).map(|step| (step as f64, odd[step % odd.len()])).collect();
                let markup = chart(points, spacing).draw().inline();
                assert!(!markup.contains("NaN") && !markup.contains("inf"), "{markup}");
            }
        }
    }

    #[test]
    fn spikes_survive_thinning() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|step| (step as f64, 1.0)).collect();
        points[4_321].1 = 99.0;
        let kept = extremes(&points, 300);
        assert!(kept.len() <= 600 && kept.contains(&(4_321.0, 99.0)));
    }

    #[test]
    fn no_mean_is_taken_across_a_mark() {
        let points: Vec<(f64, f64)> = (0..100).map(|step| (step as f64, if step < 3 { 1.0 } else { 5.0 })).collect();
        assert_eq!(chart(points.clone(), Spacing::Linear).moving_mean(&points), points);
    }

    #[test]
    fn the_centred_mean_is_over_equally_many_points_on_both_sides() {
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, 6.0), (3.0, f64::NAN), (4.0, 3.0)];
        let means: Vec<f64> = centred_mean(&points, 1).into_iter().map(|point| point.1).collect();
        assert_eq!(means, [1.0, 3.0, 4.0, 4.5, 3.0]);
    }
}
