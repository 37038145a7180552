//! Negative-binomial counts by inversion: one uniform a count.
//!
//! A count of mean μ and dispersion φ (variance μ + φμ²) has P(0) = (1 + φμ)^(−1/φ) and
//! P(k + 1) = P(k) · odds · (1/φ + k) / (k + 1) with odds = φμ / (1 + φμ). The count is the least k whose
//! cumulative probability exceeds the uniform. Most counts of a cell are zero, which costs one comparison; a
//! count k costs k steps, so a cell costs its library size in steps of a few cycles.
//!
//! Guarantee: the distribution is exact to 1e-9 in cumulative probability, which is the grid of the uniforms.

use super::elementary::{exp, ln_1p};

/// Dispersion below which a negative binomial is Poisson for any purpose here, and above which P(0) of every
/// mean below 1e6 is a normal number.
pub(super) const LEAST_DISPERSION: f64 = 0.02;

/// Reciprocals 1/k are looked up below this.
const RECIPROCALS: usize = 256;

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    none: Vec<f64>,
    some: Vec<u32>,
}

/// Counts of a panel of genes.
pub(super) struct NegativeBinomial {
    dispersion: Vec<f64>,
    size: Vec<f64>,
    reciprocal: Vec<f64>,
}

impl NegativeBinomial {
    /// Of genes of the given dispersions, which are raised to [`LEAST_DISPERSION`].
    pub(super) fn new(dispersion: impl Iterator<Item = f64>) -> Self {
        let dispersion: Vec<f64> = dispersion.map(|phi| phi.max(LEAST_DISPERSION)).collect();
        let size = dispersion.iter().map(|phi| 1.0 / phi).collect();
        Self { dispersion, size, reciprocal: (0..RECIPROCALS).map(|k| 1.0 / k as f64).collect() }
    }

    /// Passes every gene with a count above zero to `found`, in order. `means` and `words`, which are spent as
    /// uniforms, have one entry per gene.
    pub(super) fn sample(&self, means: &[f64], words: &[u32], scratch: &mut Scratch, mut found: impl FnMut(u32, u32)) {
        let Scratch { none, some } = scratch;
        none.clear();
        none.extend(
            means
                .iter()
                .zip(&self.dispersion)
                .zip(&self.size)
                .map(|((mean, phi), size)| exp(-size * ln_1p(phi * mean))),
        );
        some.clear();
        some.resize(means.len(), 0);
        // Without a branch: which genes are zero cannot be foretold.
        let mut kept = 0;
        for (gene, (&word, none)) in words.iter().zip(none.iter()).enumerate() {
            some[kept] = gene as u32;
            kept += usize::from(uniform(word) >= *none);
        }
        for &gene in &some[..kept] {
            let at = gene as usize;
            found(gene, self.invert(at, means[at], none[at], uniform(words[at])));
        }
    }

    /// The least count whose cumulative probability exceeds `uniform`, which is at least `none`, that of zero.
    #[inline]
    fn invert(&self, gene: usize, mean: f64, none: f64, uniform: f64) -> u32 {
        let spread = self.dispersion[gene] * mean;
        let odds = spread / (1.0 + spread);
        let more = odds * (self.size[gene] - 1.0);
        let (mut probability, mut cumulative, mut count) = (none, none, 0_u32);
        while cumulative <= uniform && probability > 0.0 {
            count += 1;
            let at = count as usize;
            let reciprocal = if at < RECIPROCALS { self.reciprocal[at] } else { 1.0 / at as f64 };
            probability *= odds + more * reciprocal;
            cumulative += probability;
        }
        count
    }
}

