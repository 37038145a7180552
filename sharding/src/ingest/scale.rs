//! Scales of normalised values: how they are told apart, and brought to the store's own, ln(1 + counts per 10,000).
//!
//! Guarantee: a scale is said to be found only where undoing it gives every cell looked at the same sum; conversion is
//! exact up to the rounding of f32, and values in the store's scale stay as they are, bit by bit.

use std::fmt;

/// Counts per cell in the store's scale.
const STORE_TARGET: f64 = 10_000.0;
/// Targets that are meant where a sum comes near.
const USUAL_TARGETS: [f64; 2] = [STORE_TARGET, 1_000_000.0];
/// Sums within this part of each other are equal: values may have been rounded.
const EQUAL: f64 = 1e-3;
/// Sums this part below a usual target are its: some genes were left out after the normalisation.
const NEARLY: f64 = 0.03;
/// Fewer cells may have like sums by chance.
const FEWEST_CELLS: usize = 8;

/// What was done to normalised counts `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// ln(1 + c).
    E,
    /// log2(1 + c).
    Two,
    /// log10(1 + c).
    Ten,
    /// Nothing.
    Linear,
}

impl Base {
    const ALL: [Self; 4] = [Self::E, Self::Two, Self::Ten, Self::Linear];

    /// The normalised count behind a value.
    fn undo(self, value: f64) -> f64 {
        match self {
            Self::E => value.exp_m1(),
            Self::Two => (value * std::f64::consts::LN_2).exp_m1(),
            Self::Ten => (value * std::f64::consts::LN_10).exp_m1(),
            Self::Linear => value,
        }
    }
}

/// A scale of normalised values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) base: Base,
    /// Sum of the normalised counts of a cell over all genes.
    pub(super) target: f64,
}

impl Scale {
    /// The store's scale.
    pub(super) const STORE: Self = Self { base: Base::E, target: STORE_TARGET };

    /// A scale as declared; what is not said is as in the store's.
    pub(super) fn declared(base: Option<Base>, target: Option<f64>) -> Self {
        Self { base: base.unwrap_or(Base::E), target: target.unwrap_or(STORE_TARGET) }
    }

    /// Whether a target is this scale's.
    pub(super) fn has_target(self, target: f64) -> bool {
        (self.target / target - 1.0).abs() <= EQUAL
    }

    /// Brings values to the store's scale.
    pub(super) fn convert(self, values: &mut [f32]) {
        if self == Self::STORE {
            return;
        }
        let factor = STORE_TARGET / self.target;
        for value in values {
            let same_target = factor == 1.0;
            *value = match self.base {
                Base::Two if same_target => f64::from(*value) * std::f64::consts::LN_2,
                Base::Ten if same_target => f64::from(*value) * std::f64::consts::LN_10,
                base => (factor * base.undo(f64::from(*value))).ln_1p(),
            } as f32;
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = thousands(self.target);
        match self.base {
            Base::E => write!(f, "ln(1 + counts per {target})"),
            Base::Two => write!(f, "log2(1 + counts per {target})"),
            Base::Ten => write!(f, "log10(1 + counts per {target})"),
            Base::Linear => write!(f, "counts per {target}, no logarithm taken"),
        }
    }
}

/// A number with commas, as `10,000`; decimals where it has some.
pub(super) fn thousands(number: f64) -> String {
    let text = format!("{:.0}", number.trunc());
    let mut grouped = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let cents = (100.0 * number.fract()).round() as u32;
    if cents == 0 || cents == 100 { grouped } else { format!("{grouped}.{cents:02}") }
}

/// Sums of the cells looked at, with every scale undone.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums([Vec<f64>; 4]);

impl Sums {
    /// Takes a cell's values.
    pub(super) fn add(&mut self, values: &[f32]) {
        // A cell without counts has no scale.
        if values.iter().any(|&value| value != 0.0) {
            for (base, sums) in Base::ALL.into_iter().zip(&mut self.0) {
                sums.push(values.iter().map(|&value| base.undo(f64::from(value))).sum());
            }
        }
    }

    /// The scale whose undoing gives all cells the same sum, if one does.
    pub(super) fn scale(&self) -> Option<Scale> {
        let found = Base::ALL.into_iter().zip(&self.0).filter_map(|(base, sums)| {
            let (target, spread) = common(sums)?;
            Some((Scale { base, target }, spread))
        });
        found.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(scale, _)| scale)
    }

