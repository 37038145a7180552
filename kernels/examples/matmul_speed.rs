//! GFLOP/s of the products of a linear map, forward and backward, on one thread.

use std::time::Instant;

use syncyte_kernels::matmul::{Matrix, Onto, multiply};

fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    assert!(pool.is_ok(), "the first pool of the program");
    for (rows, k, n) in
        [(4096, 256, 768), (4096, 256, 1024), (4096, 1024, 256), (64, 5000, 2048), (64, 2048, 1024), (64, 1024, 16384)]
    {
        let (x, w, g) = (vec![0.5_f32; rows * k], vec![0.25_f32; n * k], vec![0.125_f32; rows * n]);
        let (mut y, mut dx, mut dw) = (vec![0.0_f32; rows * n], vec![0.0_f32; rows * k], vec![0.0_f32; n * k]);
        let (x, w, g) = (Matrix::new(&x, rows, k), Matrix::new(&w, n, k), Matrix::new(&g, rows, n));
        let speed = |seconds: f64| 2.0 * (rows * k * n) as f64 / seconds / 1e9;
        println!(
            "{rows:>5} x {k:>5} x {n:>6}: forward {:4.0}  input {:4.0}  weight {:4.0} GFLOP/s",
            speed(best(|| multiply(&mut y, Onto::Present, x, w.transposed()))),
            speed(best(|| multiply(&mut dx, Onto::Nothing, g, w))),
            speed(best(|| multiply(&mut dw, Onto::Nothing, g.transposed(), x))),
        );
    }
}

fn best(mut work: impl FnMut()) -> f64 {
    let mut one = || {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    };
    (0..15).map(|_| one()).fold(f64::INFINITY, f64::min)
}
