//! Operations that torch has, done faster or with less memory.
//!
//! Guarantee: each is the same function as torch's, to rounding, with gradients of parameters in f32 whatever kind it
//! computes in. Where there is no faster way (other devices and kinds), it is torch's own.

use syncyte_kernels::attention::{self, Gradients, Inputs, Shape, Tokens, TokensMut};
use syncyte_kernels::matmul::{Matrix, Onto, is_narrow, multiply};
use syncyte_kernels::number::Bf16;
use syncyte_kernels::rows::ShapeError;
use tch::{Device, Kind, Tensor};

use crate::shim::{Backward, FlatMut, NotFlat, TorchElement, elements, elements_mut, flat, record};

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
                // Torch adds up in f32 either way; with a result in f32 it takes a slow path.
                needed[2].then(|| rows.sum_dim_intlist([0_i64].as_slice(), false, rows.kind()).to_kind(Kind::Float)),
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

/// Softmax attention of `heads` heads: queries `q [batch, queries, d]`; keys and values side by side in
/// `kv [batch, keys, 2·d]`, or all three in `q [batch, tokens, 3·d]`. Only keys where `mask [batch, keys]` is true are
/// attended to. Gives `[batch, queries, d]`.
pub fn attention(q: &Tensor, kv: Option<&Tensor>, mask: Option<&Tensor>, heads: i64) -> Tensor {
    match (q.device(), q.kind()) {
        (Device::Cpu, Kind::Float) => fused_attention::<f32>(q, kv, mask, heads),
        (Device::Cpu, Kind::BFloat16) => fused_attention::<Bf16>(q, kv, mask, heads),
        _ => torch_attention(q, kv, mask, heads),
    }
}

/// Torch's own, on every device and kind.
fn torch_attention(q: &Tensor, kv: Option<&Tensor>, mask: Option<&Tensor>, heads: i64) -> Tensor {
    let parts =
        kv.map_or_else(|| q.chunk(3, -1), |kv| std::iter::once(q.shallow_clone()).chain(kv.chunk(2, -1)).collect());
    let split = |x: &Tensor| {
        let size = x.size();
        x.view([size[0], size[1], heads, size[2] / heads]).transpose(1, 2)
    };
    let mask = mask.map(|mask| mask.unsqueeze(1).unsqueeze(1));
    let (q, k, v) = (split(&parts[0]), split(&parts[1]), split(&parts[2]));
    let mixed = Tensor::scaled_dot_product_attention(&q, &k, &v, mask.as_ref(), 0.0, false, None::<f64>, false);
    mixed.transpose(1, 2).reshape(parts[0].size())
}

/// What a fused attention computes on.
struct Packed {
    shape: Shape,
    /// Width of all heads.
    width: usize,
    q: Tensor,
    kv: Option<Tensor>,
    mask: Option<Vec<bool>>,
}

impl Packed {
    fn new(q: &Tensor, kv: Option<&Tensor>, mask: Option<&Tensor>, heads: i64) -> Self {
        let (q, kv) = (q.detach().contiguous(), kv.map(|kv| kv.detach().contiguous()));
        let size = q.size();
        let width = if kv.is_some() { size[2] } else { size[2] / 3 };
        let keys = kv.as_ref().map_or(size[1], |kv| kv.size()[1]);
        let [batch, heads, queries, keys, head] = [size[0], heads, size[1], keys, width / heads].map(|n| n as usize);
        let shape = Shape { batch, heads, queries, keys, width: head };
        let mask = mask.map(|mask| Vec::<bool>::try_from(mask.contiguous().view([-1])).unwrap_or_default());
        Self { shape, width: width as usize, q, kv, mask }
    }

