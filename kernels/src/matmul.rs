//! Products of f32 matrices, `out (+)= a · b`, by the `gemm` crate's AVX-512, AVX2 and scalar kernels.
//!
//! Guarantee: the result is the sum of products of every row and column in f32, in an order that depends only on
//! the shapes, the processor and the number of threads. BLAS of libtorch runs at the speed of AVX2 on processors
//! that are not Intel's; this runs at that of AVX-512 where there is one.

use gemm::Parallelism;

/// A matrix over a slice, row-major or transposed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A contiguous row-major matrix.
    ///
    /// # Panics
    /// When the slice does not hold `rows · columns` values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix of {rows} × {columns}");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
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
