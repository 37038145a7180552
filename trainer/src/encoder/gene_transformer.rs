//! E4: a transformer over the expressed genes of a cell.
//!
//! A token is the embedding of its gene plus a small MLP of its value; there is no code of its position, since a gene is
//! its own. A learned token of the cell comes before them, so that a cell without genes has a state too. Pre-norm blocks, then
//! a norm; the pooled embedding is the mean over the tokens that are there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};
use toml::Table;

use super::Encoder;
use crate::batch::view::{Input, State, Tokens, View, of_expression};
use crate::component::{Declare, Settings, read};
use crate::layer::dropout::{DropoutKeys, dropout};
use crate::layer::{Block, INIT_SD, Linear, Norm, block_macs, check_heads, check_share};
use crate::params::{Init, ParamId, ParamSet};

/// Its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneTransformer {
    /// Width of a token and of the pooled embedding.
    pub width: i64,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads; they divide `width`.
    pub heads: i64,
    /// Dropout of the tokens, in training only.
    pub dropout: f64,
    /// Genes of a cell in training at most, drawn at random where more are expressed; 0 for all.
    pub most_genes: usize,
}

impl Default for GeneTransformer {
    fn default() -> Self {
        Self { width: 256, depth: 4, heads: 4, dropout: 0.1, most_genes: 1536 }
    }
}

impl Settings for GeneTransformer {
    fn check(&self) -> Result<(), String> {
        if self.width <= 0 {
            return Err(format!("width = {} must be positive", self.width));
        }
        check_heads(self.heads, self.width)?;
        check_share("dropout", self.dropout)
    }
}

#[derive(Debug)]
struct Network {
    settings: GeneTransformer,
    genes: ParamId,
    value: (Linear, Linear),
    cell: ParamId,
    blocks: Vec<Block>,
    norm: Norm,
}

pub(super) fn build(table: &Table, declare: &mut Declare<'_>) -> Result<Box<dyn Encoder>, String> {
    let settings: GeneTransformer = read(table)?;
    let GeneTransformer { width, depth, heads, .. } = settings;
    let Declare { registry, group, vocabulary } = declare;
    let (group, n_genes) = (*group, vocabulary.genes.len().max(1) as i64);
    let embedding = Init::TruncatedNormal(1.0);
    Ok(Box::new(Network {
        genes: registry.plain(group, "encoder.genes".into(), &[n_genes, width], embedding),
        value: (
            Linear::with_init(registry, group, "encoder.value.fc1", 1, width, embedding),
            Linear::with_init(
                registry,
                group,
                "encoder.value.fc2",
                width,
                width,
                Init::TruncatedNormal(1.0 / (width as f64).sqrt()),
            ),
        ),
        cell: registry.plain(group, "encoder.cell".into(), &[1, width], Init::TruncatedNormal(INIT_SD)),
        blocks: (0..depth)
            .map(|i| Block::new(registry, group, &format!("encoder.blocks.{i}"), width, heads, i + 1))
            .collect(),
        norm: Norm::new(registry, group, "encoder.norm", width),
        settings,
    }))
}

impl Network {
    fn encode(&self, params: &ParamSet, cells: &Tokens, keys: Option<&DropoutKeys<'_>>) -> State {
        let (kind, width) = (params.compute_kind(), self.settings.width);
        let (batch, n) = (cells.mask.size()[0], cells.mask.size()[1]);
        let genes = Tensor::embedding(&params[self.genes], &cells.genes, -1, false, false).to_kind(kind);
        let values = self.value.0.forward(params, &cells.values.to_kind(kind).unsqueeze(2)).gelu("none");
        let mut tokens = genes + self.value.1.forward(params, &values);
        if let Some(keys) = keys {
            // The n-th gene of a cell has the same mask however far its batch is padded.
            let flat = tokens.reshape([batch, n * width]);
            tokens = dropout(&flat, self.settings.dropout, keys.rows, 1).view([batch, n, width]);
        }
        let cell = params[self.cell].to_kind(kind).unsqueeze(0).expand([batch, 1, width], false);
        let always = Tensor::ones([batch, 1], (Kind::Bool, cells.mask.device()));
        let mask = Tensor::cat(&[&always, &cells.mask], 1);
        let mut tokens = Tensor::cat(&[&cell, &tokens], 1);
        for block in &self.blocks {
            tokens = block.forward(params, &tokens, Some(&mask));
        }
        State::Tokens { tokens: self.norm.forward(params, &tokens), mask: Some(mask) }
    }
}

impl Encoder for Network {
    fn input(&self) -> Input {
        Input::Tokens { most: self.settings.most_genes }
    }

