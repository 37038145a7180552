//! Axes: where the ticks go, how they read, and where a value lies between two pixels.
//!
//! Guarantee: a scale maps every finite value to a finite pixel, however degenerate its range is.

use super::text;

/// Spacing of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// Equal differences are equally long.
    Linear,
    /// Equal ratios are equally long; only for positive values.
    Log,
}

/// An axis between two pixels.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    spacing: Spacing,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Scale {
    /// An axis over `low..high` that starts and ends on a tick, with about `count` ticks.
    pub(crate) fn nice(spacing: Spacing, low: f64, high: f64, count: usize, pixels: (f64, f64)) -> Self {
        let (low, high) = sane(spacing, low, high);
        let ticks = match spacing {
            Spacing::Linear => linear_ticks(low, high, count),
            Spacing::Log => log_ticks(low, high, count),
        };
        let low = ticks.first().map_or(low, |&first| first.min(low));
        let high = ticks.last().map_or(high, |&last| last.max(high));
        Self { spacing, low, high, from: pixels.0, to: pixels.1, ticks }
    }

    /// An axis over exactly `low..high`, with the ticks that lie inside.
    pub(crate) fn exact(low: f64, high: f64, count: usize, pixels: (f64, f64)) -> Self {
        let (low, high) = sane(Spacing::Linear, low, high);
        let mut ticks = linear_ticks(low, high, count);
        let slack = (high - low) * 1e-9;
        ticks.retain(|&tick| tick >= low - slack && tick <= high + slack);
        Self { spacing: Spacing::Linear, low, high, from: pixels.0, to: pixels.1, ticks }
    }

    /// Pixel of a value; values outside the axis land on its ends.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = match self.spacing {
            Spacing::Linear => (value - self.low) / (self.high - self.low),
            Spacing::Log if value > 0.0 => (value / self.low).ln() / (self.high / self.low).ln(),
            Spacing::Log => 0.0,
        };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.from + share * (self.to - self.from)
    }

    /// Positions of the ticks and how they read.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        self.ticks.iter().map(|&tick| (self.at(tick), self.label(tick))).collect()
    }

    fn label(&self, tick: f64) -> String {
        match (self.spacing, self.ticks.as_slice()) {
            (Spacing::Linear, [first, second, ..]) => text::tick(tick, second - first, largest(&self.ticks)),
            _ => text::tick(tick, tick, tick.abs()),
        }
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}

/// A range that is finite, not empty and, on a logarithmic axis, positive.
fn sane(spacing: Spacing, low: f64, high: f64) -> (f64, f64) {
    let limit = 1e200;
    let clean = |value: f64| if value.is_finite() { value.clamp(-limit, limit) } else { 0.0 };
    let (mut low, mut high) = (clean(low).min(clean(high)), clean(low).max(clean(high)));
    if spacing == Spacing::Log {
        high = if high > 0.0 { high } else { 1.0 };
        low = if low > 0.0 { low } else { high / 10.0 };
        if high / low < 1.0 + 1e-9 {
            (low, high) = (low / 2.0, high * 2.0);
        }
        return (low, high);
    }
    if high - low <= largest(&[low, high]) * 1e-12 {
        let margin = if low == 0.0 { 0.5 } else { low.abs() * 0.1 };
        (low, high) = (low - margin, high + margin);
    }
    (low, high)
}

/// Multiples of 1, 2 or 5 times a power of ten that enclose the range.
pub(crate) fn linear_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|unit| unit * power).find(|step| rough <= step * 1.000_001);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step + 1e-9).floor();
    let last = (high / step - 1e-9).ceil();
    let steps = (last - first).clamp(1.0, 100.0) as usize;
    (0..=steps).map(|index| (first + index as f64) * step).collect()
}

/// Powers of ten, with 2 and 5 between them where the range is short, thinned where it is long.
pub(crate) fn log_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let (first, last) = ((low.log10() + 1e-9).floor() as i32, (high.log10() - 1e-9).ceil() as i32);
    let decades = (last - first).max(1) as usize;
    if decades <= 2 {
        let units = [1.0, 2.0, 5.0];
        let all: Vec<f64> = (first..=last).flat_map(|power| units.map(|unit| unit * 10f64.powi(power))).collect();
        let from = all.iter().rposition(|&tick| tick <= low * 1.000_001).unwrap_or(0);
        let to = all.iter().position(|&tick| tick >= high * 0.999_999).unwrap_or(all.len() - 1);
        return all[from..=to.max(from)].to_vec();
    }
    let stride = decades.div_ceil(count.max(1)) as i32;
    let steps = (last - first + stride - 1) / stride;
    (0..=steps).map(|index| 10f64.powi(first + index * stride)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn linear_ticks_are_round_and_enclose_the_range() {
        assert_eq!(linear_ticks(0.0, 9.3, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let labels: Vec<String> =
            Scale::nice(Spacing::Linear, 0.0, 0.7, 4, (0.0, 1.0)).ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0", "0.2", "0.4", "0.6", "0.8"]);
    }

    #[test]
    fn log_ticks_are_decades_or_one_two_five() {
        assert_eq!(log_ticks(1.0, 1e4, 5), [1.0, 10.0, 100.0, 1e3, 1e4]);
        assert_eq!(log_ticks(3.0, 30.0, 5), [2.0, 5.0, 10.0, 20.0, 50.0]);
    }

    #[test]
    fn a_tick_below_zero_carries_a_minus_sign_and_zero_does_not() {
        let labels: Vec<String> = Scale::nice(Spacing::Linear, -1.0, 1.0, 4, (0.0, 1.0))
            .ticks()
            .into_iter()
            .map(|(_, label)| label)
            .collect();
        assert_eq!(labels, ["−1.0", "−0.5", "0", "0.5", "1.0"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_scale_maps_finite_values_to_finite_pixels(a in any::<f64>(), b in any::<f64>(), value in any::<f64>(), log in any::<bool>()) {
            let spacing = if log { Spacing::Log } else { Spacing::Linear };
            let scale = Scale::nice(spacing, a, b, 5, (10.0, 90.0));
            prop_assert!(scale.at(value).is_finite());
            prop_assert!(!scale.ticks().is_empty() && scale.ticks().len() <= 101);
            prop_assert!(scale.ticks().iter().all(|(at, _)| at.is_finite()));
        }

        #[test]
        fn nice_axes_enclose_their_range(low in -1e6..1e6f64, span in 1e-3..1e6f64) {
            let ticks = linear_ticks(low, low + span, 5);
            prop_assert!(ticks[0] <= low + span * 1e-6 && ticks[ticks.len() - 1] >= low + span * (1.0 - 1e-6));
            prop_assert!((3..=8).contains(&ticks.len()), "{ticks:?}");
        }
    }
}
