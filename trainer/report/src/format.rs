//! How numbers, intervals and durations read in the report.

use super::svg::text;
use syncyte_evaluation::benchmark::results::{Better, ResultRow};

/// How the values of one metric are written: alike for all methods and splits, so that they can be compared by eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digits {
    /// So many decimals.
    Fixed(usize),
    /// Powers of ten.
    Scientific,
}

impl Digits {
    /// Digits that show about three significant figures of the largest of some values.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let largest = values.filter(|value| value.is_finite()).fold(0.0f64, |most, value| most.max(value.abs()));
        if largest == 0.0 {
            return Self::Fixed(3);
        }
        if !(1e-3..1e6).contains(&largest) {
            return Self::Scientific;
        }
        let decimals = if largest < 1.0 { 2.0 - largest.log10().floor() } else { 3.0 - largest.log10().floor() };
        Self::Fixed(decimals.clamp(0.0, 5.0) as usize)
    }

    /// A value.
    pub(crate) fn value(self, value: f64) -> String {
        match self {
            Self::Fixed(decimals) => text::group(&text::fixed(value, decimals)),
            Self::Scientific => text::scientific(value, 2),
        }
    }

    /// A value with its sign.
    pub(crate) fn signed(self, value: f64) -> String {
        let text = self.value(value);
        if value > 0.0 { format!("+{text}") } else { text }
    }

    /// An interval.
    pub(crate) fn interval(self, low: f64, high: f64) -> String {
        format!("[{}, {}]", self.value(low), self.value(high))
    }

    /// Value and interval of a result, `undefined` where it has none.
    pub(crate) fn result(self, row: &ResultRow) -> String {
        match (row.value, row.ci_low, row.ci_high) {
            (Some(value), Some(low), Some(high)) => format!("{} {}", self.value(value), self.interval(low, high)),
            (Some(value), ..) => self.value(value),
            (None, ..) => "undefined".into(),
        }
    }
}

/// Arrow of the better direction.
pub(crate) fn arrow(better: Better) -> &'static str {
    match better {
        Better::Lower => "↓",
        Better::Higher => "↑",
    }
}

/// The better direction in words.
pub(crate) fn direction(better: Better) -> &'static str {
    match better {
        Better::Lower => "lower is better",
        Better::Higher => "higher is better",
    }
}

/// A wall time.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest:02} s"),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

/// Pieces of text, one after the other.
pub(crate) fn joined(pieces: impl Iterator<Item = String>) -> String {
    pieces.collect::<Vec<_>>().concat()
}

/// A count with its noun, which takes an s unless there is one.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", text::group(&number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_follow_the_largest_value() {
        assert_eq!(Digits::of([0.5, 0.02].into_iter()).value(0.02), "0.020");
        assert_eq!(Digits::of([123.4].into_iter()).value(123.4), "123.4");
        assert_eq!(Digits::of([12.34].into_iter()).value(5.0), "5.00");
        assert_eq!(Digits::of([0.012].into_iter()).value(0.012), "0.0120");
        assert_eq!(Digits::of([1e-7].into_iter()).value(1e-7), "1e−7");
        assert_eq!(Digits::Fixed(2).signed(0.5), "+0.50");
        assert_eq!(Digits::Fixed(2).signed(-0.5), "−0.50");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(3.12), "3.1 s");
        assert_eq!(duration(59.7), "1 min 00 s");
        assert_eq!(duration(3_725.0), "1 h 02 min");
        assert_eq!(duration(f64::NAN), "unknown");
    }

    #[test]
    fn a_result_without_value_is_undefined_not_zero() {
        assert_eq!(Digits::Fixed(3).result(&ResultRow::default()), "undefined");
    }
}