    fn forward(&self, params: &ParamSet, cells: &View, keys: Option<&DropoutKeys<'_>>) -> State {
        match cells {
            View::Tokens(tokens) => self.encode(params, tokens, keys),
            View::Dense(x) => self.forward(params, &of_expression(self.input(), x), keys),
        }
    }

    fn width(&self) -> i64 {
        self.settings.width
    }

    fn tokens(&self, genes: u64) -> u64 {
        genes + 1
    }

    fn macs(&self, genes: u64) -> u64 {
        let width = self.settings.width as u64;
        genes * (width + width * width) + self.settings.depth as u64 * block_macs(genes + 1, width)
    }

    fn export(&self) -> Map<String, Value> {
        let GeneTransformer { width, depth, heads, dropout, .. } = &self.settings;
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
    use tch::Device;

    use super::*;
    use crate::batch::vocabulary::Vocabulary;
    use crate::component::Choice;
    use crate::params::{Group, Registry};

    fn network() -> (Box<dyn Encoder>, ParamSet) {
        let settings = GeneTransformer { width: 8, depth: 2, heads: 2, ..GeneTransformer::default() };
        let choice = Choice::<dyn Encoder>::with("gene_transformer", &settings).unwrap();
        let mut registry = Registry::default();
        let vocabulary = Vocabulary { genes: vec![String::new(); 20], ..Vocabulary::default() };
        let group = Group::averaged("encoder");
        let mut declare = Declare { registry: &mut registry, group, vocabulary: &vocabulary };
        let encoder = (choice.build())(choice.table(), &mut declare).unwrap();
        let params = ParamSet::initial(&registry.layout(), 1, Device::Cpu);
        (encoder, params)
    }

    fn pooled(cells: &[(Vec<u32>, Vec<f32>)]) -> Tensor {
        let (encoder, params) = network();
        encoder.forward(&params, &View::Tokens(Tokens::of(cells)), None).pooled()
    }

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn neither_the_order_of_genes_nor_padding_nor_other_cells_change_a_state_and_an_empty_cell_has_one() {
        let cell = (vec![3, 7, 11], vec![0.5, 2.0, 1.0]);
        let turned = (vec![11, 3, 7], vec![1.0, 0.5, 2.0]);
        let long = ((0..15).collect::<Vec<u32>>(), (0..15).map(|i| i as f32 / 4.0).collect::<Vec<f32>>());
        let alone = pooled(std::slice::from_ref(&cell));
        assert!(difference(&alone, &pooled(&[turned])) < 1e-5);
        let beside = pooled(&[cell.clone(), long, (vec![], vec![])]);
        assert!(difference(&alone.get(0), &beside.get(0)) < 1e-5);
        assert!(difference(&beside.get(0), &beside.get(1)) > 1e-3);
        assert_eq!(beside.isfinite().all().int64_value(&[]), 1);
        let other = pooled(&[(vec![3, 7, 11], vec![0.5, 2.0, 1.5])]);
        assert!(difference(&alone, &other) > 1e-3, "values count");
    }

    #[test]
    fn dense_cells_have_the_state_of_their_expressed_genes_and_dropout_does_not_see_the_padding() {
        let (encoder, params) = network();
        let mut x = vec![0.0_f32; 40];
        (x[3], x[7], x[25]) = (0.5, 2.0, 1.0);
        let dense = View::Dense(Tensor::from_slice(&x).view([2, 20]));
        let tokens = Tokens::of(&[(vec![3, 7], vec![0.5, 2.0]), (vec![5], vec![1.0])]);
        let one = encoder.forward(&params, &dense, None).pooled();
        assert!(difference(&one, &encoder.forward(&params, &View::Tokens(tokens), None).pooled()) < 1e-6);

        let dropped = |cells: &[(Vec<u32>, Vec<f32>)]| {
            let keys = Tensor::arange(cells.len() as i64, (Kind::Int64, Device::Cpu)) + 77;
            let view = View::Tokens(Tokens::of(cells));
            encoder.forward(&params, &view, Some(&DropoutKeys { rows: &keys })).pooled().get(0)
        };
        let cell = (vec![3, 7], vec![0.5, 2.0]);
        let long = ((0..15).collect(), vec![1.0; 15]);
        assert!(difference(&dropped(std::slice::from_ref(&cell)), &dropped(&[cell.clone(), long])) < 1e-5);
    }

    #[test]
    fn it_counts_a_block_for_every_token_and_reads_as_many_genes_as_it_was_told() {
        let (encoder, _) = network();
        assert_eq!(encoder.macs(9), 9 * (8 + 8 * 8) + 2 * block_macs(10, 8));
        assert_eq!((encoder.tokens(9), encoder.input()), (10, Input::Tokens { most: 1536 }));
    }
}
