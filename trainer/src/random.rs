//! A counter-based generator for choices that must not depend on the order of the data: which cells are kept,
//! which conditions a bootstrap draws. The value at a counter is a pure function of (seed, counter).

/// Odd constant of the golden ratio, the usual increment of a Weyl sequence.
const WEYL: u64 = 0x9E37_79B9_7F4A_7C15;

/// 64 mixed bits of (seed, counter).
pub(crate) fn mix(seed: u64, counter: u64) -> u64 {
    // Two rounds: one alone would make neighbouring seeds give shifted copies of one sequence.
    scramble(scramble(seed.wrapping_add(WEYL)).wrapping_add(counter.wrapping_mul(WEYL)))
}

/// A number below `bound`, from 64 mixed bits (multiply-shift; its bias is below `bound / 2^64`).
pub(crate) fn below(bits: u64, bound: usize) -> usize {
    ((u128::from(bits) * bound as u128) >> 64) as usize
}

/// The finaliser of SplitMix64.
fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{below, mix};

    /// Standard normal draws for tests, by the sum of twelve uniforms.
    pub(crate) fn normal(seed: u64, counter: u64) -> f64 {
        let uniform = |part: u64| (mix(seed, counter * 12 + part) >> 11) as f64 / (1u64 << 53) as f64;
        (0..12).map(uniform).sum::<f64>() - 6.0
    }

    #[test]
    fn draws_are_uniform_and_differ_between_seeds() {
        let mut counts = [0usize; 10];
        for counter in 0..100_000 {
            counts[below(mix(7, counter), 10)] += 1;
        }
        let chi: f64 = counts.iter().map(|&n| (n as f64 - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 30.0, "χ² with 9 degrees of freedom is {chi}");
        assert!((0..1000).all(|counter| mix(1, counter) != mix(2, counter)));
    }
}
