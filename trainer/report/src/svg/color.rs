//! The colours of the figures: a palette that colour-blind readers can tell apart, on light and dark paper.
//!
//! A colour is written twice, as a plain attribute for programs that know no style sheets and as a class whose
//! value the style sheet changes in dark mode.

/// Style sheet of the figures, shared by the page and the stand-alone files.
pub(crate) const STYLE: &str = include_str!("theme.css");

/// Number of colours for categories.
pub(crate) const SERIES: usize = 8;

/// A named colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    /// The background.
    Paper,
    /// Text and emphasised marks.
    Ink,
    /// Secondary text.
    Muted,
    /// Grid lines.
    Grid,
    /// Axis lines.
    Axis,
    /// Points without a category of their own.
    Rest,
    /// Bars of baselines.
    Bar,
    /// Category, modulo [`SERIES`].
    Series(usize),
}

impl Color {
    /// Name in the classes `fig-f-…` (fill) and `fig-s-…` (stroke).
    fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Ink => "ink",
            Self::Muted => "muted",
            Self::Grid => "grid",
            Self::Axis => "axis",
            Self::Rest => "rest",
            Self::Bar => "bar",
            Self::Series(index) => ["0", "1", "2", "3", "4", "5", "6", "7"][index % SERIES],
        }
    }

    /// Value on light paper.
    fn light(self) -> &'static str {
        match self {
            Self::Paper => "#fff",
            Self::Ink => "#1c2127",
            Self::Muted => "#5c6670",
            Self::Grid => "#e4e8ec",
            Self::Axis => "#9aa4ae",
            Self::Rest => "#b9c1c9",
            Self::Bar => "#a9b3bd",
            Self::Series(index) => {
                ["#0072b2", "#d55e00", "#009e73", "#a24a9c", "#c98a00", "#3fa3dc", "#3d2c8d", "#882255"][index % SERIES]
            }
        }
    }

    /// Attributes of something filled.
    pub(crate) fn fill(self) -> String {
        format!(r#"class="fig-f-{}" fill="{}""#, self.name(), self.light())
    }

    /// Attributes of something drawn as a line.
    pub(crate) fn stroke(self) -> String {
        format!(r#"class="fig-s-{}" stroke="{}" fill="none""#, self.name(), self.light())
    }

    /// Attributes of text.
    pub(crate) fn text(self) -> String {
        format!(r#"class="fig-text fig-f-{}" fill="{}""#, self.name(), self.light())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_is_in_the_style_sheet_with_its_plain_value() {
        let names = [Color::Paper, Color::Ink, Color::Muted, Color::Grid, Color::Axis, Color::Rest, Color::Bar];
        for color in names.into_iter().chain((0..SERIES).map(Color::Series)) {
            assert!(STYLE.contains(&format!("--fig-{}:{}", color.name(), color.light())), "{color:?}");
        }
    }
}
