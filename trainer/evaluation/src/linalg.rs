//! Dense linear algebra in double precision: what `ndarray` lacks, computed by faer.
//!
//! Guarantee: results are `f64` throughout and depend on the input alone; a matrix that is singular, not
//! square or not finite is an error and never a matrix of NaN.

use faer::linalg::solvers::Solve;
use faer::{Mat, MatRef, Side};
use ndarray::{Array1, Array2, ArrayView2};

/// Why a decomposition or a solution was not found.
#[derive(Debug, thiserror::Error)]
pub enum LinalgError {
    /// The shapes do not fit the operation.
    #[error("{operation}: shapes {left:?} and {right:?} do not fit")]
    Shape {
        /// Operation, e.g. `solve`.
        operation: &'static str,
        /// Shape of the first matrix.
        left: (usize, usize),
        /// Shape of the second.
        right: (usize, usize),
    },
    /// An entry is NaN or infinite.
    #[error("{operation}: the matrix has an entry that is not finite at row {row}, column {column}")]
    NotFinite {
        /// Operation.
        operation: &'static str,
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// There is none, e.g. for a singular matrix.
    #[error("{operation}: {reason}")]
    NotFound {
        /// Operation.
        operation: &'static str,
        /// Why.
        reason: String,
    },
}

/// Eigenvalues, in ascending order, and eigenvectors (columns) of a symmetric matrix.
///
/// # Errors
/// When the matrix is not square or not finite.
pub fn eigh(matrix: ArrayView2<'_, f64>) -> Result<(Array1<f64>, Array2<f64>), LinalgError> {
    let operation = "eigh";
    require(matrix.nrows() == matrix.ncols(), operation, matrix, matrix)?;
    require_finite(operation, matrix)?;
    let found = copied(&matrix).self_adjoint_eigen(Side::Lower);
    let found = found.map_err(|error| LinalgError::NotFound { operation, reason: format!("{error:?}") })?;
    let values = found.S().column_vector().iter().copied().collect();
    Ok((values, owned(found.U())))
}

/// The solution `X` of `A X = B` for a square `A`.
///
/// # Errors
/// When the shapes do not fit or `A` is singular.
pub fn solve(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<Array2<f64>, LinalgError> {
    let operation = "solve";
    require(a.nrows() == a.ncols() && a.nrows() == b.nrows(), operation, a, b)?;
    require_finite(operation, a)?;
    require_finite(operation, b)?;
    let lu = copied(&a).partial_piv_lu();
    // A pivot of exactly zero: no solution, or many.
    let singular = (0..a.nrows()).any(|at| lu.U()[(at, at)] == 0.0);
    let solution = owned(lu.solve(copied(&b)).as_ref());
    if singular || solution.iter().any(|entry| !entry.is_finite()) {
        return Err(LinalgError::NotFound { operation, reason: "the matrix is singular".into() });
    }
    Ok(solution)
}

/// The product `A B`, on all threads; worth it for large matrices only.
///
/// # Errors
/// When the shapes do not fit or an entry is not finite.
pub fn matmul(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<Array2<f64>, LinalgError> {
    let operation = "matmul";
    require(a.ncols() == b.nrows(), operation, a, b)?;
    require_finite(operation, a)?;
    require_finite(operation, b)?;
    Ok(owned((copied(&a) * copied(&b)).as_ref()))
}

/// The leading `k` principal axes of centred rows: axes as rows (`k × columns`), and their variances (`n − 1`
/// degrees of freedom) in descending order.
///
/// The smaller of the two Gram matrices is decomposed. Each axis is oriented so that its entry of largest
/// magnitude is positive. Fewer than `k` axes come back where the rank is smaller.
///
/// # Errors
/// When an entry is not finite.
pub fn principal_axes(centred: ArrayView2<'_, f64>, k: usize) -> Result<(Array2<f64>, Array1<f64>), LinalgError> {
    let (n, columns) = centred.dim();
    let wide = columns > n;
    let gram = if wide { matmul(centred, centred.t())? } else { matmul(centred.t(), centred)? };
    let (values, vectors) = eigh(gram.view())?;
    let largest = values.last().copied().unwrap_or(0.0).max(0.0);
    let floor = largest * 1e-12 * n.max(columns) as f64;
    let kept: Vec<usize> = (0..values.len()).rev().take(k).filter(|&at| values[at] > floor).collect();

    let mut axes = vectors.select(ndarray::Axis(1), &kept).reversed_axes();
    if wide {
        axes = axes.dot(&centred);
        for (mut axis, &at) in axes.rows_mut().into_iter().zip(&kept) {
            axis /= values[at].sqrt();
        }
    }
    for mut axis in axes.rows_mut() {
        let peak = axis.iter().copied().fold(0.0f64, |peak, entry| if entry.abs() > peak.abs() { entry } else { peak });
        if peak < 0.0 {
            axis.mapv_inplace(|entry| -entry);
        }
    }
    let freedom = n.saturating_sub(1).max(1) as f64;
    Ok((axes, kept.iter().map(|&at| values[at] / freedom).collect()))
}

fn require(
    fits: bool,
    operation: &'static str,
    left: ArrayView2<'_, f64>,
    right: ArrayView2<'_, f64>,
) -> Result<(), LinalgError> {
    if fits { Ok(()) } else { Err(LinalgError::Shape { operation, left: left.dim(), right: right.dim() }) }
}

fn require_finite(operation: &'static str, matrix: ArrayView2<'_, f64>) -> Result<(), LinalgError> {
    match matrix.indexed_iter().find(|(_, entry)| !entry.is_finite()) {
        Some(((row, column), _)) => Err(LinalgError::NotFinite { operation, row, column }),
        None => Ok(()),
    }
}

/// The same numbers for faer.
fn copied(matrix: &ArrayView2<'_, f64>) -> Mat<f64> {
    Mat::from_fn(matrix.nrows(), matrix.ncols(), |row, column| matrix[(row, column)])
}

fn owned(matrix: MatRef<'_, f64>) -> Array2<f64> {
    Array2::from_shape_fn((matrix.nrows(), matrix.ncols()), |(row, column)| matrix[(row, column)])
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::{LinalgError, eigh, matmul, principal_axes, solve};

    fn close(a: &Array2<f64>, b: &Array2<f64>) -> bool {
        a.dim() == b.dim() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-10)
    }

    #[test]
    fn decompositions_give_the_matrix_back() {
        let symmetric = array![[2.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 1.0]];
        let (values, vectors) = eigh(symmetric.view()).unwrap();
        assert!(values.windows(2).into_iter().all(|pair| pair[0] <= pair[1]));
        assert!(close(&vectors.dot(&Array2::from_diag(&values)).dot(&vectors.t()), &symmetric));
    }

    #[test]
    fn a_solution_solves_and_a_singular_matrix_is_an_error() {
        let a = array![[3.0, 1.0], [1.0, 2.0]];
        let b = array![[9.0], [8.0]];
        assert!(close(&matmul(a.view(), solve(a.view(), b.view()).unwrap().view()).unwrap(), &b));
        let singular = array![[1.0, 2.0], [2.0, 4.0]];
        assert!(matches!(solve(singular.view(), b.view()), Err(LinalgError::NotFound { .. })));
    }

    #[test]
    fn bad_shapes_and_values_are_named() {
        let a = array![[1.0, 2.0]];
        assert!(matches!(solve(a.view(), a.view()), Err(LinalgError::Shape { operation: "solve", .. })));
        let nan = array![[1.0, 0.0], [f64::NAN, 1.0]];
        assert!(eigh(nan.view()).unwrap_err().to_string().contains("row 1, column 0"));
    }

    #[test]
    fn principal_axes_agree_between_tall_and_wide_and_span_the_rows() {
        let rows = Array2::from_shape_fn((4, 6), |(i, j)| ((i * 7 + j * 3) % 11) as f64 + (i * j) as f64 * 0.1);
        let centred = &rows - &rows.mean_axis(ndarray::Axis(0)).unwrap();
        let (axes, variances) = principal_axes(centred.view(), 50).unwrap();
        assert_eq!(axes.nrows(), 3, "four centred rows have rank three");
        assert!((variances.sum() - centred.mapv(|entry| entry * entry).sum() / 3.0).abs() < 1e-9);
        assert!(close(&centred.dot(&axes.t()).dot(&axes), &centred));
        assert!(close(&axes.dot(&axes.t()), &Array2::eye(3)));
        let stacked = ndarray::concatenate![ndarray::Axis(0), centred, centred];
        let (tall, _) = principal_axes(stacked.view(), 3).unwrap();
        assert!(close(&tall, &axes), "the axes do not depend on which Gram matrix was decomposed");
    }
}
