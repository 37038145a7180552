//! Scatter plots with equal units on both axes: clouds of dots, diamonds on top, a key beside them.

use super::color::Color;
use super::scale::Scale;
use super::{Anchor, Drawing, Figure, LABEL, SMALL, TITLE, Type, text};

/// Points of one category.
#[derive(Clone, Debug)]
pub(crate) struct Cloud {
    /// Name in the key.
    pub(crate) name: String,
    /// Colour.
    pub(crate) color: Color,
    /// Small dots.
    pub(crate) dots: Vec<(f64, f64)>,
    /// Small open circles.
    pub(crate) rings: Vec<(f64, f64)>,
    /// Diamonds.
    pub(crate) diamonds: Vec<(f64, f64)>,
}

/// A line between two points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Where it begins.
    pub(crate) from: (f64, f64),
    /// Where it ends.
    pub(crate) to: (f64, f64),
    /// Colour of what it belongs to.
    pub(crate) color: Color,
}

/// A scatter plot.
#[derive(Clone, Debug)]
pub(crate) struct Scatter {
    /// File name without its ending.
    pub(crate) name: String,
    /// Title.
    pub(crate) title: String,
    /// Line under the title.
    pub(crate) subtitle: String,
    /// What the axes measure.
    pub(crate) labels: (String, String),
    /// What dots, rings and diamonds stand for.
    pub(crate) markers: [String; 3],
    /// Clouds, from back to front.
    pub(crate) clouds: Vec<Cloud>,
    /// Lines between two points.
    pub(crate) links: Vec<Link>,
}

const WIDTH: f64 = 760.0;
const PLOT: (f64, f64) = (520.0, 440.0);
const LEFT: f64 = 44.0;
const TOP: f64 = 66.0;