/// The middle of the interval that a word stands for: never 0 and never 1.
#[inline]
fn uniform(word: u32) -> f64 {
    (f64::from(word) + 0.5) * (1.0 / 4_294_967_296.0)
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, Gamma, Poisson};

    use super::{NegativeBinomial, Scratch};
    use crate::philox::{Philox, Purpose};

    const DRAWS: usize = 200_000;

    /// Histogram of the counts drawn by inversion.
    fn inverted(mean: f64, phi: f64, length: usize) -> Vec<f64> {
        let sampler = NegativeBinomial::new(std::iter::repeat_n(phi, 1_000));
        let mut random = Philox::new(4, Purpose::Trial, 0, 0);
        let (mut words, mut scratch) = (vec![0; 1_000], Scratch::default());
        let mut histogram = vec![0.0; length];
        for _ in 0..DRAWS / 1_000 {
            random.fill(&mut words);
            let mut zeros = 1_000;
            sampler.sample(&vec![mean; 1_000], &words, &mut scratch, |_, count| {
                zeros -= 1;
                histogram[(count as usize).min(length - 1)] += 1.0;
            });
            histogram[0] += f64::from(zeros);
        }
        histogram
    }

    /// Histogram of a Poisson count of a gamma-distributed mean, the textbook construction.
    fn compounded(mean: f64, phi: f64, length: usize) -> Vec<f64> {
        let mut random = Philox::new(5, Purpose::Trial, 0, 0);
        let gamma = Gamma::new(1.0 / phi, phi).unwrap();
        let mut histogram = vec![0.0; length];
        for _ in 0..DRAWS {
            let count: f64 = Poisson::new(mean * gamma.sample(&mut random)).unwrap().sample(&mut random);
            histogram[(count as usize).min(length - 1)] += 1.0;
        }
        histogram
    }

    #[test]
    fn inversion_draws_what_gamma_and_poisson_together_draw() {
        for (mean, phi) in [(0.01, 0.2), (0.4, 0.05), (1.6, 0.2), (9.0, 0.02), (40.0, 0.3), (900.0, 0.15)] {
            let length = (4.0 * mean) as usize + 12;
            let (own, textbook) = (inverted(mean, phi, length), compounded(mean, phi, length));
            // Two-sample chi-squared over bins of at least twenty counts.
            let (mut chi2, mut bins, mut a, mut b) = (0.0, 0.0, 0.0, 0.0);
            for (x, y) in own.iter().zip(&textbook) {
                (a, b) = (a + x, b + y);
                if a + b >= 40.0 {
                    chi2 += (a - b) * (a - b) / (a + b);
                    bins += 1.0;
                    (a, b) = (0.0, 0.0);
                }
            }
            let z = (chi2 - bins) / (2.0_f64 * bins).sqrt();
            assert!(bins >= 2.0 && z < 4.0, "mean {mean}, dispersion {phi}: {chi2} over {bins} bins");
        }
    }

    #[test]
    fn moments_are_those_of_a_negative_binomial() {
        for (mean, phi) in [(0.7, 0.4), (25.0, 0.2), (3_000.0, 0.02)] {
            let histogram = inverted(mean, phi, 20_000);
            let moment = |power: i32| {
                let sum: f64 = histogram.iter().enumerate().map(|(k, n)| n * (k as f64 - mean).powi(power)).sum();
                sum / DRAWS as f64
            };
            let variance = mean + phi * mean * mean;
            assert!(moment(1).abs() < 4.0 * (variance / DRAWS as f64).sqrt(), "mean is off by {}", moment(1));
            assert!((moment(2) / variance - 1.0).abs() < 0.03, "variance {} for {variance}", moment(2));
        }
    }

    #[test]
    fn counts_are_the_quantiles_that_scipy_gives() {
        // scipy.stats.nbinom.ppf((word + 0.5) / 2**32, 1 / phi, 1 / (1 + phi * mean))
        for (mean, phi, word, quantile) in [
            (3.0, 0.5, 1 << 31, 2),
            (100.0, 0.1, 1 << 30, 76),
            (2_000.0, 0.2, 3 << 30, 2_510),
            (1.0, 0.2, u32::MAX, 17),
            (1.0, 0.02, u32::MAX, 13),
        ] {
            let mut count = 0;
            NegativeBinomial::new([phi].into_iter()).sample(&[mean], &[word], &mut Scratch::default(), |_, found| {
                count = found;
            });
            assert_eq!(count, quantile, "mean {mean}, dispersion {phi}, word {word}");
        }
    }
}
