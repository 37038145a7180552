//! How fast one thread updates parameters, beside the speed of a copy on the same machine in the same run.
//!
//! `cargo run --release -p syncyte-kernels --example optim_bandwidth [TURNS]`
//!
//! 38.7 million parameters with a teacher on the first 32.3 million: buffers that no cache holds. Bytes are those that
//! must be read and those that must be written, for a copy as for an update. Each work takes all buffers piece by piece,
//! and its time is the sum over the pieces of the best of the turns: a piece is short enough not to be interrupted, and
//! is touched again only after everything else.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use syncyte_kernels::number::{Bf16, Element};
use syncyte_kernels::optim::{AdamW, Gradients, Slices, Teacher, gradient_norm, to_bf16, to_f32, update};

const PARAMS: usize = 38_700_000;
const TAUGHT: usize = 32_300_000;
const PIECE: usize = 100_000;
const STEP: AdamW =
    AdamW { lr: 1e-4, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 10, grad_scale: 0.5 };

/// Everything that is read and written.
struct Buffers {
    params: Vec<f32>,
    grads: Vec<f32>,
    half_grads: Vec<Bf16>,
    m: Vec<f32>,
    v: Vec<f32>,
    shadow: Vec<Bf16>,
    teacher: Vec<f32>,
    teacher_shadow: Vec<Bf16>,
}

fn filled<T: Element>(value: f32) -> Vec<T> {
    (0..PARAMS).map(|at| T::from_f32(value * (1 + at % 97) as f32)).collect()
}

impl Buffers {
    fn new() -> Self {
        Self {
            params: filled(0.01),
            grads: filled(1e-3),
            half_grads: filled(1e-3),
            m: filled(1e-3),
            v: filled(1e-5),
            shadow: filled(0.0),
            teacher: filled(0.011),
            teacher_shadow: filled(0.0),
        }
    }

    fn update(&mut self, range: Range<usize>, options: Options) {
        let teacher = (range.end <= TAUGHT).then(|| Teacher {
            params: &mut self.teacher[range.clone()],
            shadow: options.shadows.then_some(&mut self.teacher_shadow[range.clone()]),
            momentum: 0.996,
        });
        let params = &mut self.params[range.clone()];
        let (m, v) = (&mut self.m[range.clone()], &mut self.v[range.clone()]);
        let shadow = options.shadows.then_some(&mut self.shadow[range.clone()]);
        if options.half {
            let grads = gradients(&mut self.half_grads[range], options);
            update(Slices { params, grads, m, v, shadow, teacher }, &STEP);
        } else {
            let grads = gradients(&mut self.grads[range], options);
            update(Slices { params, grads, m, v, shadow, teacher }, &STEP);
        }
    }
}

fn gradients<G>(grads: &mut [G], options: Options) -> Gradients<'_, G> {
    if options.zeroed { Gradients::Zeroed(grads) } else { Gradients::Kept(grads) }
}

/// What an update does beside the step itself.
#[derive(Clone, Copy)]
struct Options {
    half: bool,
    zeroed: bool,
    shadows: bool,
}

impl Options {
    fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self { half: bits & 4 != 0, zeroed: bits & 1 != 0, shadows: bits & 2 != 0 })
    }

    fn name(self) -> String {
        let Self { half, zeroed, shadows } = self;
        let grads = if half { "bf16" } else { "f32" };
        let fate = if zeroed { "zeroed" } else { "kept" };
        format!("update, {grads} gradients {fate}{}", if shadows { ", bf16 copies" } else { "" })
    }

    /// Parameters, moments and teacher are read and written, gradients read, the rest written.
    fn bytes(self) -> usize {
        let grads = if self.half { 2 } else { 4 } * if self.zeroed { 2 } else { 1 };
        let shadow = if self.shadows { 2 } else { 0 };
        PARAMS * (3 * 8 + grads + shadow) + TAUGHT * (8 + shadow)
    }
}

/// A copy around the caches: what a copy takes at least.
fn streamed(out: &mut [f32], values: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_loadu_ps, _mm_sfence, _mm_stream_ps};
        let aligned = out.as_ptr().align_offset(16);
        for (to, from) in out[aligned..].as_chunks_mut::<4>().0.iter_mut().zip(values[aligned..].as_chunks::<4>().0) {
            // SAFETY: both are four floats, `to` is aligned to 16 bytes, and SSE is part of x86-64.
            unsafe { _mm_stream_ps(to.as_mut_ptr(), _mm_loadu_ps(from.as_ptr())) };
        }
        // SAFETY: as above.
        unsafe { _mm_sfence() };
    }
    #[cfg(not(target_arch = "x86_64"))]
    out.copy_from_slice(values);
}

type OnPiece = dyn Fn(&mut Buffers, Range<usize>);

/// Something to measure.
struct Work {
    name: String,
    /// Bytes that it moves.
    bytes: usize,
    /// Itself, on a piece.
    on: Box<OnPiece>,
}

impl Work {
    fn new(name: &str, bytes: usize, on: impl Fn(&mut Buffers, Range<usize>) + 'static) -> Self {
        Self { name: name.to_owned(), bytes, on: Box::new(on) }
    }
}

fn works() -> Vec<Work> {
    let copies = [
        Work::new("copy around the caches", 8 * PARAMS, |at, range| {
            streamed(&mut at.teacher[range.clone()], &at.grads[range]);
        }),
        Work::new("copy_from_slice", 8 * PARAMS, |at, range| {
            at.teacher[range.clone()].copy_from_slice(&at.grads[range]);
        }),
    ];
    let updates = Options::all()
        .map(|options| Work::new(&options.name(), options.bytes(), move |at, range| at.update(range, options)));
    let others = [
        Work::new("gradient_norm, f32", 4 * PARAMS, |at, range| {
            black_box(gradient_norm(&at.grads[range]));
        }),
        Work::new("gradient_norm, bf16", 2 * PARAMS, |at, range| {
            black_box(gradient_norm(&at.half_grads[range]));
        }),
        Work::new("to_bf16", 6 * PARAMS, |at, range| to_bf16(&at.params[range.clone()], &mut at.shadow[range])),
        Work::new("to_f32", 6 * PARAMS, |at, range| to_f32(&at.shadow[range.clone()], &mut at.teacher[range])),
    ];
    copies.into_iter().chain(updates).chain(others).collect()
}

fn main() {
    let turns = std::env::args().nth(1).and_then(|turns| turns.parse().ok()).unwrap_or(10);
    let (mut buffers, works) = (Buffers::new(), works());
    let mut best = vec![vec![f64::INFINITY; PARAMS / PIECE]; works.len()];
    for _ in 0..turns {
        for (work, best) in works.iter().zip(&mut best) {
            for (piece, best) in best.iter_mut().enumerate() {
                let start = Instant::now();
                (work.on)(black_box(&mut buffers), piece * PIECE..(piece + 1) * PIECE);
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
    }
    let seconds = best.iter().map(|pieces| pieces.iter().sum::<f64>());
    let rates: Vec<_> =
        works.iter().zip(seconds).map(|(work, seconds)| (work.bytes as f64 / seconds, seconds)).collect();
    for (Work { name, .. }, (rate, seconds)) in works.iter().zip(&rates) {
        let share = rate / rates[0].0 * 100.0;
        println!("{name:<45} {:>6.1} ms {:>6.2} GB/s {share:>5.0} % of copy", seconds * 1e3, rate * 1e-9);
    }
}