impl Scatter {
    /// Draws the plot.
    pub(crate) fn draw(&self) -> Figure {
        let mut drawing = Drawing::default();
        drawing.text(0.0, 16.0, Type::new(TITLE, Color::Ink).bold(true), &self.title);
        drawing.text(0.0, 34.0, Type::new(SMALL, Color::Muted), &text::fit(&self.subtitle, SMALL, WIDTH));
        let (x, y) = self.axes();
        let (right, bottom) = (LEFT + PLOT.0, TOP + PLOT.1);
        self.draw_axes(&mut drawing, &x, &y, right, bottom);
        let place = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            let finite = points.iter().filter(|point| point.0.is_finite() && point.1.is_finite());
            finite.map(|point| (x.at(point.0), y.at(point.1))).collect()
        };
        for cloud in &self.clouds {
            drawing.dots(&place(&cloud.dots), 1.9, cloud.color, 0.6);
            drawing.rings(&place(&cloud.rings), 2.3, cloud.color, 0.75);
        }
        for Link { from, to, color } in &self.links {
            for (from, to) in place(&[*from]).into_iter().zip(place(&[*to])) {
                drawing.line(from, to, *color, 1.4, "");
            }
        }
        for cloud in &self.clouds {
            drawing.diamonds(&place(&cloud.diamonds), 5.5, cloud.color);
        }
        self.draw_key(&mut drawing, right + 24.0);
        drawing.finish(&self.name, &self.title, WIDTH, bottom + 40.0)
    }

    /// Axes with the same number of pixels per unit, centred on the data.
    fn axes(&self) -> (Scale, Scale) {
        let mut bounds = [(f64::INFINITY, f64::NEG_INFINITY); 2];
        for cloud in &self.clouds {
            for point in cloud.dots.iter().chain(&cloud.rings).chain(&cloud.diamonds) {
                for (bound, value) in bounds.iter_mut().zip([point.0, point.1]) {
                    if value.is_finite() {
                        *bound = (bound.0.min(value), bound.1.max(value));
                    }
                }
            }
        }
        let [x, y] = bounds.map(|(low, high)| if low <= high { (low, high) } else { (0.0, 1.0) });
        let unit = (((x.1 - x.0) / PLOT.0).max((y.1 - y.0) / PLOT.1) * 1.06).max(1e-12);
        let around = |(low, high): (f64, f64), pixels: f64| {
            let middle = f64::midpoint(low, high);
            (middle - unit * pixels / 2.0, middle + unit * pixels / 2.0)
        };
        let ((x_low, x_high), (y_low, y_high)) = (around(x, PLOT.0), around(y, PLOT.1));
        let x = Scale::exact(x_low, x_high, 6, (LEFT, LEFT + PLOT.0));
        (x, Scale::exact(y_low, y_high, 5, (TOP + PLOT.1, TOP)))
    }

    fn draw_axes(&self, drawing: &mut Drawing, x: &Scale, y: &Scale, right: f64, bottom: f64) {
        for (at, label) in x.ticks() {
            drawing.line((at, TOP), (at, bottom), Color::Grid, 1.0, "");
            drawing.text(at, bottom + 16.0, Type::new(SMALL, Color::Muted).anchored(Anchor::Middle), &label);
        }
        for (at, label) in y.ticks() {
            drawing.line((LEFT, at), (right, at), Color::Grid, 1.0, "");
            let style = Type::new(SMALL, Color::Muted).anchored(Anchor::End);
            drawing.text(LEFT - 6.0, at + SMALL * 0.35, style, &label);
        }
        drawing.line((LEFT, bottom), (right, bottom), Color::Axis, 1.0, "");
        drawing.line((LEFT, TOP), (LEFT, bottom), Color::Axis, 1.0, "");
        let style = Type::new(SMALL, Color::Muted);
        drawing.text(right, bottom + 33.0, style.anchored(Anchor::End), &self.labels.0);
        drawing.text(0.0, TOP - 8.0, style, &self.labels.1);
    }

    fn draw_key(&self, drawing: &mut Drawing, left: f64) {
        let mut y = TOP + 8.0;
        for (index, marker) in self.markers.iter().enumerate() {
            let at = [(left + 6.0, y - 4.0)];
            match index {
                0 => drawing.dots(&at, 2.4, Color::Muted, 1.0),
                1 => drawing.rings(&at, 2.6, Color::Muted, 1.0),
                _ => drawing.diamonds(&at, 5.5, Color::Muted),
            }
            drawing.text(left + 18.0, y, Type::new(SMALL, Color::Muted), marker);
            y += 18.0;
        }
        y += 8.0;
        for cloud in self.clouds.iter().rev() {
            drawing.rect((left, y - 9.0), (left + 12.0, y), cloud.color);
            let name = text::fit(&cloud.name, LABEL, WIDTH - left - 18.0);
            drawing.text(left + 18.0, y, Type::new(LABEL, Color::Ink), &name);
            y += 19.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(dots: Vec<(f64, f64)>) -> Scatter {
        let links = dots
            .iter()
            .zip(dots.iter().skip(1))
            .map(|(&from, &to)| Link { from, to, color: Color::Series(1) })
            .collect();
        Scatter {
            name: "s".into(),
            title: "Cells".into(),
            subtitle: String::new(),
            labels: ("PC 1".into(), "PC 2".into()),
            markers: ["cell".into(), "predicted cell".into(), "centre".into()],
            clouds: vec![Cloud {
                name: "A+B".into(),
                color: Color::Series(1),
                rings: dots.clone(),
                diamonds: dots.clone(),
                dots,
            }],
            links,
        }
    }

    #[test]
    fn a_unit_is_equally_long_on_both_axes() {
        let (x, y) = plot(vec![(0.0, 0.0), (30.0, 2.0)]).axes();
        assert!(((x.at(1.0) - x.at(0.0)) - (y.at(0.0) - y.at(1.0))).abs() < 1e-9);
    }

    #[test]
    fn odd_points_give_no_nan_and_the_same_bytes() {
        for points in
            [vec![], vec![(1.0, 1.0)], vec![(f64::NAN, 1.0), (f64::INFINITY, 2.0), (0.0, -1e308), (0.0, 1e308)]]
        {
            let markup = plot(points.clone()).draw().standalone();
            assert!(!markup.contains("NaN") && !markup.contains("inf"), "{markup}");
            assert_eq!(markup, plot(points).draw().standalone());
        }
    }
}
