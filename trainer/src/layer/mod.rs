//! Layers as functions of a [`ParamSet`]: the same layer runs with the student's or the teacher's values.

pub mod dropout;
pub mod ops;

use tch::Tensor;

use crate::params::{Group, Init, ParamId, ParamSet, Registry};

/// Standard deviation of ijepa's truncated normal initialisation.
pub const INIT_SD: f64 = 0.02;

/// Epsilon of every layer norm.
pub const NORM_EPS: f64 = 1e-5;

/// `y = x Wᵀ + b`, weight `[out, in]`.
#[derive(Debug)]
pub struct Linear {
    weight: ParamId,
    bias: ParamId,
}

impl Linear {
    /// Declares `{name}.weight` and `{name}.bias`.
    pub fn new(registry: &mut Registry, group: Group, name: &str, inputs: i64, outputs: i64) -> Self {
        Self::with_init(registry, group, name, inputs, outputs, Init::TruncatedNormal(INIT_SD))
    }

    /// As [`Linear::new`], with the initialisation of the weight.
    pub fn with_init(registry: &mut Registry, group: Group, name: &str, inputs: i64, outputs: i64, init: Init) -> Self {
        Self {
            weight: registry.weight(group, format!("{name}.weight"), &[outputs, inputs], init),
            bias: registry.plain(group, format!("{name}.bias"), &[outputs], Init::Zeros),
        }
    }

    /// `[…, in] → […, out]`.
    pub fn forward(&self, params: &ParamSet, x: &Tensor) -> Tensor {
        self.part(params, x, 0, params[self.weight].size()[0])
    }

    /// As [`Linear::forward`] with `n` outputs from output `start` on.
    fn part(&self, params: &ParamSet, x: &Tensor, start: i64, n: i64) -> Tensor {
        let slice = |tensor: &Tensor| {
            if n == tensor.size()[0] { tensor.shallow_clone() } else { tensor.narrow(0, start, n) }
        };
        let (weight, bias) = (slice(&params[self.weight]), slice(&params[self.bias]));
        let rounded = params.shadow(self.weight).zip(params.shadow(self.bias)).map(|(w, b)| (slice(w), slice(b)));
        ops::linear(x, &weight, &bias, rounded)
    }
}

/// Layer norm over the last axis with an affine map.
#[derive(Debug)]
pub struct Norm {
    weight: ParamId,
    bias: ParamId,
}

impl Norm {
    /// Declares `{name}.weight` and `{name}.bias`.
    pub fn new(registry: &mut Registry, group: Group, name: &str, width: i64) -> Self {
        Self {
            weight: registry.plain(group, format!("{name}.weight"), &[width], Init::Ones),
            bias: registry.plain(group, format!("{name}.bias"), &[width], Init::Zeros),
        }
    }

    /// `[…, width] → […, width]`.
    pub fn forward(&self, params: &ParamSet, x: &Tensor) -> Tensor {
        ops::layer_norm(x, &params[self.weight], &params[self.bias], NORM_EPS)
    }
}

/// Two linear maps with GELU between: `d → 4d → d`.
#[derive(Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// Declares the parameters of layer `layer` (from 1) under `name`.
    pub fn new(registry: &mut Registry, group: Group, name: &str, width: i64, layer: usize) -> Self {
        Self {
            fc1: Linear::new(registry, group, &format!("{name}.fc1"), width, 4 * width),
            fc2: Linear::with_init(registry, group, &format!("{name}.fc2"), 4 * width, width, residual_init(layer)),
        }
    }

    /// `[…, width]` to the same shape.
    pub fn forward(&self, params: &ParamSet, x: &Tensor) -> Tensor {
        self.fc2.forward(params, &self.fc1.forward(params, x).gelu("none"))
    }
}

/// Residual outputs start smaller the deeper they are: `÷ √(2·layer)`, layers from 1.
fn residual_init(layer: usize) -> Init {
    Init::TruncatedNormal(INIT_SD / (2.0 * layer as f64).sqrt())
}

/// Multi-head attention with one input projection for queries, keys and values.
#[derive(Debug)]
pub struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: i64,
    width: i64,
}

impl Attention {
    /// Declares the parameters of layer `layer` (from 1) under `name`.
    pub fn new(registry: &mut Registry, group: Group, name: &str, width: i64, heads: i64, layer: usize) -> Self {
        let qkv = Linear::new(registry, group, &format!("{name}.qkv"), width, 3 * width);
        let proj = Linear::with_init(registry, group, &format!("{name}.proj"), width, width, residual_init(layer));
        Self { qkv, proj, heads, width }
    }

    /// Every token of `x [batch, tokens, width]` attends to all; `mask [batch, tokens]` is true where a token may be attended
    /// to.
    pub fn self_attention(&self, params: &ParamSet, x: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let mixed = ops::attention(&self.qkv.forward(params, x), None, mask, self.heads);
        self.proj.forward(params, &mixed)
    }

