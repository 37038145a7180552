//! Softmax attention without the matrix of its probabilities.

use syncyte_kernels::attention::{self, Gradients, Inputs, Shape, Tokens, TokensMut};
use syncyte_kernels::number::Bf16;
use syncyte_kernels::rows::ShapeError;
use tch::{Device, Kind, Tensor};

use crate::shim::{Backward, TorchElement, elements, elements_mut, record};

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
pub(super) fn torch_attention(q: &Tensor, kv: Option<&Tensor>, mask: Option<&Tensor>, heads: i64) -> Tensor {
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
