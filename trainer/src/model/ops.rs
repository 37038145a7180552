//! Operations that torch has, done faster or with less memory.
//!
//! Guarantee: each is the same function as torch's, to rounding, with gradients of parameters in f32 whatever kind it
//! computes in. Where there is no faster way (other devices and kinds), it is torch's own.

use syncyte_kernels::matmul::{Matrix, Onto, multiply};
use tch::{Device, Kind, Tensor};

use crate::shim::{Backward, FlatMut, NotFlat, flat, record};

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
                needed[1].then(|| rows.tr().matmul(&as_rows(&x)).to_kind(Kind::Float)),
                needed[2].then(|| rows.sum_dim_intlist([0_i64].as_slice(), false, Kind::Float)),
            ]
        });
        (out, backward)
    })
}

fn plain_linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    record(&[x, weight, bias], || {
        let (x, w) = (x.detach().contiguous(), weight.detach().contiguous());
        let shape = with_last(&x, w.size()[0]);
        // The bias stands in every row before the product is added to it.
        let out = bias.detach().expand(shape.as_slice(), false).contiguous();
        let out = product(out, Onto::Present, &as_rows(&x), false, &w, true);
        let backward: Backward = Box::new(move |gradient, needed| {
            let gradient = gradient.contiguous();
            let rows = as_rows(&gradient);
            let empty = |like: &Tensor| Tensor::empty(like.size(), (Kind::Float, Device::Cpu));
            vec![
                needed[0].then(|| product(empty(&x), Onto::Nothing, &rows, false, &w, false)),
                needed[1].then(|| product(empty(&w), Onto::Nothing, &rows, true, &as_rows(&x), false)),
                needed[2].then(|| rows.sum_dim_intlist([0_i64].as_slice(), false, Kind::Float)),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern that depend on nothing else: the generator of torch is shared by all tests.
    fn noise(seed: i64, shape: &[i64]) -> Tensor {
        let n: i64 = shape.iter().product();
        let at = Tensor::arange(n, (Kind::Double, Device::Cpu)) * 12.9898 + seed as f64 * 78.233;
        let fine = at.sin() * 43_758.545_3;
        ((&fine - fine.floor()) * 4.0 - 2.0).to_kind(Kind::Float).view(shape)
    }

    /// Output and gradients of `x`, `W`, `b` for a fixed gradient of the output.
    fn trial(x: &Tensor, run: impl Fn(&Tensor, &Tensor, &Tensor) -> Tensor) -> [Tensor; 4] {
        let leaf = |t: Tensor| t.set_requires_grad(true);
        let x = leaf(x.copy());
        let w = leaf(noise(1, &[7, 20]));
        let b = leaf(noise(2, &[7]));
        let y = run(&x, &w, &b);
        (y.to_kind(Kind::Float) * noise(3, &y.size())).sum(Kind::Float).backward();
        [y, x.grad(), w.grad(), b.grad()]
    }

    fn relative(one: &Tensor, two: &Tensor) -> f64 {
        let (one, two) = (one.to_kind(Kind::Double), two.to_kind(Kind::Double));
        ((&one - &two).abs().max() / two.abs().max()).double_value(&[])
    }

    #[test]
    fn a_linear_map_equals_torchs_in_value_and_gradients_for_every_shape() {
        for shape in [vec![5, 20], vec![3, 4, 20], vec![2, 3, 2, 20], vec![1, 20]] {
            let x = noise(4, &shape);
            let ours = trial(&x, |x, w, b| linear(x, w, b, None));
            let torchs = trial(&x, |x, w, b| x.linear(w, Some(b)));
            for (one, two) in ours.iter().zip(&torchs) {
                assert_eq!(one.size(), two.size());
                assert!(relative(one, two) < 1e-6, "{shape:?}");
            }
        }
    }

    #[test]
    fn a_view_with_strides_is_taken_as_it_is_meant() {
        let x = noise(5, &[20, 6]).tr();
        let ours = trial(&x, |x, w, b| linear(&x.tr().contiguous().tr(), w, b, None));
        let torchs = trial(&x, |x, w, b| x.linear(w, Some(b)));
        assert!(ours.iter().zip(&torchs).all(|(one, two)| relative(one, two) < 1e-6));
    }

    #[test]
    fn a_rounded_linear_map_is_near_and_keeps_the_gradients_of_parameters_in_f32() {
        let x = noise(6, &[30, 20]);
        let ours = trial(&x, |x, w, b| {
            let rounded = (w.detach().to_kind(Kind::BFloat16), b.detach().to_kind(Kind::BFloat16));
            linear(&x.to_kind(Kind::BFloat16), w, b, Some(rounded))
        });
        let torchs = trial(&x, |x, w, b| x.linear(w, Some(b)));
        assert_eq!(ours[0].kind(), Kind::BFloat16);
        assert!(ours[1..].iter().all(|gradient| gradient.kind() == Kind::Float));
        assert!(ours.iter().zip(&torchs).all(|(one, two)| relative(one, two) < 0.02));
    }
}
