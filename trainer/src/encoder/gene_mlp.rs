//! E1: dense expression encoder to a grid of tokens.
//!
//! `x [B, G]` → (linear → norm → GELU → dropout) for each hidden width → linear to `T·d` → `[B, T, d]` + learned
//! position → pre-norm transformer blocks → norm. The pooled embedding is the mean over tokens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use toml::Table;

use super::{Encoder, as_dense};
use crate::batch::view::{Input, State, View};
use crate::component::{Declare, Settings, read};
use crate::layer::dropout::{DropoutKeys, dropout};
use crate::layer::{Block, INIT_SD, Linear, Norm, block_macs, check_heads, check_share};
use crate::params::{Init, ParamId, ParamSet};

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneMlp {
    /// Widths of the MLP in front of the tokens.
    pub hidden: Vec<i64>,
    /// Tokens of a cell.
    pub tokens: i64,
    /// Width of a token and of the pooled embedding.
    pub width: i64,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads; they divide `width`.
    pub heads: i64,
    /// Dropout of the MLP, in training only.
    pub dropout: f64,
}

impl Default for GeneMlp {
    fn default() -> Self {
        Self { hidden: vec![2048, 1024], tokens: 64, width: 256, depth: 4, heads: 8, dropout: 0.1 }
    }
}

impl Settings for GeneMlp {
    fn check(&self) -> Result<(), String> {
        if self.tokens <= 0 || self.width <= 0 || self.hidden.iter().any(|&width| width <= 0) {
            return Err("tokens, width and hidden widths must be positive".into());
        }
        check_heads(self.heads, self.width)?;
        check_share("dropout", self.dropout)
    }
}

#[derive(Debug)]
struct Network {
    settings: GeneMlp,
    genes: u64,
    hidden: Vec<(Linear, Norm)>,
    to_tokens: Linear,
    position: ParamId,
    blocks: Vec<Block>,
    norm: Norm,
}

pub(super) fn build(table: &Table, declare: &mut Declare<'_>) -> Result<Box<dyn Encoder>, String> {
    let settings: GeneMlp = read(table)?;
    let Declare { registry, group, vocabulary } = declare;
    let group = *group;
    let genes = vocabulary.genes.len();
    let mut inputs = genes as i64;
    let mut hidden = Vec::new();
    for (index, &outputs) in settings.hidden.iter().enumerate() {
        let name = format!("encoder.hidden.{index}");
        let linear = Linear::new(registry, group, &name, inputs, outputs);
        hidden.push((linear, Norm::new(registry, group, &format!("{name}.norm"), outputs)));
        inputs = outputs;
    }
    let GeneMlp { tokens, width, heads, .. } = settings;
    let position = Init::TruncatedNormal(INIT_SD);
    Ok(Box::new(Network {
        genes: genes as u64,
        hidden,
        to_tokens: Linear::new(registry, group, "encoder.to_tokens", inputs, tokens * width),
        position: registry.plain(group, "encoder.position".into(), &[tokens, width], position),
        blocks: (0..settings.depth)
            .map(|i| Block::new(registry, group, &format!("encoder.blocks.{i}"), width, heads, i + 1))
            .collect(),
        norm: Norm::new(registry, group, "encoder.norm", width),
        settings,
    }))
}

impl Encoder for Network {
    fn input(&self) -> Input {
        Input::Dense
    }

    fn forward(&self, params: &ParamSet, cells: &View, keys: Option<&DropoutKeys<'_>>) -> State {
        let kind = params.compute_kind();
        let mut h = as_dense(cells, self.genes).to_kind(kind);
        for (layer, (linear, norm)) in self.hidden.iter().enumerate() {
            h = norm.forward(params, &linear.forward(params, &h)).gelu("none");
            if let Some(keys) = keys {
                h = dropout(&h, self.settings.dropout, keys.rows, layer as i64 + 1);
            }
        }
        let shape = [-1, self.settings.tokens, self.settings.width];
        let mut tokens = self.to_tokens.forward(params, &h).view(shape) + params[self.position].to_kind(kind);
        for block in &self.blocks {
            tokens = block.forward(params, &tokens, None);
        }
        State::tokens(self.norm.forward(params, &tokens))
    }

    fn width(&self) -> i64 {
        self.settings.width
    }

    fn tokens(&self, _genes: u64) -> u64 {
        self.settings.tokens as u64
    }

    fn macs(&self, _genes: u64) -> u64 {
        let (tokens, width) = (self.settings.tokens as u64, self.settings.width as u64);
        let mut inputs = self.genes;
        let mut dense = 0;
        for outputs in self.settings.hidden.iter().map(|&width| width as u64).chain([tokens * width]) {
            dense += inputs * outputs;
            inputs = outputs;
        }
        dense + self.settings.depth as u64 * block_macs(tokens, width)
    }

    fn export(&self) -> Map<String, Value> {
        let GeneMlp { width, depth, heads, dropout, .. } = &self.settings;
        let fields = json!({
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "hidden_act": "gelu",
            "hidden_dropout_prob": dropout,
        });
        fields.as_object().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::vocabulary::Vocabulary;
    use crate::component::Choice;
    use crate::params::{Group, Registry};

    fn built(settings: &GeneMlp, genes: usize) -> (Box<dyn Encoder>, Registry) {
        let choice = Choice::<dyn Encoder>::with("gene_mlp", settings).unwrap();
        let mut registry = Registry::default();
        let vocabulary = Vocabulary { genes: vec![String::new(); genes], ..Vocabulary::default() };
        let group = Group::averaged("encoder");
        let mut declare = Declare { registry: &mut registry, group, vocabulary: &vocabulary };
        ((choice.build())(choice.table(), &mut declare).unwrap(), registry)
    }

    #[test]
    fn parameter_counts_are_the_specified_ones() {
        let parameters = |genes| built(&GeneMlp::default(), genes).1.layout().n_parameters();
        assert_eq!(parameters(5_000), 32_315_904);
        assert_eq!(parameters(20_000), 63_035_904);
    }

    #[test]
    fn it_has_the_multiply_adds_worked_out_by_hand() {
        // Dense: 5000·2048 = 10 240 000; 2048·1024 = 2 097 152; 1024·64·256 = 16 777 216; together 29 114 368.
        // A block: qkv 64·3·256² = 12 582 912; out 64·256² = 4 194 304; MLP 64·8·256² = 33 554 432;
        // scores and mixture 2·64²·256 = 2 097 152; together 52 428 800, four times.
        assert_eq!(built(&GeneMlp::default(), 5_000).0.macs(0), 29_114_368 + 4 * 52_428_800);
        // Of the dense part every weight is used once.
        let settings = GeneMlp { hidden: vec![12, 8], tokens: 3, width: 4, depth: 0, heads: 2, dropout: 0.0 };
        let (encoder, registry) = built(&settings, 9);
        let layout = registry.layout();
        let weights = layout.specs().iter().filter(|spec| spec.decay).map(|spec| spec.shape.iter().product::<i64>());
        assert_eq!(encoder.macs(0), weights.sum::<i64>() as u64);
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        for (settings, word) in [
            (GeneMlp { heads: 3, ..GeneMlp::default() }, "heads = 3"),
            (GeneMlp { tokens: 0, ..GeneMlp::default() }, "tokens"),
            (GeneMlp { dropout: 1.0, ..GeneMlp::default() }, "dropout"),
        ] {
            let error = Choice::<dyn Encoder>::with("gene_mlp", &settings).unwrap_err();
            assert!(error.contains("model.encoder") && error.contains(word), "{error}");
        }
    }
}
