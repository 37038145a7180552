//! Figures as SVG: line charts, bars with intervals and scatter plots, drawn here without any other program.
//!
//! Guarantees: the same input gives the same bytes; no coordinate is NaN or infinite; all text is escaped; a figure
//! reads the same inside the page and as a file of its own, on light and on dark paper.

pub(crate) mod bar;
pub(crate) mod color;
pub(crate) mod line;
pub(crate) mod scale;
pub(crate) mod scatter;
pub(crate) mod text;

use std::fmt::Write as _;

use color::Color;

/// First bytes of a stand-alone figure; tells our figures from other files in the folder.
pub(crate) const SIGNATURE: &str = "<!-- figure of syncyte report -->";

/// Font size of titles.
pub(crate) const TITLE: f64 = 13.5;
/// Font size of labels.
pub(crate) const LABEL: f64 = 11.5;
/// Font size of ticks and notes.
pub(crate) const SMALL: f64 = 10.5;

/// Margin of a stand-alone figure.
const MARGIN: u32 = 14;

/// Side of the anchor on which text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// Text begins at the anchor.
    Start,
    /// Text is centred on the anchor.
    Middle,
    /// Text ends at the anchor.
    End,
}

/// How a text is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Type {
    /// Font size.
    pub(crate) size: f64,
    /// Colour.
    pub(crate) color: Color,
    /// Side of the anchor.
    pub(crate) anchor: Anchor,
    /// Whether it is set bold.
    pub(crate) bold: bool,
}

impl Type {
    /// Text that begins at its anchor.
    pub(crate) fn new(size: f64, color: Color) -> Self {
        Self { size, color, anchor: Anchor::Start, bold: false }
    }

    /// The same, at another side of the anchor.
    pub(crate) fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// The same, bold.
    pub(crate) fn bold(self, bold: bool) -> Self {
        Self { bold, ..self }
    }
}

/// A finished figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    /// File name without its ending.
    pub(crate) name: String,
    title: String,
    width: u32,
    height: u32,
    body: String,
}

impl Figure {
    /// Markup for the page, whose style sheet holds [`color::STYLE`].
    pub(crate) fn inline(&self) -> String {
        let (width, height, title) = (self.width, self.height, text::escape(&self.title));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\"><title>{title}</title>{}</svg>",
            self.body
        )
    }

    /// The figure as a file of its own, with a margin.
    pub(crate) fn standalone(&self) -> String {
        let (width, height, title) = (self.width + 2 * MARGIN, self.height + 2 * MARGIN, text::escape(&self.title));
        let paper = Color::Paper.fill();
        format!(
            "{SIGNATURE}\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-{MARGIN} -{MARGIN} {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\"><title>{title}</title><style>{}</style>\
             <rect {paper} x=\"-{MARGIN}\" y=\"-{MARGIN}\" width=\"{width}\" height=\"{height}\"/>{}</svg>\n",
            color::STYLE.replace('\n', ""),
            self.body
        )
    }
}

/// Collects the marks of a figure.
#[derive(Debug, Default)]
pub(crate) struct Drawing {
    body: String,
}

impl Drawing {
    /// Ends the drawing.
    pub(crate) fn finish(self, name: &str, title: &str, width: f64, height: f64) -> Figure {
        let (width, height) = (width.ceil() as u32, height.ceil() as u32);
        Figure { name: name.into(), title: title.into(), width, height, body: self.body }
    }

    /// Adds markup as it is.
    fn push(&mut self, markup: &str) {
        self.body.push_str(markup);
    }

    /// A line of text.
    pub(crate) fn text(&mut self, x: f64, y: f64, style: Type, text: &str) {
        let anchor = match style.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let weight = if style.bold { " font-weight=\"600\"" } else { "" };
        let (x, y, size, color) = (px(x), px(y), px(style.size), style.color.text());
        let text = text::escape(text);
        let font = "font-family=\"Helvetica,Arial,sans-serif\"";
        self.push(&format!(
            "<text {color} {font} x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{anchor}{weight}>{text}</text>"
        ));
    }

