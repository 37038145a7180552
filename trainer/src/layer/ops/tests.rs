use tch::{Device, Kind, Tensor};

use super::attention::torch_attention;
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

#[test]
fn layer_norm_equals_torchs_in_value_and_gradients() {
    let torch = |x: &Tensor, w: &Tensor, b: &Tensor| x.layer_norm([20], Some(w), Some(b), 1e-5, false);
    let given = noise(3, &[3, 4, 20]);
    let run = |of: &dyn Fn(&Tensor, &Tensor, &Tensor) -> Tensor| {
        let [x, w, b] = [(1, vec![3, 4, 20]), (2, vec![20]), (3, vec![20])]
            .map(|(seed, shape)| noise(seed, &shape).set_requires_grad(true));
        let y = of(&x, &w, &b);
        (y.to_kind(Kind::Float) * &given).sum(Kind::Float).backward();
        [y, x.grad(), w.grad(), b.grad()]
    };
    let torchs = run(&torch);
    let ours = run(&|x, w, b| layer_norm(x, w, b, 1e-5));
    let rounded = run(&|x, w, b| layer_norm(&x.to_kind(Kind::BFloat16), w, b, 1e-5));
    for ((ours, rounded), torchs) in ours.iter().zip(&rounded).zip(&torchs) {
        assert!(relative(ours, torchs) < 2e-6, "{}", relative(ours, torchs));
        assert!(relative(rounded, torchs) < 0.03, "{}", relative(rounded, torchs));
    }
    assert_eq!(rounded[0].kind(), Kind::BFloat16);
}
