//! How fast the moments of columns take in rows, beside the time that one pass over the same bytes takes.
//!
//! `cargo run --release -p syncyte-kernels --example moments_speed`
//!
//! Rows are made up: 2,640 counts in 8,248 genes, more of them than the caches hold, pushed 256 at a time by one
//! thread. Every figure is the best of the turns.

mod made_up;

use std::hint::black_box;
use std::time::Instant;

use made_up::{GENES, NON_ZERO, ROWS, Random, cells, leave};
use syncyte_kernels::moments::{Moments, Space};
use syncyte_kernels::number::Value;
use syncyte_kernels::rows::{Rows, Scale};

const BATCH: usize = 256;
const TURNS: usize = 12;

fn report(name: &str, work: impl Fn()) {
    let seconds = (0..TURNS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    let nanoseconds = seconds / (ROWS * NON_ZERO) as f64 * 1e9;
    println!("{name:<30} {:>9.0} cells/s {nanoseconds:>6.2} ns a value", ROWS as f64 / seconds);
}

/// Which space, over the library sizes of a batch.
type OfBatch = fn(&[f32]) -> Space<'_>;

fn measure<V: Value>(name: &str, rows: Rows<V, u16>, totals: &[f32], space: OfBatch, ceiling: Option<&[f64]>) {
    report(&format!("{name} of {}", V::NAME), || {
        let mut moments = Moments::new(GENES);
        for start in (0..ROWS).step_by(BATCH) {
            let range = start..start + BATCH;
            let done = moments.push_rows(rows.range(range.clone()), space(&totals[range]), ceiling);
            done.unwrap_or_else(|error| leave(&error.to_string()));
        }
        black_box(moments.pooled());
    });
}

fn main() {
    let cells = cells(&mut Random(0x9E37_79B9_7F4A_7C15));
    let short: Vec<u16> = cells.counts.iter().map(|&count| u16::from(count)).collect();
    let real: Vec<f32> = cells.counts.iter().map(|&count| f32::from(count)).collect();
    let (indptr, indices, totals) = (&cells.indptr[..], &cells.columns[..], &cells.totals[..]);
    let counts = Rows { indptr, indices, values: &short };
    let reals = Rows { indptr, indices, values: &real };
    let ceiling = vec![20.0; GENES];
    for _ in 0..2 {
        report("floor: reading u16 and u16", || {
            black_box(short.iter().zip(indices).fold(0, |bits, (count, column)| bits | count | column));
        });
        measure("stored", counts, totals, |_| Space::Stored, None);
        measure("clipped", counts, totals, |_| Space::Stored, Some(&ceiling));
        measure("log", counts, totals, |totals| Space::Log(Scale::Library(totals)), None);
        measure("normalised", counts, totals, |totals| Space::Normalised(Scale::Library(totals)), None);
        measure("log", reals, totals, |totals| Space::Log(Scale::Library(totals)), None);
    }
}
