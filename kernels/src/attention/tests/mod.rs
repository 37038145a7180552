//! Attention against double precision, written-out gradients and central differences; masks, strides, threads.

mod reference;

use proptest::prelude::*;
use reference::Numbers;

use super::*;
use crate::number::Bf16;

/// One attention in the memory of the kernels.
struct Case<E> {
    shape: Shape,
    q: Vec<E>,
    k: Vec<E>,
    v: Vec<E>,
    grad_out: Vec<E>,
    mask: Option<Vec<bool>>,
    /// Numbers between two tokens.
    gap: usize,
}

/// What came of it, without gaps.
struct Found<E> {
    out: Vec<E>,
    lse: Vec<f32>,
    grads: [Vec<E>; 3],
}

/// Numbers from −1 to 1 (splitmix64).
fn random<E: Element>(seed: u64, count: usize) -> Vec<E> {
    let number = |at: u64| {
        let mut bits = (seed * 1_000_003 + at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        E::from_f32(((bits ^ (bits >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..count as u64).map(number).collect()
}

impl<E: Element> Case<E> {
    fn new(seed: u64, shape: Shape, mask: Option<Vec<bool>>, gap: usize) -> Self {
        let [queries, keys] = [shape.queries, shape.keys].map(|tokens| shape.batch * tokens);
        let numbers = |part: u64, tokens| random(4 * seed + part, Self::len(shape, tokens, gap));
        let [q, k, v, grad_out] = [numbers(0, queries), numbers(1, keys), numbers(2, keys), numbers(3, queries)];
        Self { shape, q, k, v, grad_out, mask, gap }
    }

    fn len(shape: Shape, tokens: usize, gap: usize) -> usize {
        (tokens * (shape.heads * shape.width + gap)).saturating_sub(gap)
    }

    fn tokens<'a>(&self, data: &'a [E]) -> Tokens<'a, E> {
        let width = self.shape.heads * self.shape.width;
        Tokens::new(data, width, width + self.gap).unwrap()
    }

    fn inputs(&self) -> Inputs<'_, E> {
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|data| self.tokens(data));
        Inputs { q, k, v, mask: self.mask.as_deref() }
    }

    /// Without the gaps.
    fn dense(&self, data: &[E]) -> Vec<E> {
        let width = self.shape.heads * self.shape.width;
        data.chunks(width + self.gap).flat_map(|token| &token[..width]).copied().collect()
    }

    fn numbers(&self) -> Numbers {
        let wide = |data: &[E]| wide(&self.dense(data));
        Numbers {
            q: wide(&self.q),
            k: wide(&self.k),
            v: wide(&self.v),
            grad_out: wide(&self.grad_out),
            mask: self.mask.clone(),
        }
    }

    fn run(&self, level: Level) -> Found<E> {
        let Shape { batch, heads, queries, keys, width } = self.shape;
        let (width, untouched) = (heads * width, E::from_f32(-77.0));
        let mut buffers = [queries, queries, keys, keys]
            .map(|tokens| vec![untouched; Self::len(self.shape, batch * tokens, self.gap)]);
        let mut lse = vec![f32::NAN; batch * heads * queries];
        let [out, q, k, v] = buffers.each_mut().map(|buffer| TokensMut::new(buffer, width, width + self.gap).unwrap());
        forward_at(level, self.shape, self.inputs(), out, &mut lse).unwrap();
        let grads = Gradients { q, k, v };
        backward_at(level, self.shape, self.inputs(), &lse, self.tokens(&self.grad_out), grads).unwrap();
        for token in buffers.iter().flat_map(|buffer| buffer.chunks(width + self.gap)) {
            assert!(token[width..].iter().all(|&number| number == untouched), "a gap was written to");
        }
        let [out, q, k, v] = buffers.map(|buffer| self.dense(&buffer));
        Found { out, lse, grads: [q, k, v] }
    }
}

fn wide<E: Element>(numbers: &[E]) -> Vec<f64> {
    numbers.iter().map(|number| f64::from(number.to_f32())).collect()
}

/// Whether numbers are those of double precision but for `tolerance(largest)`.
fn near(name: &str, found: &[f64], want: &[f64], tolerance: impl Fn(f64) -> f64) -> Result<(), TestCaseError> {
    let largest = want.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
    prop_assert_eq!(found.len(), want.len());
    for (at, (found, want)) in found.iter().zip(want).enumerate() {
        let fits = found == want || (found - want).abs() <= tolerance(largest);
        prop_assert!(fits, "{name}[{at}] is {found} not {want}, the largest {largest}");
    }
    Ok(())
}

/// Two millionths of the largest number.
fn single(largest: f64) -> f64 {
    2e-6 * largest
}

/// One unit in the last place of the largest number as bfloat16.
fn one_ulp(largest: f64) -> f64 {
    (largest.log2().floor() - 7.0).exp2()
}

fn matches_double_precision<E: Element>(case: &Case<E>, tolerance: fn(f64) -> f64) -> Result<(), TestCaseError> {
    let numbers = case.numbers();
    let (want, grads) = (numbers.forward(case.shape), numbers.backward(case.shape));
    for level in Level::all() {
        let found = case.run(level);
        near(&format!("{level:?} out"), &wide(&found.out), &want.out, tolerance)?;
        near(&format!("{level:?} lse"), &wide(&found.lse), &want.lse, |_| 2e-6)?;
        for (name, (found, want)) in ["q", "k", "v"].iter().zip(found.grads.iter().zip(&grads)) {
            near(&format!("{level:?} gradient of {name}"), &wide(found), want, tolerance)?;
        }
    }
    Ok(())
}

/// Odd sizes and round ones, on either side of a block of queries and of a line.
fn shapes() -> impl Strategy<Value = Shape> {
    let tokens = || prop_oneof![4 => 1..20_usize, 2 => 30..70_usize, 1 => Just(64), 1 => Just(2), 1 => Just(0)];
    let width = prop_oneof![3 => 1..40_usize, 2 => Just(16), 2 => Just(32), 1 => Just(64)];
    (0..4_usize, 1..4_usize, tokens(), tokens(), width).prop_map(|(batch, heads, queries, keys, width)| Shape {
        batch,
        heads,
        queries,
        keys,
        width,
    })
}

fn cases() -> impl Strategy<Value = (u64, Shape, Option<Vec<bool>>, usize)> {
    shapes().prop_flat_map(|shape| {
        let mask = proptest::collection::vec(prop::bool::weighted(0.6), shape.batch * shape.keys);
        (0..1000_u64, Just(shape), proptest::option::of(mask), prop_oneof![Just(0), 1..50_usize])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn single_precision_matches_double_precision((seed, shape, mask, gap) in cases()) {
        matches_double_precision(&Case::<f32>::new(seed, shape, mask, gap), single)?;
    }

    #[test]
    fn bfloat16_matches_double_precision((seed, shape, mask, gap) in cases()) {
        matches_double_precision(&Case::<Bf16>::new(seed, shape, mask, gap), one_ulp)?;
    }
}

#[test]
fn long_sequences_match_double_precision() {
    let shape = Shape { batch: 2, heads: 2, queries: 256, keys: 256, width: 64 };
    matches_double_precision(&Case::<f32>::new(1, shape, None, 0), single).unwrap();
    let shape = Shape { batch: 1, heads: 1, queries: 70, keys: 1100, width: 24 };
    matches_double_precision(&Case::<Bf16>::new(2, shape, None, 0), one_ulp).unwrap();
}

#[test]
fn scores_of_zero_and_ln_3_weigh_a_quarter_and_three_quarters() {
    let shape = Shape { batch: 1, heads: 1, queries: 1, keys: 2, width: 1 };
    let mut case = Case::<f32>::new(0, shape, None, 0);
    (case.q, case.k, case.v) = (vec![1.0], vec![0.0, 3_f32.ln()], vec![0.0, 4.0]);
    case.grad_out = vec![1.0];
    for level in Level::all() {
        let Found { out, lse, grads: [q, k, v] } = case.run(level);
        // dP is (0, 4), its mean 3, so dS is (¼·−3, ¾·1) and dq is ¾·ln 3.
        let found = [out[0], lse[0], q[0], k[0], k[1], v[0], v[1]];
        let want = [3.0, 4_f32.ln(), 0.75 * 3_f32.ln(), -0.75, 0.75, 0.25, 0.75];
        assert!(found.iter().zip(want).all(|(found, want)| (found - want).abs() < 1e-6), "{level:?} {found:?}");
    }
}

/// Central differences of the loss `Σ grad_out·out`, in double precision.
fn differences(numbers: &mut Numbers, shape: Shape, of: fn(&mut Numbers) -> &mut Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let len = of(numbers).len();
    let slope = |at: usize| {
        let number = of(numbers)[at];
        let [above, below, _] = [number + STEP, number - STEP, number].map(|number| -> f64 {
            of(numbers)[at] = number;
            numbers.forward(shape).out.iter().zip(&numbers.grad_out).map(|(out, grad)| out * grad).sum()
        });
        (above - below) / (2.0 * STEP)
    };
    (0..len).map(slope).collect()
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    let mask = Some(vec![true, false, true, true, true, true]);
    for (seed, mask) in [(1, None), (2, mask)] {
        let shape = Shape { batch: 2, heads: 2, queries: 4, keys: 3, width: 5 };
        let case = Case::<f32>::new(seed, shape, mask, 0);
        let mut numbers = case.numbers();
        let parts: [fn(&mut Numbers) -> &mut Vec<f64>; 3] = [|all| &mut all.q, |all| &mut all.k, |all| &mut all.v];
        let slopes = parts.map(|part| differences(&mut numbers, shape, part));
        for (written_out, slopes) in numbers.backward(shape).iter().zip(&slopes) {
            near("the reference", slopes, written_out, |largest| 1e-8 * largest).unwrap();
        }
        for level in Level::all() {
            for (found, slopes) in case.run(level).grads.iter().zip(&slopes) {
                near("the gradient", &wide(found), slopes, single).unwrap();
            }
        }
    }
}

#[test]
fn parts_of_a_packed_projection_give_the_bits_of_separate_tensors() {
    let shape = Shape { batch: 3, heads: 2, queries: 9, keys: 9, width: 20 };
    let case = Case::<Bf16>::new(5, shape, None, 0);
    let (width, want) = (40, case.run(Level::best()));
    let pack = |parts: [&[Bf16]; 3]| -> Vec<Bf16> {
        (0..27).flat_map(|token| parts.map(|part| &part[token * width..][..width])).flatten().copied().collect()
    };
    let qkv = pack([&case.q, &case.k, &case.v]);
    let [q, k, v] = Tokens::packed(&qkv, width).unwrap();
    let inputs = Inputs { q, k, v, mask: None };
    let (mut out, mut lse, mut grads) = (vec![Bf16(0); 27 * width], vec![0.0; 54], vec![Bf16(0); qkv.len()]);
    forward(shape, inputs, TokensMut::new(&mut out, width, width).unwrap(), &mut lse).unwrap();
    let [q, k, v] = TokensMut::packed(&mut grads, width).unwrap();
    backward(shape, inputs, &lse, case.tokens(&case.grad_out), Gradients { q, k, v }).unwrap();
    assert!(out == want.out && lse == want.lse && grads == pack(want.grads.each_ref().map(Vec::as_slice)));
}

#[test]
fn masked_keys_change_nothing_and_without_keys_all_is_zero() {
    let shape = Shape { batch: 2, heads: 2, queries: 5, keys: 3, width: 4 };
    let mask = vec![true, false, true, false, false, false];
    let mut case = Case::<f32>::new(7, shape, Some(mask), 0);
    for level in Level::all() {
        let clean = case.run(level);
        let mut dirty = Case { mask: case.mask.clone(), ..Case::new(7, shape, None, 0) };
        for masked in [1, 3, 4, 5] {
            dirty.k[masked * 8..][..8].fill(f32::NAN);
            dirty.v[masked * 8..][..8].fill(f32::INFINITY);
        }
        let found = dirty.run(level);
        assert!(found.out == clean.out && found.lse == clean.lse && found.grads == clean.grads, "{level:?}");
        assert!(found.lse[..10].iter().all(|lse| lse.is_finite()) && found.lse[10..] == [f32::NEG_INFINITY; 10]);
        assert!(found.out[40..] == [0.0; 40] && found.grads[0][40..] == [0.0; 40], "{level:?}");
        for grads in &found.grads[1..] {
            assert!(grads[8..16] == [0.0; 8] && grads[24..] == [0.0; 24] && grads[16..24] != [0.0; 8], "{level:?}");
        }
    }
    case.shape.keys = 0;
    (case.k, case.v, case.mask) = (Vec::new(), Vec::new(), None);
    assert_eq!(case.run(Level::best()).out, [0.0; 80]);
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let shape = Shape { batch: 5, heads: 3, queries: 33, keys: 17, width: 16 };
    let case = Case::<f32>::new(9, shape, None, 3);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.run(Level::best()))
    };
    let one = run(1);
    for threads in [2, 7] {
        let many = run(threads);
        assert!(many.out == one.out && many.lse == one.lse && many.grads == one.grads, "{threads} threads");
    }
}

#[test]
fn large_scores_choose_one_key_and_what_is_no_number_is_passed_on() {
    let shape = Shape { batch: 1, heads: 1, queries: 2, keys: 3, width: 4 };
    let mut case = Case::<f32>::new(11, shape, None, 0);
    case.q = [[300.0; 4], [-300.0; 4]].concat();
    case.k = [[100.0; 4], [0.0; 4], [-100.0; 4]].concat();
    for level in Level::all() {
        let found = case.run(level);
        assert_eq!((&found.out[..4], &found.out[4..]), (&case.v[..4], &case.v[8..]), "{level:?}");
        assert_eq!(found.lse, [60_000.0; 2], "{level:?}");
        assert!(found.grads[0].iter().chain(&found.grads[1]).all(|&grad| grad == 0.0), "{level:?}");
    }
    case.k[5] = f32::NAN;
    for level in Level::all() {
        let found = case.run(level);
        assert!(found.out.iter().chain(&found.lse).chain(&found.grads[0]).all(|number| number.is_nan()), "{level:?}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let shape = Shape { batch: 2, heads: 2, queries: 2, keys: 3, width: 4 };
    let mut case = Case::<f32>::new(13, shape, Some(vec![true; 6]), 0);
    let refused = |case: &Case<f32>, shape, places, out| {
        let (mut lse, mut out) = (vec![0.0; places], vec![0.0; out]);
        let out = TokensMut::new(&mut out, 8, 8).unwrap();
        forward(shape, case.inputs(), out, &mut lse).map_err(|error| error.to_string()).err()
    };
    assert_eq!(refused(&case, shape, 8, 32), None);
    assert_eq!(refused(&case, shape, 9, 32).unwrap(), "lse has 9 places for 2 × 2 × 2");
    assert_eq!(refused(&case, shape, 8, 24).unwrap(), "out has 3 tokens of 8, not 4 of 8");
    assert_eq!(refused(&case, Shape { keys: 4, ..shape }, 8, 32).unwrap(), "k has 6 tokens of 8, not 8 of 8");
    assert_eq!(refused(&case, Shape { width: 3, ..shape }, 8, 32).unwrap(), "q has 4 tokens of 8, not 4 of 6");
    let none = refused(&case, Shape { heads: 0, ..shape }, 8, 32).unwrap();
    assert_eq!(none, "there is no attention with 0 heads of width 4");
    let mut grads = [vec![0.0; 32], vec![0.0; 48], vec![0.0; 40]];
    let [q, k, v] = grads.each_mut().map(|grads| TokensMut::new(grads, 8, 8).unwrap());
    let error = backward(shape, case.inputs(), &[0.0; 8], case.tokens(&case.grad_out), Gradients { q, k, v });
    assert_eq!(error.unwrap_err().to_string(), "the gradient of v has 5 tokens of 8, not 6 of 8");
    case.mask = Some(vec![true; 5]);
    assert_eq!(refused(&case, shape, 8, 32).unwrap(), "a mask of 5 keys for 2 times 3");
}