    /// A straight line; `dashes` as in `stroke-dasharray`, empty for none.
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), color: Color, width: f64, dashes: &str) {
        let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        let (x1, y1, x2, y2) = (px(from.0), px(from.1), px(to.0), px(to.1));
        let (color, width) = (color.stroke(), px(width));
        self.push(&format!(
            "<line {color} x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke-width=\"{width}\"{dashes}/>"
        ));
    }

    /// A filled rectangle between two corners.
    pub(crate) fn rect(&mut self, from: (f64, f64), to: (f64, f64), color: Color) {
        let (x, y) = (px(from.0.min(to.0)), px(from.1.min(to.1)));
        let (width, height) = (px((to.0 - from.0).abs()), px((to.1 - from.1).abs()));
        self.push(&format!("<rect {} x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>", color.fill()));
    }

    /// A line through points; points that are not finite interrupt it.
    pub(crate) fn path(&mut self, points: &[(f64, f64)], color: Color, width: f64, opacity: f64) {
        let mut track = String::new();
        let mut pen_down = false;
        for &(x, y) in points {
            if !x.is_finite() || !y.is_finite() {
                pen_down = false;
                continue;
            }
            let _ = write!(track, "{}{} {}", if pen_down { 'L' } else { 'M' }, px(x), px(y));
            pen_down = true;
        }
        if track.is_empty() {
            return;
        }
        let (color, width, opacity) = (color.stroke(), px(width), px(opacity));
        self.push(&format!(
            "<path {color} stroke-width=\"{width}\" stroke-linejoin=\"round\" opacity=\"{opacity}\" d=\"{track}\"/>"
        ));
    }

    /// Dots of one radius and colour.
    pub(crate) fn dots(&mut self, points: &[(f64, f64)], radius: f64, color: Color, opacity: f64) {
        if points.is_empty() {
            return;
        }
        self.push(&format!("<g {} opacity=\"{}\">", color.fill(), px(opacity)));
        let radius = px(radius);
        for &(x, y) in points {
            self.push(&format!("<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\"/>", px(x), px(y)));
        }
        self.push("</g>");
    }

    /// Open circles of one radius and colour.
    pub(crate) fn rings(&mut self, points: &[(f64, f64)], radius: f64, color: Color, opacity: f64) {
        if points.is_empty() {
            return;
        }
        self.push(&format!("<g {} stroke-width=\"0.9\" opacity=\"{}\">", color.stroke(), px(opacity)));
        let radius = px(radius);
        for &(x, y) in points {
            self.push(&format!("<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\"/>", px(x), px(y)));
        }
        self.push("</g>");
    }

    /// Diamonds with an outline in the colour of the paper, so that they stand out of a cloud.
    pub(crate) fn diamonds(&mut self, points: &[(f64, f64)], radius: f64, color: Color) {
        for &(x, y) in points {
            let (x, y, r) = (px(x), px(y), px(radius));
            let track = format!("M{x} {y}m0 -{r}l{r} {r}l-{r} {r}l-{r} -{r}z");
            self.push(&format!("<path {} stroke-width=\"3\" d=\"{track}\"/>", Color::Paper.stroke()));
            self.push(&format!("<path {} d=\"{track}\"/>", color.fill()));
        }
    }
}

/// A coordinate with at most two decimals. Not finite never comes here from a [`scale::Scale`]; should it, it is 0.
fn px(value: f64) -> String {
    if !value.is_finite() {
        return "0".into();
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

/// Moves labels apart so that none is closer than `gap` to the next, and all stay within `low..high`, moving each as
/// little as that allows. Returns the new position of every label.
pub(crate) fn spread(positions: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..positions.len()).collect();
    order.sort_by(|&a, &b| positions[a].total_cmp(&positions[b]));
    let mut placed: Vec<f64> = order.iter().map(|&index| positions[index]).collect();
    for index in 1..placed.len() {
        placed[index] = placed[index].max(placed[index - 1] + gap);
    }
    let mut ceiling = high;
    for place in placed.iter_mut().rev() {
        *place = place.min(ceiling);
        ceiling = *place - gap;
    }
    let mut floor = low;
    for place in &mut placed {
        *place = place.max(floor);
        floor = *place + gap;
    }
    let mut result = vec![0.0; positions.len()];
    for (place, index) in placed.into_iter().zip(order) {
        result[index] = place;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_moved_apart_and_stay_inside() {
        let spaced = spread(&[50.0, 10.0, 52.0, 99.0], 12.0, 0.0, 100.0);
        let mut sorted = spaced.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 12.0 - 1e-9), "{spaced:?}");
        assert!(sorted[0] >= 0.0 && sorted[3] <= 100.0);
        assert!(spaced[0] < spaced[2], "order is kept");
    }

    #[test]
    fn coordinates_are_short_and_finite() {
        assert_eq!(px(1.50001), "1.5");
        assert_eq!(px(-0.0001), "0");
        assert_eq!(px(f64::NAN), "0");
        assert_eq!(px(f64::INFINITY), "0");
    }

    #[test]
    fn the_text_of_a_figure_is_escaped() {
        let mut drawing = Drawing::default();
        drawing.text(0.0, 0.0, Type::new(10.0, Color::Ink), "<script>&");
        let figure = drawing.finish("f", "a < b", 10.0, 10.0);
        for markup in [figure.inline(), figure.standalone()] {
            assert!(
                !markup.contains("<script>") && markup.contains("&lt;script&gt;&amp;") && markup.contains("a &lt; b")
            );
        }
    }
}