    /// `mask` is `[batch, keys]`, true where a key may be attended to.
    fn cross_attention(&self, params: &ParamSet, x: &Tensor, context: &Tensor, mask: &Tensor) -> Tensor {
        let q = self.qkv.part(params, x, 0, self.width);
        let kv = self.qkv.part(params, context, self.width, 2 * self.width);
        self.proj.forward(params, &ops::attention(&q, Some(&kv), Some(mask), self.heads))
    }
}

/// Pre-norm transformer block: `x + attention(norm x)`, then `x + mlp(norm x)`.
#[derive(Debug)]
pub struct Block {
    norm1: Norm,
    attention: Attention,
    norm2: Norm,
    mlp: Mlp,
}

impl Block {
    /// Declares the parameters of block `layer` (from 1) under `name`.
    pub fn new(registry: &mut Registry, group: Group, name: &str, width: i64, heads: i64, layer: usize) -> Self {
        Self {
            norm1: Norm::new(registry, group, &format!("{name}.norm1"), width),
            attention: Attention::new(registry, group, &format!("{name}.attention"), width, heads, layer),
            norm2: Norm::new(registry, group, &format!("{name}.norm2"), width),
            mlp: Mlp::new(registry, group, &format!("{name}.mlp"), width, layer),
        }
    }

    /// `[batch, tokens, width]` to the same shape; `mask [batch, tokens]` is true for tokens that are there, where not all
    /// are.
    pub fn forward(&self, params: &ParamSet, x: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let x = x + self.attention.self_attention(params, &self.norm1.forward(params, x), mask);
        &x + self.mlp.forward(params, &self.norm2.forward(params, &x))
    }
}

/// Pre-norm cross-attention block: queries are cell tokens, keys and values condition tokens.
#[derive(Debug)]
pub struct CrossBlock {
    norm1: Norm,
    norm_context: Norm,
    attention: Attention,
    norm2: Norm,
    mlp: Mlp,
}

impl CrossBlock {
    /// Declares the parameters of block `layer` (from 1) under `name`.
    pub fn new(registry: &mut Registry, group: Group, name: &str, width: i64, heads: i64, layer: usize) -> Self {
        Self {
            norm1: Norm::new(registry, group, &format!("{name}.norm1"), width),
            norm_context: Norm::new(registry, group, &format!("{name}.norm_context"), width),
            attention: Attention::new(registry, group, &format!("{name}.attention"), width, heads, layer),
            norm2: Norm::new(registry, group, &format!("{name}.norm2"), width),
            mlp: Mlp::new(registry, group, &format!("{name}.mlp"), width, layer),
        }
    }

    /// `x` is `[batch, tokens, width]`, `context` `[batch, keys, width]`, `mask` `[batch, keys]` (true = attend).
    pub fn forward(&self, params: &ParamSet, x: &Tensor, context: &Tensor, mask: &Tensor) -> Tensor {
        let context = self.norm_context.forward(params, context);
        let x = x + self.attention.cross_attention(params, &self.norm1.forward(params, x), &context, mask);
        &x + self.mlp.forward(params, &self.norm2.forward(params, &x))
    }
}

/// Multiply-adds of a [`Block`] on `tokens` of `width`: 12 d² a token in its linear maps, 2 T² d in attention.
pub fn block_macs(tokens: u64, width: u64) -> u64 {
    12 * tokens * width * width + 2 * tokens * tokens * width
}

/// Multiply-adds of a [`CrossBlock`]: queries, output and MLP of each token (10 d²), keys and values of each condition token
/// (2 d²), attention of tokens to condition tokens.
pub fn cross_block_macs(tokens: u64, keys: u64, width: u64) -> u64 {
    (10 * tokens + 2 * keys) * width * width + 2 * tokens * keys * width
}

/// Refuses a number of attention heads that does not divide the width.
///
/// # Errors
/// Names both.
pub fn check_heads(heads: i64, width: i64) -> Result<(), String> {
    if heads > 0 && width % heads == 0 {
        Ok(())
    } else {
        Err(format!("heads = {heads} does not divide width = {width}"))
    }
}

/// Refuses a share that is not in [0, 1).
///
/// # Errors
/// Names the key.
pub fn check_share(key: &str, share: f64) -> Result<(), String> {
    if (0.0..1.0).contains(&share) { Ok(()) } else { Err(format!("{key} = {share} must lie in [0, 1)")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_attention_a_block_is_six_flops_a_weight_and_token() {
        // 6·P·tokens with P = 12·d² weights a block; the difference is the 12·L·d·T² of attention.
        let linear = 6 * 4 * (12 * 256 * 256) * 64;
        let attention = 12 * 4 * 256 * 64 * 64;
        assert_eq!(6 * 4 * block_macs(64, 256), linear + attention);
    }

    #[test]
    fn a_block_has_the_specified_number_of_parameters() {
        let mut registry = Registry::default();
        let _ = Block::new(&mut registry, Group::new("block"), "block", 256, 8, 1);
        assert_eq!(registry.layout().n_parameters(), 789_760);
    }
}
