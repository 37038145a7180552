//! The counter-based random generator behind every draw: Philox4x32-10, in streams named by purpose.
//!
//! Guarantee: a draw is a pure function of (seed, purpose, a, b, position in the stream) and of nothing
//! else: no rank, no thread, no clock. Two purposes use different keys, so the same (a, b) under another
//! purpose is an unrelated stream; and within a purpose distinct (a, b) start at distinct counters.
//! The block function is checked against the known answers that its authors publish.

use std::convert::Infallible;

use rand_core::TryRng;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// What a stream is for. A purpose owns its key: two purposes never share a stream.
///
/// The numbers are part of every recorded run: never reuse or renumber one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
#[non_exhaustive]
pub enum Purpose {
    /// Order of the blocks in an epoch.
    Order = 1,
    /// Shuffle inside a window of blocks.
    Window = 2,
    /// Control partner of a perturbed cell.
    Pairing = 3,
    /// Assignment of cells and conditions to folds.
    Split = 4,
    /// Augmentation of counts.
    Augment = 5,
    /// Dropout inside a model.
    Dropout = 6,
    /// Initial parameters.
    Init = 7,
    /// The planted-truth generator.
    Synth = 8,
    /// Condition bags.
    Bag = 9,
    /// Noise and times of diffusion training and sampling.
    Diffusion = 10,
    /// Bootstrap and permutation statistics.
    Bootstrap = 11,
    /// Masks over genes.
    Mask = 12,
    /// Subsets of cells or genes drawn for an estimate.
    Subsample = 13,
    /// Numeric noise added to inputs or embeddings.
    Noise = 14,
    /// Fits of classical methods (PCA, k-means, probes).
    Fit = 15,
    /// Data made up for a test or a measurement.
    Trial = 16,
    /// Which data set a part of a mixed batch comes from.
    Mixture = 17,
    /// Perturbations and cells of batches that are balanced by perturbation.
    Balance = 18,
    /// Order of the cells of a store that is shuffled when it is written.
    Shuffle = 19,
    /// Rounding of fractional counts when they are imported.
    Rounding = 20,
}

/// The Philox4x32-10 block function: 128 random bits for a counter under a key.
#[inline]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let product0 = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let product1 = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (product1 >> 32) as u32 ^ counter[1] ^ key[0],
            product1 as u32,
            (product0 >> 32) as u32 ^ counter[3] ^ key[1],
            product0 as u32,
        ];
    }
    counter
}

/// One stream of random numbers.
///
/// ```
/// use syncyte_sharding::philox::{Philox, Purpose};
/// let mut first = Philox::new(42, Purpose::Pairing, 3, 17);
/// let mut again = Philox::new(42, Purpose::Pairing, 3, 17);
/// assert_eq!(first.next_u64(), again.next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Philox {
    key: [u32; 2],
    counter: u128,
    block: [u32; 4],
    used: usize,
}

impl Philox {
    /// The stream of `purpose` at (`a`, `b`): for instance (epoch, cell) or (step, shard).
    pub fn new(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        // One block under the seed gives the purpose two keys. The first scatters (a, b) over the 128-bit
        // counter space, which it does without collision because Philox is a bijection; the second draws.
        let derived = philox4x32([purpose as u32, 0, 0, 0], halves(seed));
        let [a, b] = [halves(a), halves(b)];
        let start = philox4x32([a[0], a[1], b[0], b[1]], [derived[0], derived[1]]);
        Self { key: [derived[2], derived[3]], counter: joined(start), block: [0; 4], used: 4 }
    }

    /// The next 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(words(self.counter), self.key);
            self.counter = self.counter.wrapping_add(1);
            self.used = 0;
        }
        let word = self.block[self.used];
        self.used += 1;
        word
    }

    /// The next `words.len()` words, the same as from [`Philox::next_u32`] one by one, but faster.
    pub fn fill(&mut self, words: &mut [u32]) {
        let left = (4 - self.used).min(words.len());
        let (head, rest) = words.split_at_mut(left);
        head.copy_from_slice(&self.block[self.used..self.used + left]);
        self.used += left;
        let (blocks, tail) = rest.as_chunks_mut::<4>();
        for (at, block) in blocks.iter_mut().enumerate() {
            *block = philox4x32(self::words(self.counter.wrapping_add(at as u128)), self.key);
        }
        self.counter = self.counter.wrapping_add(blocks.len() as u128);
        for word in tail {
            *word = self.next_u32();
        }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        low | u64::from(self.next_u32()) << 32
    }

    /// A number in [0, 1), on the grid of 2⁻⁵³.
    #[inline]
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number in [0, 1), on the grid of 2⁻²⁴.
    #[inline]
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1_u32 << 24) as f32)
    }

    /// A whole number in `0..n`, without bias.
    ///
    /// # Panics
    /// When `n` is 0: there is nothing to draw from.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below(0): nothing to draw from");
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            let low = product as u64;
            // Lemire's multiply-shift: reject the few values that would favour small results.
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 64) as u64;
            }
        }
    }

    /// A standard normal number (Box–Muller; two uniforms a draw, so no hidden state).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.next_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.next_f64()).cos()
    }

    /// Shuffles a slice (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

