//! How fast rows of a store become dense rows, beside the time that filling the dense rows with zeros takes.
//!
//! `cargo run --release -p syncyte-kernels --example expression_speed [THREADS]`
//!
//! Rows are made up: 2,640 counts in 8,248 genes, of which 5,000 are wanted. Input and output go round rings larger
//! than the caches. Every figure is the best of the turns; floor and kernels take turns within one run, so that a
//! busy machine hurts all alike.

mod made_up;

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use made_up::{GENES, NON_ZERO, ROWS, Random, cells, leave};
use syncyte_kernels::expression::{Genes, SKIP, log_normalise, log_normalise_reference};
use syncyte_kernels::number::{Bf16, Column, Element, Value};
use syncyte_kernels::rows::{Rows, Scale, ShapeError};

const WANTED: usize = 5000;
const BATCH: usize = 256;
const TURNS: usize = 12;

/// Seconds of the fastest turn, with `threads` threads that take equal parts of the rows.
fn best<T: Element>(threads: usize, work: impl Fn(std::ops::Range<usize>, &mut [T]) + Sync) -> f64 {
    let mut out = vec![T::from_f32(1.0); ROWS / 2 * WANTED];
    (0..TURNS)
        .map(|_| {
            let start = Instant::now();
            thread::scope(|scope| {
                for (part, out) in out.chunks_mut(ROWS / 2 / threads * WANTED).take(threads).enumerate() {
                    let (work, first) = (&work, part * (ROWS / threads));
                    scope.spawn(move || {
                        for (batch, rows) in (first..first + ROWS / threads).step_by(BATCH).enumerate() {
                            let place = batch % (out.len() / BATCH / WANTED) * BATCH * WANTED;
                            work(rows..rows + BATCH, &mut out[place..place + BATCH * WANTED]);
                        }
                    });
                }
            });
            black_box(&out);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn report(name: &str, bytes: usize, seconds: f64) {
    let per_second = ROWS as f64 / seconds;
    println!("{name:<28} {:>9.0} cells/s {:>6.1} GB/s", per_second, per_second * bytes as f64 / 1e9);
}

type Kernel<V, C, T> = fn(Rows<V, C>, Scale, Genes, &mut [T]) -> Result<(), ShapeError>;

struct Case<'a, V, C, T> {
    label: &'a str,
    rows: Rows<'a, V, C>,
    totals: &'a [f32],
    places: &'a [u32],
    kernel: Kernel<V, C, T>,
}

impl<V: Value, C: Column, T: Element> Case<'_, V, C, T> {
    fn measure(&self, threads: usize) {
        let seconds = best::<T>(threads, |range, out| {
            let scale = Scale::Library(&self.totals[range.clone()]);
            let done = (self.kernel)(self.rows.range(range), scale, Genes::Places(self.places, WANTED), out);
            done.unwrap_or_else(|error| leave(&error.to_string()));
        });
        let read = NON_ZERO * (size_of::<V>() + size_of::<C>());
        let name = format!("{} {}/{} to {}", self.label, V::NAME, C::NAME, T::NAME);
        report(&name, read + WANTED * size_of::<T>(), seconds);
    }
}

fn main() {
    let threads = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 2,
        Some(Ok(threads)) if [1, 2, 4, 8].contains(&threads) => threads,
        Some(_) => leave("THREADS is 1, 2, 4 or 8"),
    };
    let random = &mut Random(0x9E37_79B9_7F4A_7C15);
    let cells = cells(random);
    let mut places = vec![SKIP; GENES];
    for (place, gene) in random.choose(WANTED, GENES).into_iter().enumerate() {
        places[gene] = place as u32;
    }
    let short: Vec<u16> = cells.counts.iter().map(|&count| u16::from(count)).collect();
    let real: Vec<f32> = cells.counts.iter().map(|&count| f32::from(count)).collect();
    let long: Vec<u32> = cells.columns.iter().map(|&column| u32::from(column)).collect();
    let (indptr, totals, places) = (&cells.indptr[..], &cells.totals[..], &places[..]);
    let bytes = Rows { indptr, indices: &cells.columns, values: &cells.counts };
    let words = Rows { indptr, indices: &cells.columns, values: &short };
    let floats = Rows { indptr, indices: &long, values: &real };

    println!("{threads} threads, best of {TURNS} turns over {ROWS} rows of {NON_ZERO} counts to {WANTED} genes");
    for _ in 0..2 {
        report("floor: zeros in f32", WANTED * 4, best(threads, |_, out: &mut [f32]| out.fill(0.0)));
        report("floor: zeros in bf16", WANTED * 2, best(threads, |_, out: &mut [Bf16]| out.fill(Bf16(0))));
        let label = "kernel";
        Case::<_, _, f32> { label, rows: bytes, totals, places, kernel: log_normalise }.measure(threads);
        Case::<_, _, f32> { label, rows: words, totals, places, kernel: log_normalise }.measure(threads);
        Case::<_, _, Bf16> { label, rows: words, totals, places, kernel: log_normalise }.measure(threads);
        Case::<_, _, f32> { label, rows: floats, totals, places, kernel: log_normalise }.measure(threads);
        Case::<_, _, Bf16> { label, rows: floats, totals, places, kernel: log_normalise }.measure(threads);
        let label = "reference";
        Case::<_, _, f32> { label, rows: words, totals, places, kernel: log_normalise_reference }.measure(threads);
    }
}
