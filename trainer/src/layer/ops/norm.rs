//! Layer norm.

use syncyte_kernels::layer::{self, RowStatistics};
use tch::{Device, Kind, Tensor};

use crate::shim::{Backward, elements, elements_mut, record};

/// Layer norm over the last axis of `x [..., d]` with `weight [d]` and `bias [d]` in f32, in the kind of `x`; computed in
/// f32.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Tensor {
    let torchs = |x: &Tensor| x.layer_norm(weight.size(), Some(weight), Some(bias), eps, false);
    match (x.device(), x.kind()) {
        (_, Kind::Float) => torchs(x),
        (Device::Cpu, Kind::BFloat16) => fused(x, weight, bias, eps),
        // On some devices torch wants one kind for all three.
        (_, kind) => torchs(&x.to_kind(Kind::Float)).to_kind(kind),
    }
}

fn fused(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Tensor {
    record(&[x, weight, bias], || {
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.detach().contiguous());
        let mut out = x.empty_like();
        let mut statistics = vec![RowStatistics::default(); x.numel() / weight.numel().max(1)];
        let output = elements_mut(&mut out);
        layer::layer_norm(elements(&x), elements(&weight), elements(&bias), eps as f32, output, &mut statistics);
        let backward: Backward = Box::new(move |given, needed| {
            let given = given.contiguous();
            let mut gradients = [x.empty_like(), weight.empty_like(), weight.empty_like()];
            let [dx, dweight, dbias] = &mut gradients;
            layer::layer_norm_backward(
                elements(&given),
                elements(&x),
                &statistics,
                elements(&weight),
                elements_mut(dx),
                elements_mut(dweight),
                elements_mut(dbias),
            );
            gradients.into_iter().zip(needed).map(|(tensor, needed)| needed.then_some(tensor)).collect()
        });
        (out, backward)
    })
}
