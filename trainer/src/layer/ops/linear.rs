//! Linear maps.

use syncyte_kernels::layer::column_sums;
use syncyte_kernels::matmul::{Matrix, Onto, is_narrow, multiply};
use tch::{Device, Kind, Tensor};

use crate::shim::{Backward, FlatMut, NotFlat, elements, elements_mut, flat, record};

/// `y = x Wᵀ + b` with `W [out, in]`, `b [out]` in f32, `x [..., in]`.
///
/// With `rounded` copies of `W` and `b`, products are computed in their kind, which is also that of `x` and `y`; the
/// gradients of `W` and `b` are f32.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, rounded: Option<(Tensor, Tensor)>) -> Tensor {
    match rounded {
        Some((w, b)) if x.kind() == w.kind() => rounded_linear(x, weight, bias, w, b),
        _ if x.kind() == Kind::Float && x.device() == Device::Cpu => plain_linear(x, weight, bias),
        _ => x.linear(weight, Some(bias)),
    }
}

/// Rows of the last axis.
fn as_rows(x: &Tensor) -> Tensor {
    x.reshape([-1, x.size()[x.dim() - 1]])
}

/// The shape of `x` with another last axis.
fn with_last(x: &Tensor, last: i64) -> Vec<i64> {
    let mut shape = x.size();
    if let Some(end) = shape.last_mut() {
        *end = last;
    }
    shape
}

fn rounded_linear(x: &Tensor, weight: &Tensor, bias: &Tensor, w: Tensor, b: Tensor) -> Tensor {
    record(&[x, weight, bias], || {
        let out = x.linear(&w, Some(&b));
        let x = x.detach();
        let backward: Backward = Box::new(move |gradient, needed| {
            let rows = as_rows(gradient);
            vec![
                needed[0].then(|| gradient.matmul(&w)),
                needed[1].then(|| weight_gradient(&rows, &as_rows(&x))),
                needed[2].then(|| bias_gradient(&rows)),
            ]
        });
        (out, backward)
    })
}

/// `gradientᵀ · x` in f32 of rows in another kind.
fn weight_gradient(gradient: &Tensor, x: &Tensor) -> Tensor {
    let (n, k) = (gradient.size()[1], x.size()[1]);
    if gradient.device() == Device::Cpu && is_narrow(gradient.size()[0] as usize, k as usize) {
        let wide = |rows: &Tensor| rows.to_kind(Kind::Float).contiguous();
        let out = Tensor::empty([n, k], (Kind::Float, Device::Cpu));
        return product(out, Onto::Nothing, &wide(gradient), true, &wide(x), false);
    }
    gradient.tr().matmul(x).to_kind(Kind::Float)
}

fn plain_linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    record(&[x, weight, bias], || {
        let (x, w) = (x.detach().contiguous(), weight.detach().contiguous());
        let shape = with_last(&x, w.size()[0]);
        // The bias stands in every row before the product is added to it; in memory of its own, also for a single row.
        let mut out = Tensor::empty(shape.as_slice(), (Kind::Float, Device::Cpu));
        out.copy_(&bias.detach());
        let out = product(out, Onto::Present, &as_rows(&x), false, &w, true);
        let backward: Backward = Box::new(move |gradient, needed| {
            let gradient = gradient.contiguous();
            let rows = as_rows(&gradient);
            let empty = |like: &Tensor| Tensor::empty(like.size(), (Kind::Float, Device::Cpu));
            vec![
                needed[0].then(|| product(empty(&x), Onto::Nothing, &rows, false, &w, false)),
                needed[1].then(|| product(empty(&w), Onto::Nothing, &rows, true, &as_rows(&x), false)),
                needed[2].then(|| bias_gradient(&rows)),
            ]
        });
        (out, backward)
    })
}

/// `out (+)= a b` of contiguous f32 matrices on the CPU, either of them transposed.
fn product(mut out: Tensor, onto: Onto, a: &Tensor, turn_a: bool, b: &Tensor, turn_b: bool) -> Tensor {
    let done = FlatMut::new(&mut out).and_then(|mut out| {
        multiply(out.as_mut_slice(), onto, matrix(a, turn_a)?, matrix(b, turn_b)?);
        Ok(())
    });
    assert!(done.is_ok(), "contiguous f32 matrices on the CPU, as their callers make them");
    out
}

fn matrix(tensor: &Tensor, turn: bool) -> Result<Matrix<'_>, NotFlat> {
    let (rows, columns) = tensor.size2().unwrap_or_default();
    let matrix = Matrix::new(flat(tensor)?, rows as usize, columns as usize);
    Ok(if turn { matrix.transposed() } else { matrix })
}

/// Sum over rows in f32.
fn bias_gradient(rows: &Tensor) -> Tensor {
    if rows.device() == Device::Cpu && rows.kind() == Kind::BFloat16 {
        let mut sums = Tensor::empty([rows.size()[1]], (Kind::Float, Device::Cpu));
        column_sums(elements(&rows.contiguous()), elements_mut(&mut sums));
        return sums;
    }
    // Torch adds up in f32 either way; with a result in f32 it takes a slow path.
    rows.sum_dim_intlist([0_i64].as_slice(), false, rows.kind()).to_kind(Kind::Float)
}
