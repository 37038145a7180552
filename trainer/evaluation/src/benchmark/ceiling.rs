//! What the true mean of a condition would score, given the cells that were measured: the ceiling of a metric.
//!
//! Distances of means have a closed form in the sampling variances of the measured mean: the expected squared error of the
//! true mean is their sum. Correlations have it from halves: cells 1 against cells 2, each referred to another half of
//! the controls, share the signal and no noise, so their covariance estimates the variance of the signal `S`; with `V` the
//! variance of what is scored, the true change correlates with it by `√(S / V)`. Where the controls have no noise that is
//! the root of the split-half correlation after Spearman and Brown, `√(2r / (1 + r))`. A negative covariance gives a negative
//! root, so that the mean over conditions without effect is 0 and not the mean of its noise.

use ndarray::Array1;

use super::measured::{Context, Measured, Truth};
use super::score::Values;
use super::space::Centre;
use crate::metric::Column;
use crate::metric::role::Ceiling;

/// The ceilings of the metrics of agreement, by column; `None` where a half has no cell. Estimates, which move when cells and
/// controls are drawn again.
pub(super) fn of_agreement(
    columns: &[Column],
    measured: &Measured,
    control: &[Centre; 2],
    context: &Context,
) -> Values {
    let mut values = Values::new();
    for (at, column) in columns.iter().enumerate() {
        let take = |centre: &Centre| context.vector(centre, column.space);
        let ceiling = match column.metric.ceiling {
            Ceiling::Agreement { centred } if context.halved() => agreement(&changes(measured, control, take), centred),
            Ceiling::Agreement { .. } => None,
            Ceiling::MeanAgreement => {
                let zero = Array1::zeros(take(&measured.mean).len());
                agreement(&changes_from(measured, &[zero.clone(), zero], take), false)
            }
            _ => continue,
        };
        values.insert(at, ceiling);
    }
    values
}

/// The ceilings of the errors of means, by column; `None` for one cell, of which no variance is known.
pub(super) fn of_errors(columns: &[Column], truth: &Truth, context: &Context) -> Values {
    let ceiling = |(at, column): (usize, &Column)| {
        let Ceiling::Variances(function) = column.metric.ceiling else { return None };
        let known = truth.n > 1;
        Some((at, known.then(|| function(context.vector(&truth.sampling, column.space).view())).flatten()))
    };
    columns.iter().enumerate().filter_map(ceiling).collect()
}

/// Changes of the halves, and of all cells, against references that share no noise: once each way.
pub(super) struct Halves {
    /// Pairs that share the signal alone.
    pub(super) pairs: [(Array1<f64>, Array1<f64>); 2],
    /// What is scored.
    pub(super) whole: [Array1<f64>; 2],
}

fn changes(measured: &Measured, control: &[Centre; 2], space: impl Fn(&Centre) -> Array1<f64>) -> Halves {
    let reference = [space(&control[0]), space(&control[1])];
    changes_from(measured, &reference, space)
}

fn changes_from(measured: &Measured, reference: &[Array1<f64>; 2], space: impl Fn(&Centre) -> Array1<f64>) -> Halves {
    let (first, second, whole) = (space(&measured.halves[0]), space(&measured.halves[1]), space(&measured.mean));
    let pair = |at: usize| (&first - &reference[at], &second - &reference[1 - at]);
    Halves { pairs: [pair(0), pair(1)], whole: [&whole - &reference[0], &whole - &reference[1]] }
}

/// `√(S / V)` with the sign of `S`, at most 1; centred for correlations. `None` where nothing varies.
pub(super) fn agreement(halves: &Halves, centred: bool) -> Option<f64> {
    let centre = |vector: &Array1<f64>| {
        let mean = if centred { vector.mean().unwrap_or(0.0) } else { 0.0 };
        vector - mean
    };
    let product = |a: &Array1<f64>, b: &Array1<f64>| centre(a).dot(&centre(b));
    let signal: f64 = halves.pairs.iter().map(|(first, second)| product(first, second)).sum();
    let scored: f64 = halves.whole.iter().map(|whole| product(whole, whole)).sum();
    (scored > 0.0).then(|| signal.signum() * (signal.abs() / scored).sqrt().min(1.0))
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;
    use syncyte_sharding::philox::{Philox, Purpose};

    use super::{Halves, agreement};
    use crate::metric::pearson;

    fn normal(stream: u64, n: usize, scale: f64) -> Array1<f64> {
        let mut random = Philox::new(8, Purpose::Trial, stream, 0);
        Array1::from_shape_simple_fn(n, || scale * random.normal())
    }

    #[test]
    fn without_noise_in_the_controls_it_is_the_root_of_spearman_and_brown() {
        let (signal, n) = (normal(1, 40_000, 1.0), 40_000);
        let (first, second) = (&signal + &normal(2, n, 1.5), &signal + &normal(3, n, 1.5));
        let whole = (&first + &second) / 2.0;
        let r = pearson(first.view(), second.view()).unwrap().unwrap();
        let expected = (2.0 * r / (1.0 + r)).sqrt();
        let halves =
            Halves { pairs: [(first.clone(), second.clone()), (first, second)], whole: [whole.clone(), whole.clone()] };
        let found = agreement(&halves, true).unwrap();
        assert!((found - expected).abs() < 0.01, "{found} against {expected}");
        let truth = pearson(signal.view(), whole.view()).unwrap().unwrap();
        assert!((found - truth).abs() < 0.01, "{found}, but the truth correlates by {truth}");
    }

    #[test]
    fn noise_of_the_controls_is_counted_and_nothing_but_noise_averages_to_zero() {
        let n = 2000;
        let (mut found, mut reached, mut empty) = (0.0, 0.0, 0.0);
        for trial in 0..200_u64 {
            let stream = 10 * trial;
            let signal = normal(stream, n, 1.0);
            let control = [normal(stream + 1, n, 1.0), normal(stream + 2, n, 1.0)];
            let noise = [normal(stream + 3, n, 2.0), normal(stream + 4, n, 2.0)];
            let of = |signal: &Array1<f64>| {
                let half = [signal + &noise[0], signal + &noise[1]];
                let whole = (&half[0] + &half[1]) / 2.0;
                let pair = |at: usize| (&half[0] - &control[at], &half[1] - &control[1 - at]);
                Halves { pairs: [pair(0), pair(1)], whole: [&whole - &control[0], &whole - &control[1]] }
            };
            let halves = of(&signal);
            found += agreement(&halves, true).unwrap() / 200.0;
            reached += pearson(signal.view(), halves.whole[0].view()).unwrap().unwrap() / 200.0;
            empty += agreement(&of(&Array1::zeros(n)), true).unwrap() / 200.0;
        }
        assert!((found - reached).abs() < 0.01, "{found} against {reached}");
        assert!(empty.abs() < 0.03, "{empty}");
    }
}
