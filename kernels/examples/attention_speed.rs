//! How fast attention goes forward and backward.
//!
//! `cargo run --release -p syncyte-kernels --example attention_speed [THREADS]`
//!
//! 64 batch elements, 8 heads of width 32; 64 queries attend to 64 keys, from one packed projection, or to 2 keys, some
//! of them masked. Every figure is the best of the turns; what is compared takes turns, so that a busy machine hurts
//! all alike.

use std::time::Instant;

use syncyte_kernels::attention::{Gradients, Inputs, Shape, Tokens, TokensMut, backward, forward};
use syncyte_kernels::number::{Bf16, Element};
use syncyte_kernels::rows::ShapeError;

const TURNS: usize = 500;

/// The numbers of one attention: queries, keys and values lie in `sizes.len()` buffers of so many parts each.
struct Case<E> {
    shape: Shape,
    projections: Vec<Vec<E>>,
    mask: Option<Vec<bool>>,
    out: Vec<E>,
    lse: Vec<f32>,
    grad_out: Vec<E>,
    grads: Vec<Vec<E>>,
}

/// Numbers from −1 to 1 (splitmix64), the same in every run.
fn numbers<E: Element>(count: usize) -> Vec<E> {
    let number = |at: u64| {
        let mut bits = (at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        E::from_f32(((bits ^ (bits >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..count as u64).map(number).collect()
}

impl<E: Element> Case<E> {
    fn new(keys: usize) -> Self {
        let shape = Shape { batch: 64, heads: 8, queries: 64, keys, width: 32 };
        let [of_queries, of_keys] = [64, keys].map(|tokens| shape.batch * tokens * shape.heads * shape.width);
        let sizes = if keys == 64 { vec![3 * of_queries] } else { vec![of_queries, 2 * of_keys] };
        Self {
            shape,
            projections: sizes.iter().map(|&size| numbers(size)).collect(),
            mask: (keys != 64).then(|| (0..shape.batch * keys).map(|key| key % 4 != 3).collect()),
            out: numbers(of_queries),
            lse: vec![0.0; shape.batch * shape.heads * shape.queries],
            grad_out: numbers(of_queries),
            grads: sizes.iter().map(|&size| numbers(size)).collect(),
        }
    }

    /// Milliseconds of one forward and one backward pass.
    fn turn(&mut self) -> Result<[f64; 2], ShapeError> {
        let (shape, width) = (self.shape, self.shape.heads * self.shape.width);
        let [q, k, v] = match &self.projections[..] {
            [qkv] => Tokens::packed(qkv, width)?,
            [q, kv, ..] => {
                let [k, v] = Tokens::packed(kv, width)?;
                [Tokens::new(q, width, width)?, k, v]
            }
            [] => return Ok([0.0; 2]),
        };
        let inputs = Inputs { q, k, v, mask: self.mask.as_deref() };
        let start = Instant::now();
        forward(shape, inputs, TokensMut::new(&mut self.out, width, width)?, &mut self.lse)?;
        let middle = Instant::now();
        let [q, k, v] = match &mut self.grads[..] {
            [qkv] => TokensMut::packed(qkv, width)?,
            [q, kv, ..] => {
                let [k, v] = TokensMut::packed(kv, width)?;
                [TokensMut::new(q, width, width)?, k, v]
            }
            [] => return Ok([0.0; 2]),
        };
        backward(shape, inputs, &self.lse, Tokens::new(&self.grad_out, width, width)?, Gradients { q, k, v })?;
        Ok([middle - start, middle.elapsed()].map(|time| time.as_secs_f64() * 1e3))
    }
}

fn measure<E: Element>(keys: usize) -> Result<(), ShapeError> {
    let mut case = Case::<E>::new(keys);
    let mut best = [f64::INFINITY; 3];
    for _ in 0..TURNS {
        let [forward, backward] = case.turn()?;
        for (best, time) in best.iter_mut().zip([forward, backward, forward + backward]) {
            *best = best.min(time);
        }
    }
    let [forward, backward, both] = best;
    println!("64 x {keys:<2} {:<4}  forward {forward:6.2} ms  backward {backward:6.2} ms  both {both:6.2} ms", E::NAME);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(1), |text| text.parse())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    println!("{threads} threads, best of {TURNS} turns");
    for keys in [64, 2] {
        pool.install(|| measure::<f32>(keys).and_then(|()| measure::<Bf16>(keys)))?;
    }
    Ok(())
}