    /// The largest sum with a base undone.
    pub(super) fn largest(&self, base: Base) -> f64 {
        self.0[base as usize].iter().copied().fold(0.0, f64::max)
    }

    /// The smallest sum with a base undone.
    pub(super) fn smallest(&self, base: Base) -> f64 {
        self.0[base as usize].iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// What nearly all sums are, if they are alike, and how far they lie apart.
fn common(sums: &[f64]) -> Option<(f64, f64)> {
    if sums.len() < FEWEST_CELLS || sums.iter().any(|sum| !sum.is_finite() || *sum <= 0.0) {
        return None;
    }
    let mut sums = sums.to_vec();
    sums.sort_by(f64::total_cmp);
    // A few cells may have been changed afterwards.
    let aside = sums.len() / 40;
    let (low, median, high) = (sums[aside], sums[sums.len() / 2], sums[sums.len() - 1 - aside]);
    let spread = (high - low) / median;
    let usual = USUAL_TARGETS.into_iter().find(|target| {
        let (below, above) = (1.0 - low / target, high / target - 1.0);
        above <= EQUAL && below <= if spread <= EQUAL { EQUAL } else { NEARLY }
    });
    let target = usual.or((spread <= EQUAL).then_some(median))?;
    Some((target, spread))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox::{Philox, Purpose};

    /// Normalised counts of some cells, scaled.
    fn cells(scale: Scale, genes: usize, kept: usize) -> Vec<Vec<f32>> {
        let mut random = Philox::new(5, Purpose::Trial, genes as u64, 0);
        let mut cell = || {
            let counts: Vec<f64> = (0..genes).map(|_| random.below(9) as f64).collect();
            let total: f64 = counts.iter().sum();
            let value = |count: &f64| {
                let share = scale.target * count / total;
                match scale.base {
                    Base::E => share.ln_1p(),
                    Base::Two => (1.0 + share).log2(),
                    Base::Ten => (1.0 + share).log10(),
                    Base::Linear => share,
                }
            };
            counts[..kept].iter().map(|count| value(count) as f32).collect()
        };
        (0..40).map(|_| cell()).collect()
    }

    fn sums(cells: &[Vec<f32>]) -> Sums {
        let mut sums = Sums::default();
        for cell in cells {
            sums.add(cell);
        }
        sums
    }

    #[test]
    fn every_base_and_target_is_found_and_converted_to_the_stores_scale() {
        let want = cells(Scale::STORE, 60, 60);
        for base in Base::ALL {
            for target in [1e4, 1e6, 237.0, 4_361.5] {
                let scale = Scale { base, target };
                let mut scaled = cells(scale, 60, 60);
                let found = sums(&scaled).scale().unwrap();
                assert!(found.base == base && (found.target / target - 1.0).abs() < 1e-5, "{found:?} for {scale:?}");
                for (cell, want) in scaled.iter_mut().zip(&want) {
                    found.convert(cell);
                    for (value, want) in cell.iter().zip(want) {
                        assert!((value - want).abs() <= 2e-5 * want.max(1.0), "{value} for {want} from {scale}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_stores_own_scale_stays_as_it_is() {
        let want = cells(Scale::STORE, 60, 60);
        let mut same = want.clone();
        for cell in &mut same {
            sums(&want).scale().unwrap().convert(cell);
        }
        assert_eq!(same, want);
    }

    #[test]
    fn sums_over_a_part_of_the_genes_tell_no_scale() {
        for base in Base::ALL {
            assert_eq!(sums(&cells(Scale { base, target: 1e4 }, 60, 30)).scale(), None, "{base:?}");
        }
        assert_eq!(sums(&cells(Scale::STORE, 60, 60)[..7]).scale(), None, "seven cells may be alike by chance");
        // One gene of two thousand left out afterwards.
        assert_eq!(sums(&cells(Scale::STORE, 2000, 1999)).scale(), Some(Scale::STORE));
    }

    #[test]
    fn scales_are_said_in_words() {
        assert_eq!(Scale { base: Base::Two, target: 1e6 }.to_string(), "log2(1 + counts per 1,000,000)");
        assert_eq!(Scale { base: Base::Linear, target: 947.5 }.to_string(), "counts per 947.50, no logarithm taken");
    }
}