    fn inputs<E: TorchElement>(&self) -> Result<Inputs<'_, E>, ShapeError> {
        let mask = self.mask.as_deref();
        let [q, k, v] = match &self.kv {
            None => Tokens::packed::<3>(elements(&self.q), self.width)?,
            Some(kv) => {
                let [k, v] = Tokens::packed::<2>(elements(kv), self.width)?;
                [Tokens::new(elements(&self.q), self.width, self.width)?, k, v]
            }
        };
        Ok(Inputs { q, k, v, mask })
    }

    /// Output and the logarithms that backward needs.
    fn forward<E: TorchElement>(&self) -> Result<(Tensor, Vec<f32>), ShapeError> {
        let Shape { batch, heads, queries, .. } = self.shape;
        let size = [batch as i64, queries as i64, self.width as i64];
        let mut out = Tensor::empty(size, (self.q.kind(), Device::Cpu));
        let mut logarithms = vec![0.0_f32; batch * heads * queries];
        let tokens = TokensMut::new(elements_mut::<E>(&mut out), self.width, self.width)?;
        attention::forward(self.shape, self.inputs()?, tokens, &mut logarithms)?;
        Ok((out, logarithms))
    }

    /// Gradients of `q` and `kv`.
    fn backward<E: TorchElement>(
        &self,
        logarithms: &[f32],
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>, ShapeError> {
        let gradient = gradient.contiguous();
        let given = Tokens::new(elements::<E>(&gradient), self.width, self.width)?;
        let mut dq = self.q.empty_like();
        let mut dkv = self.kv.as_ref().map(Tensor::empty_like);
        let [q, k, v] = match &mut dkv {
            None => TokensMut::packed::<3>(elements_mut(&mut dq), self.width)?,
            Some(dkv) => {
                let [k, v] = TokensMut::packed::<2>(elements_mut(dkv), self.width)?;
                [TokensMut::new(elements_mut(&mut dq), self.width, self.width)?, k, v]
            }
        };
        attention::backward(self.shape, self.inputs::<E>()?, logarithms, given, Gradients { q, k, v })?;
        Ok(std::iter::once(Some(dq)).chain(dkv.map(Some)).collect())
    }
}

fn fused_attention<E: TorchElement>(q: &Tensor, kv: Option<&Tensor>, mask: Option<&Tensor>, heads: i64) -> Tensor {
    let inputs: Vec<&Tensor> = std::iter::once(q).chain(kv).collect();
    record(&inputs, || {
        let packed = Packed::new(q, kv, mask, heads);
        let (out, logarithms) =
            packed.forward::<E>().unwrap_or_else(|error| panic!("attention of tensors that do not fit: {error}"));
        let backward: Backward = Box::new(move |gradient, _| {
            let gradients = packed.backward::<E>(&logarithms, gradient);
            gradients.unwrap_or_else(|error| panic!("gradient of attention that does not fit: {error}"))
        });
        (out, backward)
    })
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

    /// Output and gradients of attention for a fixed gradient of the output, in f32.
    fn attended(q: &Tensor, kv: Option<&Tensor>, run: impl Fn(&Tensor, Option<&Tensor>) -> Tensor) -> Vec<Tensor> {
        let q = q.copy().set_requires_grad(true);
        let kv = kv.map(|kv| kv.copy().set_requires_grad(true));
        let out = run(&q, kv.as_ref());
        (out.to_kind(Kind::Float) * noise(9, &out.size())).sum(Kind::Float).backward();
        std::iter::once(out).chain(std::iter::once(q.grad())).chain(kv.map(|kv| kv.grad())).collect()
    }

    #[test]
    fn attention_equals_torchs_in_value_and_gradients_packed_and_across() {
        let mask = Tensor::from_slice(&[true, false, true, true, true, false]).view([2, 3]);
        for (kind, tolerance) in [(Kind::Float, 2e-6), (Kind::BFloat16, 2e-2)] {
            let packed = noise(7, &[2, 5, 3 * 8]).to_kind(kind);
            let (q, kv) = (noise(7, &[2, 5, 8]).to_kind(kind), noise(8, &[2, 3, 2 * 8]).to_kind(kind));
            for (q, kv, mask) in [(&packed, None, None), (&q, Some(&kv), Some(&mask)), (&q, Some(&kv), None)] {
                let ours = attended(q, kv, |q, kv| attention(q, kv, mask, 2));
                let exact = |x: &Tensor| x.to_kind(Kind::Float);
                let torchs = attended(&exact(q), kv.map(exact).as_ref(), |q, kv| torch_attention(q, kv, mask, 2));
                for (one, two) in ours.iter().zip(&torchs) {
                    assert!(relative(one, two) < tolerance, "{kind:?}: {}", relative(one, two));
                }
            }
        }
    }

    #[test]
    fn a_single_row_leaves_weight_and_bias_as_they_are() {
        let (x, w, b) = (noise(1, &[1, 20]), noise(2, &[7, 20]), noise(3, &[7]));
        let before = (w.copy(), b.copy());
        let first = linear(&x, &w, &b, None);
        assert_eq!(first, linear(&x, &w, &b, None));
        assert_eq!((w, b), before);
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
