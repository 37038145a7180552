//! Products of f32 matrices, `out (+)= a · b`, by the `gemm` crate's AVX-512, AVX2 and scalar kernels.
//!
//! Guarantee: the result is the sum of products of every row and column in f32, in an order that depends only on
//! the shapes, the processor and the number of threads. BLAS of libtorch runs at the speed of AVX2 on processors
//! that are not Intel's; this runs at that of AVX-512 where there is one.

#[cfg(target_arch = "x86_64")]
mod narrow;

use gemm::Parallelism;

/// A matrix over a slice, row-major or transposed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
    turned: bool,
}

impl<'a> Matrix<'a> {
    /// A contiguous row-major matrix.
    ///
    /// # Panics
    /// When the slice does not hold `rows · columns` values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix of {rows} × {columns}");
        Self { values, rows, columns, row_stride: columns, column_stride: 1, turned: false }
    }

    /// The same numbers with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            turned: !self.turned,
            ..self
        }
    }
}

/// What becomes of the numbers that are in the output before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// They are overwritten.
    Nothing,
    /// The product is added to them.
    Present,
}

/// `out = a · b` or `out += a · b`, with `out` contiguous and row-major, `a.rows × b.columns`.
///
/// Uses the threads of the current rayon pool.
///
/// # Panics
/// When the shapes do not fit.
pub fn multiply(out: &mut [f32], onto: Onto, a: Matrix<'_>, b: Matrix<'_>) {
    assert_eq!(a.columns, b.rows, "inner sizes of a product");
    assert_eq!(out.len(), a.rows * b.columns, "size of a product");
    if out.is_empty() {
        return;
    }
    if multiply_narrow(out, onto, a, b) {
        return;
    }
    let threads = rayon::current_num_threads();
    let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    // SAFETY: every matrix covers exactly its slice with the strides given (checked by `Matrix::new` and above), and
    // `out` is borrowed exclusively, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            onto == Onto::Present,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Whether the product of two matrices over so few rows with so many columns in the result is computed at a speed at
/// which bfloat16, which must be widened to be summed up, has nothing to win.
#[cfg(target_arch = "x86_64")]
pub fn is_narrow(rows: usize, columns: usize) -> bool {
    rows <= narrow::MOST_ROWS
        && columns > 4 * narrow::MOST_ROWS
        && narrow::available()
        && rayon::current_num_threads() == 1
}

/// As on other processors: never.
#[cfg(not(target_arch = "x86_64"))]
pub fn is_narrow(_rows: usize, _columns: usize) -> bool {
    false
}

/// Takes the products that `narrow` is for; says whether it did.
#[cfg(target_arch = "x86_64")]
fn multiply_narrow(out: &mut [f32], onto: Onto, a: Matrix<'_>, b: Matrix<'_>) -> bool {
    let rows = if a.turned { b.rows } else { a.rows };
    if !is_narrow(rows, b.columns) {
        return false;
    }
    match (a.turned, b.turned) {
        (false, true) => {
            if onto == Onto::Nothing {
                out.fill(0.0);
            }
            // SAFETY: the processor has what it needs.
            unsafe { narrow::with_transposed(out, a.values, b.values, a.columns) };
            true
        }
        (true, false) => {
            // SAFETY: as above.
            unsafe { narrow::outer(out, onto == Onto::Present, a.values, b.values, b.rows) };
            true
        }
        _ => false,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_narrow(_out: &mut [f32], _onto: Onto, _a: Matrix<'_>, _b: Matrix<'_>) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(
        a: &dyn Fn(usize, usize) -> f32,
        b: &dyn Fn(usize, usize) -> f32,
        inner: usize,
        i: usize,
        j: usize,
    ) -> f64 {
        (0..inner).map(|k| f64::from(a(i, k)) * f64::from(b(k, j))).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        #[cfg(target_arch = "x86_64")]
        fn narrow_products_equal_the_general_ones(
            (rows, n, k) in (1_usize..20, 1_usize..40, 1_usize..150), add in any::<bool>(), seed in any::<u32>(),
        ) {
            let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 23) as f32 - 1.0;
            let numbers = |len: usize, salt: usize| -> Vec<f32> { (0..len).map(|i| noise(i + salt)).collect() };
            if !narrow::available() {
                return Ok(());
            }
            let (x, w, g) = (numbers(rows * k, 0), numbers(n * k, 7919), numbers(rows * n, 104_729));
            let onto = if add { Onto::Present } else { Onto::Nothing };
            let start = if add { 0.5_f32 } else { 0.0 };
            let mut dots = vec![start; rows * n];
            // SAFETY: the processor has what it needs.
            unsafe { narrow::with_transposed(&mut dots, &x, &w, k) };
            let mut expected = vec![0.5_f32; rows * n];
            multiply(&mut expected, onto, Matrix::new(&x, rows, k), Matrix::new(&w, n, k).transposed());
            for (found, wanted) in dots.iter().zip(&expected) {
                prop_assert!((found - wanted).abs() < 1e-5 * (k as f32).sqrt(), "{} {}", found, wanted);
            }
            let mut outer = vec![0.5_f32; n * k];
            // SAFETY: as above.
            unsafe { narrow::outer(&mut outer, add, &g, &x, rows) };
            let mut expected = vec![0.5_f32; n * k];
            multiply(&mut expected, onto, Matrix::new(&g, rows, n).transposed(), Matrix::new(&x, rows, k));
            for (found, wanted) in outer.iter().zip(&expected) {
                prop_assert!((found - wanted).abs() < 1e-5 * (rows as f32).sqrt(), "{} {}", found, wanted);
            }
        }

        #[test]
        fn products_of_all_layouts_equal_the_sum_of_products(
            (rows, inner, columns) in (1_usize..40, 1_usize..70, 1_usize..40),
            (turn_a, turn_b, add) in any::<(bool, bool, bool)>(),
            seed in any::<u32>(),
        ) {
            let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 23) as f32 - 1.0;
            let a: Vec<f32> = (0..rows * inner).map(noise).collect();
            let b: Vec<f32> = (0..inner * columns).map(|i| noise(i + 7919)).collect();
            let at_a = |i: usize, k: usize| if turn_a { a[k * rows + i] } else { a[i * inner + k] };
            let at_b = |k: usize, j: usize| if turn_b { b[j * inner + k] } else { b[k * columns + j] };
            let left = if turn_a { Matrix::new(&a, inner, rows).transposed() } else { Matrix::new(&a, rows, inner) };
            let right = if turn_b { Matrix::new(&b, columns, inner).transposed() } else { Matrix::new(&b, inner, columns) };
            let mut out = vec![0.5_f32; rows * columns];
            multiply(&mut out, if add { Onto::Present } else { Onto::Nothing }, left, right);
            for i in 0..rows {
                for j in 0..columns {
                    let expected = reference(&at_a, &at_b, inner, i, j) + if add { 0.5 } else { 0.0 };
                    prop_assert!((f64::from(out[i * columns + j]) - expected).abs() < 1e-5 * (1.0 + inner as f64).sqrt());
                }
            }
        }
    }
}