/// 64 bits for (seed, purpose, a, b): the head of that stream.
pub fn draw(seed: u64, purpose: Purpose, a: u64, b: u64) -> u64 {
    Philox::new(seed, purpose, a, b).next_u64()
}

impl TryRng for Philox {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_u32())
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        for chunk in target.chunks_mut(4) {
            let bytes = self.next_u32().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

fn words(counter: u128) -> [u32; 4] {
    [counter as u32, (counter >> 32) as u32, (counter >> 64) as u32, (counter >> 96) as u32]
}

fn joined(words: [u32; 4]) -> u128 {
    words.iter().rev().fold(0, |joined, &word| joined << 32 | u128::from(word))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand_core::Rng;
    use rand_distr::{Distribution, Gamma, Poisson};

    use super::{Philox, Purpose, draw, joined, philox4x32, words};

    #[test]
    fn blocks_match_the_published_known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, answer) in cases {
            assert_eq!(philox4x32(counter, key), answer);
        }
    }

    #[test]
    fn counters_survive_the_trip_through_words() {
        let counter = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978_u128;
        assert_eq!(joined(words(counter)), counter);
    }

    #[test]
    fn no_two_of_many_streams_start_alike() {
        let purposes = [Purpose::Order, Purpose::Window, Purpose::Pairing, Purpose::Trial];
        let mut heads = HashSet::new();
        for (seed, purpose) in [0_u64, 1, 42].iter().flat_map(|seed| purposes.map(|purpose| (*seed, purpose))) {
            for (a, b) in (0..40).flat_map(|a| (0..40).map(move |b| (a, b))) {
                assert!(heads.insert(draw(seed, purpose, a, b)), "{seed} {purpose:?} {a} {b}");
            }
        }
        assert_ne!(draw(1, Purpose::Order, 2, 3), draw(1, Purpose::Order, 3, 2));
        assert_ne!(draw(1, Purpose::Order, 1 << 32, 0), draw(1, Purpose::Order, 1, 0));
    }

    #[test]
    fn the_rng_trait_gives_the_same_words() {
        let stream = || Philox::new(7, Purpose::Trial, 0, 0);
        let (mut own, mut of_trait) = (stream(), stream());
        assert_eq!(own.next_u64(), Rng::next_u64(&mut of_trait));
        let mut bytes = [0_u8; 8];
        stream().fill_bytes(&mut bytes);
        assert_eq!(u64::from_le_bytes(bytes), stream().next_u64());
    }

    #[test]
    fn filling_gives_the_same_words_as_drawing_them_one_by_one() {
        for (before, length) in [(0, 0), (0, 4), (1, 2), (3, 9), (2, 17), (4, 64), (5, 3)] {
            let mut one_by_one = Philox::new(9, Purpose::Trial, 1, 2);
            let mut filled = one_by_one.clone();
            for _ in 0..before {
                assert_eq!(one_by_one.next_u32(), filled.next_u32());
            }
            let mut words = vec![0; length];
            filled.fill(&mut words);
            assert!(words.iter().all(|&word| word == one_by_one.next_u32()), "{before} {length}");
            assert_eq!(one_by_one.next_u32(), filled.next_u32());
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = Philox::new(3, Purpose::Trial, 0, 0);
        let n = 200_000;
        let mean = |sum: f64| sum / f64::from(n);
        let uniform = mean((0..n).map(|_| random.next_f64()).sum());
        let normals: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let (first, second) = (mean(normals.iter().sum()), mean(normals.iter().map(|x| x * x).sum()));
        assert!((uniform - 0.5).abs() < 0.005 && first.abs() < 0.01 && (second - 1.0).abs() < 0.02);
        let gamma = Gamma::new(2.0, 3.0).unwrap();
        let poisson = Poisson::new(4.0).unwrap();
        let gammas = mean((0..n).map(|_| gamma.sample(&mut random)).sum());
        let poissons = mean((0..n).map(|_| -> f64 { poisson.sample(&mut random) }).sum());
        assert!((gammas - 6.0).abs() < 0.05 && (poissons - 4.0).abs() < 0.03, "{gammas} {poissons}");
    }

    #[test]
    fn below_is_even_and_stays_below() {
        let mut random = Philox::new(5, Purpose::Trial, 0, 0);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        let chi2: f64 = counts.iter().map(|&count| (f64::from(count) - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 22.5, "chi-squared {chi2} on 6 degrees of freedom");
        assert_eq!(random.below(1), 0);
        assert!(random.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn shuffle_keeps_the_items() {
        let mut items: Vec<u32> = (0..100).collect();
        Philox::new(1, Purpose::Trial, 0, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
