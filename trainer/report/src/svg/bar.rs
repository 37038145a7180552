//! Horizontal bars with interval whiskers, in groups that share one axis; the numbers stand in a column beside them.

use super::color::Color;
use super::scale::{Scale, Spacing};
use super::{Anchor, Drawing, Figure, LABEL, SMALL, TITLE, Type, text};

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// What is measured.
    pub(crate) label: String,
    /// Its value; `None` is written as `undefined`.
    pub(crate) value: Option<f64>,
    /// Interval of the value.
    pub(crate) interval: Option<(f64, f64)>,
    /// The value as text.
    pub(crate) text: String,
    /// Colour.
    pub(crate) color: Color,
    /// Whether label and value are bold.
    pub(crate) bold: bool,
}

/// Bars under one heading, with reference lines across them.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Heading; none where it is empty.
    pub(crate) heading: String,
    /// The bars, from top to bottom.
    pub(crate) bars: Vec<Bar>,
    /// Vertical lines: value and name.
    pub(crate) references: Vec<(f64, String)>,
}

/// A bar chart.
#[derive(Clone, Debug)]
pub(crate) struct BarChart {
    /// File name without its ending.
    pub(crate) name: String,
    /// Title.
    pub(crate) title: String,
    /// Line under the title.
    pub(crate) subtitle: String,
    /// Groups, from top to bottom.
    pub(crate) groups: Vec<Group>,
    /// Colours and what they stand for; none where it is empty.
    pub(crate) legend: Vec<(Color, String)>,
    /// Height of a row.
    pub(crate) row: f64,
    /// Width of the chart.
    pub(crate) width: f64,
}

const MOST_LABEL: f64 = 210.0;

impl BarChart {
    /// Draws the chart.
    pub(crate) fn draw(&self) -> Figure {
        let mut drawing = Drawing::default();
        drawing.text(0.0, 16.0, Type::new(TITLE, Color::Ink).bold(true), &self.title);
        drawing.text(0.0, 34.0, Type::new(SMALL, Color::Muted), &text::fit(&self.subtitle, SMALL, self.width));
        let mut y = 46.0;
        if !self.legend.is_empty() {
            self.draw_legend(&mut drawing, y + 8.0);
            y += 22.0;
        }
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let left = widest(&mut bars().map(|bar| text::width(&bar.label, LABEL) * 1.06)).min(MOST_LABEL) + 12.0;
        let right = self.width - widest(&mut bars().map(|bar| text::width(&bar.text, SMALL) * 1.06)) - 16.0;
        let axis = self.axis((left, right));
        for group in &self.groups {
            y = self.draw_group(&mut drawing, group, &axis, (left, right), y);
        }
        for (at, label) in axis.ticks() {
            drawing.text(at, y + 6.0, Type::new(SMALL, Color::Muted).anchored(Anchor::Middle), &label);
        }
        drawing.finish(&self.name, &self.title, self.width, y + 14.0)
    }

    fn axis(&self, pixels: (f64, f64)) -> Scale {
        let (mut low, mut high) = (0.0f64, 0.0f64);
        for group in &self.groups {
            let bars = group.bars.iter().flat_map(|bar| {
                let (from, to) = bar.interval.map_or((None, None), |(from, to)| (Some(from), Some(to)));
                [bar.value, from, to]
            });
            let references = group.references.iter().map(|reference| Some(reference.0));
            for value in bars.chain(references).flatten().filter(|value| value.is_finite()) {
                (low, high) = (low.min(value), high.max(value));
            }
        }
        Scale::nice(Spacing::Linear, low, high, 5, pixels)
    }

    fn draw_legend(&self, drawing: &mut Drawing, y: f64) {
        let mut x = 0.0;
        for (color, name) in &self.legend {
            drawing.rect((x, y - 8.0), (x + 14.0, y + 1.0), *color);
            drawing.text(x + 20.0, y, Type::new(SMALL, Color::Ink), name);
            x += 20.0 + text::width(name, SMALL) + 18.0;
        }
    }

