//! A keyed permutation of `0..n` with direct access to every element.
//!
//! Guarantee: [`Permutation::get`] is a bijection of `0..n` for every key, and costs the same at every
//! position. Up to [`TABLE`] elements it is a shuffled table, uniform over all orders; above, a Feistel
//! network walked along its cycles, so memory does not grow with `n`.

use crate::philox::Philox;

/// Up to this many elements the permutation is held as a table.
pub const TABLE: u64 = 4096;
const ROUNDS: usize = 8;

/// A permutation of `0..n` chosen by a random stream.
#[derive(Clone, Debug)]
pub struct Permutation {
    n: u64,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Table(Vec<u16>),
    Feistel { low_bits: u32, high_bits: u32, keys: [u64; ROUNDS] },
}

impl Permutation {
    /// The permutation of `0..n` that `random` chooses.
    pub fn new(n: u64, random: &mut Philox) -> Self {
        let form = if n <= TABLE {
            let mut table: Vec<u16> = (0..n as u16).collect();
            random.shuffle(&mut table);
            Form::Table(table)
        } else {
            let bits = u64::BITS - (n - 1).leading_zeros();
            let low_bits = bits / 2;
            Form::Feistel { low_bits, high_bits: bits - low_bits, keys: std::array::from_fn(|_| random.next_u64()) }
        };
        Self { n, form }
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Whether there is nothing to permute.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The element at `position`.
    ///
    /// # Panics
    /// When `position` is not below [`Permutation::len`].
    pub fn get(&self, position: u64) -> u64 {
        assert!(position < self.n, "position {position} of a permutation of {}", self.n);
        match &self.form {
            Form::Table(table) => u64::from(table[position as usize]),
            // The network permutes the next power of two. Following the cycle until it comes back below n
            // keeps the map a bijection of 0..n, in fewer than two steps on average.
            Form::Feistel { low_bits, high_bits, keys } => {
                let mut element = feistel(position, *low_bits, *high_bits, keys);
                while element >= self.n {
                    element = feistel(element, *low_bits, *high_bits, keys);
                }
                element
            }
        }
    }

    /// The position of `element`: the inverse of [`Permutation::get`].
    ///
    /// # Panics
    /// When `element` is not below [`Permutation::len`].
    pub fn position_of(&self, element: u64) -> u64 {
        assert!(element < self.n, "element {element} of a permutation of {}", self.n);
        match &self.form {
            Form::Table(table) => table.iter().take_while(|&&held| u64::from(held) != element).count() as u64,
            Form::Feistel { low_bits, high_bits, keys } => {
                let mut position = inverse_feistel(element, *low_bits, *high_bits, keys);
                while position >= self.n {
                    position = inverse_feistel(position, *low_bits, *high_bits, keys);
                }
                position
            }
        }
    }
}

fn feistel(element: u64, low_bits: u32, high_bits: u32, keys: &[u64; ROUNDS]) -> u64 {
    let (low_mask, high_mask) = ((1 << low_bits) - 1, (1 << high_bits) - 1);
    let (mut low, mut high) = (element & low_mask, element >> low_bits);
    for pair in keys.chunks_exact(2) {
        low ^= mixed(high, pair[0]) & low_mask;
        high ^= mixed(low, pair[1]) & high_mask;
    }
    high << low_bits | low
}

fn inverse_feistel(element: u64, low_bits: u32, high_bits: u32, keys: &[u64; ROUNDS]) -> u64 {
    let (low_mask, high_mask) = ((1 << low_bits) - 1, (1 << high_bits) - 1);
    let (mut low, mut high) = (element & low_mask, element >> low_bits);
    for pair in keys.chunks_exact(2).rev() {
        high ^= mixed(low, pair[1]) & high_mask;
        low ^= mixed(high, pair[0]) & low_mask;
    }
    high << low_bits | low
}

/// The finaliser of MurmurHash3 over the keyed half: every input bit reaches every output bit.
fn mixed(half: u64, key: u64) -> u64 {
    let mut bits = half ^ key;
    bits = (bits ^ bits >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ bits >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ bits >> 33
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Permutation, TABLE};
    use crate::philox::{Philox, Purpose};

    fn permutation(n: u64, key: u64) -> Permutation {
        Permutation::new(n, &mut Philox::new(key, Purpose::Trial, 0, 0))
    }

    fn is_bijection(n: u64, key: u64) -> bool {
        let permutation = permutation(n, key);
        let mut seen = vec![false; n as usize];
        (0..n).all(|position| {
            let element = permutation.get(position);
            !std::mem::replace(&mut seen[element as usize], true) && permutation.position_of(element) == position
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_element_comes_once(n in 0_u64..20_000, key: u64) {
            prop_assert!(is_bijection(n, key));
        }
    }

    #[test]
    fn the_edges_of_both_forms_are_bijections() {
        for n in [0, 1, 2, TABLE - 1, TABLE, TABLE + 1, 8191, 8192, 8193] {
            assert!(is_bijection(n, 11), "{n}");
        }
    }

    #[test]
    fn huge_permutations_need_no_table_and_stay_in_range() {
        let (n, shuffled) = (1 << 40, permutation(1 << 40, 3));
        let elements: std::collections::HashSet<u64> = (0..10_000).map(|position| shuffled.get(position)).collect();
        assert_eq!(elements.len(), 10_000);
        assert!(elements.iter().all(|&element| element < n));
    }

    #[test]
    fn keys_give_unrelated_orders_without_fixed_structure() {
        let n = 50_000;
        let (first, second) = (permutation(n, 1), permutation(n, 2));
        let fixed = (0..n).filter(|&at| first.get(at) == at).count();
        let agree = (0..n).filter(|&at| first.get(at) == second.get(at)).count();
        let neighbours = (1..n).filter(|&at| first.get(at).abs_diff(first.get(at - 1)) == 1).count();
        assert!(fixed < 10 && agree < 10 && neighbours < 15, "{fixed} {agree} {neighbours}");
    }

    #[test]
    fn all_six_orders_of_three_are_equally_likely() {
        let mut counts = std::collections::HashMap::new();
        for key in 0..6000 {
            let order = permutation(3, key);
            *counts.entry([order.get(0), order.get(1), order.get(2)]).or_insert(0.0) += 1.0;
        }
        let chi2: f64 = counts.values().map(|count: &f64| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!(counts.len() == 6 && chi2 < 20.5, "{counts:?}");
    }
}
