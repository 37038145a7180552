//! E1: dense expression encoder to a grid of tokens.
//!
//! `x [B, G]` → (linear → norm → GELU → dropout) for each hidden width → linear to `T·d` → `[B, T, d]` + learned
//! position → pre-norm transformer blocks → norm. The pooled embedding is the mean over tokens.

use tch::Tensor;

use super::dropout::dropout;
use super::layer::{Block, INIT_SD, Linear, Norm};
use crate::config::EncoderConfig;
use crate::params::{Init, ParamId, ParamSet, Part, Registry};

/// Dropout of one forward pass: the probability of the configuration, masks keyed by cell.
#[derive(Debug)]
pub struct DropoutKeys<'a> {
    /// One i64 a cell, `[B]`: a hash of seed, step and cell.
    pub rows: &'a Tensor,
}

/// The encoder's modules; values come with each call.
#[derive(Debug)]
pub struct Encoder {
    hidden: Vec<(Linear, Norm)>,
    to_tokens: Linear,
    position: ParamId,
    blocks: Vec<Block>,
    norm: Norm,
    tokens: i64,
    width: i64,
    dropout: f64,
}

impl Encoder {
    /// Declares the encoder of `genes` inputs.
    pub fn new(registry: &mut Registry, config: &EncoderConfig, genes: i64) -> Self {
        let part = Part::Encoder;
        let mut inputs = genes;
        let mut hidden = Vec::new();
        for (index, &outputs) in config.hidden.iter().enumerate() {
            let name = format!("encoder.hidden.{index}");
            hidden.push((
                Linear::new(registry, part, &name, inputs, outputs),
                Norm::new(registry, part, &format!("{name}.norm"), outputs),
            ));
            inputs = outputs;
        }
        let (tokens, width) = (config.tokens, config.width);
        Self {
            hidden,
            to_tokens: Linear::new(registry, part, "encoder.to_tokens", inputs, tokens * width),
            position: registry.plain(part, "encoder.position".into(), &[tokens, width], Init::TruncatedNormal(INIT_SD)),
            blocks: (0..config.depth)
                .map(|i| Block::new(registry, part, &format!("encoder.blocks.{i}"), width, config.heads, i + 1))
                .collect(),
            norm: Norm::new(registry, part, "encoder.norm", width),
            tokens,
            width,
            dropout: config.dropout,
        }
    }

    /// `x [B, G]` log-normalised → tokens `[B, T, d]`. Without `dropout` the pass is deterministic (teacher, inference).
    pub fn forward(&self, params: &ParamSet, x: &Tensor, dropout_keys: Option<&DropoutKeys<'_>>) -> Tensor {
        let kind = params.compute_kind();
        let mut h = x.to_kind(kind);
        for (layer, (linear, norm)) in self.hidden.iter().enumerate() {
            h = norm.forward(params, &linear.forward(params, &h)).gelu("none");
            if let Some(keys) = dropout_keys {
                h = dropout(&h, self.dropout, keys.rows, layer as i64 + 1);
            }
        }
        let mut tokens = self.to_tokens.forward(params, &h).view([-1, self.tokens, self.width])
            + params[self.position].to_kind(kind);
        for block in &self.blocks {
            tokens = block.forward(params, &tokens);
        }
        self.norm.forward(params, &tokens)
    }

    /// Width of a token and of the pooled embedding.
    pub fn width(&self) -> i64 {
        self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(genes: i64) -> usize {
        let mut registry = Registry::default();
        let _ = Encoder::new(&mut registry, &EncoderConfig::default(), genes);
        registry.layout().n_parameters()
    }

    #[test]
    fn parameter_counts_are_the_specified_ones() {
        assert_eq!(parameters(5_000), 32_315_904);
        assert_eq!(parameters(20_000), 63_035_904);
    }
}