    /// Draws a group from `y` on; returns where the next one begins.
    fn draw_group(&self, drawing: &mut Drawing, group: &Group, axis: &Scale, edges: (f64, f64), mut y: f64) -> f64 {
        let (left, right) = edges;
        if !group.heading.is_empty() {
            drawing.text(0.0, y + 16.0, Type::new(LABEL, Color::Ink).bold(true), &group.heading);
            y += 26.0;
        }
        let names = draw_references(drawing, group, axis, edges, y);
        y += names;
        let bottom = y + self.row * group.bars.len() as f64;
        for (at, _) in axis.ticks() {
            drawing.line((at, y), (at, bottom), Color::Grid, 1.0, "");
        }
        for (index, bar) in group.bars.iter().enumerate() {
            let middle = y + self.row * (index as f64 + 0.5);
            let base = middle + LABEL * 0.35;
            let label = text::fit(&bar.label, LABEL, MOST_LABEL);
            let style = Type::new(LABEL, Color::Ink).anchored(Anchor::End).bold(bar.bold);
            drawing.text(left - 10.0, base, style, &label);
            let (words, color) =
                if bar.value.is_some() { (bar.text.as_str(), Color::Ink) } else { ("undefined", Color::Muted) };
            drawing.text(right + 12.0, base, Type::new(SMALL, color).bold(bar.bold), words);
            self.draw_bar(drawing, bar, axis, middle);
        }
        for (value, _) in &group.references {
            drawing.line((axis.at(*value), y - 2.0), (axis.at(*value), bottom), Color::Ink, 1.0, "2 3");
        }
        drawing.line((axis.at(0.0), y), (axis.at(0.0), bottom), Color::Axis, 1.0, "");
        bottom + 14.0
    }

    fn draw_bar(&self, drawing: &mut Drawing, bar: &Bar, axis: &Scale, middle: f64) {
        let Some(value) = bar.value.filter(|value| value.is_finite()) else { return };
        let half = self.row * 0.32;
        drawing.rect((axis.at(0.0), middle - half), (axis.at(value), middle + half), bar.color);
        let Some((low, high)) = bar.interval else { return };
        let (low, high) = (axis.at(low), axis.at(high));
        drawing.line((low, middle), (high, middle), Color::Ink, 1.2, "");
        for end in [low, high] {
            drawing.line((end, middle - half * 0.55), (end, middle + half * 0.55), Color::Ink, 1.2, "");
        }
    }
}

/// Writes the names of the reference lines above the bars, side by side; returns the height they take.
fn draw_references(drawing: &mut Drawing, group: &Group, axis: &Scale, edges: (f64, f64), y: f64) -> f64 {
    let mut rows: Vec<f64> = Vec::new();
    let mut sorted: Vec<&(f64, String)> = group.references.iter().collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (value, name) in sorted {
        let half = text::width(name, SMALL) / 2.0;
        let at = axis.at(*value).clamp(edges.0 + half.min(200.0), (edges.1 - half).max(edges.0 + half.min(200.0)));
        let row = rows.iter().position(|&free| at - half >= free).unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(0.0);
        }
        rows[row] = at + half + 8.0;
        let style = Type::new(SMALL, Color::Muted).anchored(Anchor::Middle);
        drawing.text(at, y + SMALL + row as f64 * (SMALL + 3.0), style, name);
    }
    if rows.is_empty() { 0.0 } else { rows.len() as f64 * (SMALL + 3.0) + 5.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[Option<f64>]) -> BarChart {
        let bars = values.iter().enumerate().map(|(index, &value)| Bar {
            label: format!("method <{index}>"),
            value,
            interval: value.map(|value| (value - 1.0, value + 1.0)),
            text: "1".into(),
            color: Color::Series(0),
            bold: index == 0,
        });
        BarChart {
            name: "b".into(),
            title: "L2".into(),
            subtitle: "lower is better".into(),
            groups: vec![Group {
                heading: "test".into(),
                bars: bars.collect(),
                references: vec![(0.5, "chance".into())],
            }],
            legend: vec![(Color::Bar, "baseline".into())],
            row: 20.0,
            width: 760.0,
        }
    }

    #[test]
    fn an_undefined_value_is_written_and_has_no_bar() {
        let markup = chart(&[Some(1.0), None]).draw().inline();
        assert!(markup.contains(">undefined<"));
        assert_eq!(markup.matches("<rect").count(), 2, "one bar and one swatch");
    }

    #[test]
    fn odd_values_give_no_nan() {
        for values in
            [vec![], vec![None], vec![Some(f64::NAN)], vec![Some(f64::INFINITY)], vec![Some(-1e300), Some(1e300)]]
        {
            let markup = chart(&values).draw().inline();
            assert!(!markup.contains("NaN") && !markup.contains("inf"), "{markup}");
        }
    }

    #[test]
    fn the_same_chart_gives_the_same_bytes() {
        let draw = || chart(&[Some(1.0), Some(-2.0), None]).draw().standalone();
        assert_eq!(draw(), draw());
    }
}
