//! J1: from some expressed genes of a cell to the states of the others, block by block.
//!
//! The teacher sees a block alone, the student all genes that are in no block, and a pointer tells the predictor which block
//! is asked for. No value of a masked gene reaches the student.

use serde::{Deserialize, Serialize};
use syncyte_sharding::loader::RawBatch;
use syncyte_sharding::philox::{Philox, Purpose};
use toml::Table;

use super::{Cells, MicroBatch, Networks, Pretext, Views};
use crate::batch::blocks::Blocks;
use crate::component::{Choice, Settings, read};
use crate::loss::Outputs;
use crate::mask::Masker;
use crate::model::Jepa;
use crate::reader::{CellReader, Expressed};

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneMask {
    /// Which genes are masked.
    pub mask: Choice<dyn Masker>,
}

impl Settings for GeneMask {}

#[derive(Debug)]
struct Task {
    mask: Box<dyn Masker>,
}

pub(super) fn build(table: &Table) -> Result<Box<dyn Pretext>, String> {
    let GeneMask { mask } = read(table)?;
    Ok(Box::new(Task { mask: (mask.build())(mask.table())? }))
}

impl Pretext for Task {
    fn cells(&self) -> Cells {
        Cells::All
    }

    fn predicts(&self) -> &'static str {
        "masked genes of a cell, block by block, from its other genes"
    }

    fn is_conditioned(&self) -> bool {
        false
    }

    fn needs_pointer(&self) -> bool {
        true
    }

    fn flops(&self, model: &Jepa, genes: u64, frozen_encoder: bool) -> u64 {
        let (blocks, masked) = (self.mask.blocks() as u64, (self.mask.share() * genes as f64) as u64);
        let context = model.encoder.macs(genes - masked) * if frozen_encoder { 1 } else { 3 };
        let tokens = model.encoder.tokens(genes - masked) + blocks;
        let predictor = model.condition.macs() + model.predictor.macs(tokens, model.condition.tokens());
        2 * (context + 3 * predictor + blocks * model.encoder.macs(masked / blocks))
    }

    fn views(&self, batch: &RawBatch<'_>, reader: &CellReader) -> Result<Views, String> {
        let cells = reader.expressed(batch.rows, batch.cells, batch.step);
        let (mut contexts, mut targets, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        for (&row, cell) in batch.rows.iter().zip(&cells) {
            let drawn = self.mask.draw(&mut Philox::new(reader.seed(), Purpose::Mask, row, batch.step), &cell.0);
            contexts.push(of_genes(cell, |gene| !drawn.iter().any(|block| block.binary_search(&gene).is_ok())));
            targets.extend(drawn.iter().map(|block| of_genes(cell, |gene| block.binary_search(&gene).is_ok())));
            blocks.push(drawn);
        }
        let (source, target) = (reader.view_of(&contexts), reader.view_of(&targets));
        Ok(Views { source, target, blocks: Some(Blocks::of(&blocks)) })
    }

    fn forward(&self, networks: &Networks<'_>, batch: &MicroBatch) -> Outputs {
        let target = networks.target(&batch.views.target).to_pooled();
        let context = networks.context(&batch.views.source, &batch.dropout);
        let prediction = match &batch.views.blocks {
            Some(blocks) => networks.predict_blocks(&context, &batch.queries, blocks),
            None => networks.predict(&context, &batch.queries),
        };
        Outputs { context, prediction, target }
    }
}

/// A cell with some of its genes.
fn of_genes((genes, values): &Expressed, keep: impl Fn(u32) -> bool) -> Expressed {
    genes.iter().zip(values).filter(|(gene, _)| keep(**gene)).map(|(&gene, &value)| (gene, value)).unzip()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use syncyte_sharding::block::Block;
    use syncyte_sharding::store::CellStore;
    use syncyte_sharding::synth::{Preset, SynthConfig, World, write_store};
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::augmentation::Augmentation;
    use crate::batch::query::{EncodedQueries, Query};
    use crate::batch::view::{Input, View};
    use crate::batch::vocabulary::Vocabulary;
    use crate::component::Role;
    use crate::encoder::{Encoder, GeneMlp, GeneTransformer};
    use crate::model::ModelConfig;
    use crate::params::ParamSet;
    use crate::pointer::Pointer;
    use crate::predictor::{CrossAttention, Mlp, Predictor};

    const CELLS: usize = 12;

    fn store(folder: &std::path::Path) -> Arc<CellStore> {
        let synth = SynthConfig {
            cells: 60,
            genes: 80,
            singles: 4,
            doubles: 0,
            modules: 4,
            ..SynthConfig::preset(Preset::Demo, World::W1, 3)
        };
        write_store(&folder.join("cells.zarr"), &synth, |_| ()).unwrap();
        Arc::new(CellStore::open(&folder.join("cells.zarr")).unwrap())
    }

    fn task() -> Box<dyn Pretext> {
        let choice = Choice::<dyn Pretext>::of_kind("gene_mask").unwrap();
        (choice.build())(choice.table()).unwrap()
    }

    fn reader(store: &Arc<CellStore>, input: Input) -> CellReader {
        let choice = Choice::<dyn Augmentation>::default();
        CellReader::new(Arc::clone(store), input, (choice.build())(choice.table()).unwrap(), 9)
    }

    fn numbers(view: &View) -> Vec<Tensor> {
        match view {
            View::Dense(x) => vec![x.shallow_clone()],
            View::Tokens(tokens) => vec![tokens.genes.copy(), tokens.values.copy(), tokens.mask.copy()],
        }
    }

    fn views(store: &Arc<CellStore>, input: Input, cells: &Block) -> Views {
        let rows: Vec<u64> = (0..CELLS as u64).collect();
        let batch = RawBatch { step: 5, rows: &rows, cells, partners: None };
        task().views(&batch, &reader(store, input)).unwrap()
    }

    /// The cells with other values in every gene that is masked, and only there.
    fn with_other_targets(cells: &Block, blocks: &Blocks) -> Block {
        let mut csr = cells.to_csr();
        for cell in 0..CELLS {
            let own = blocks.genes.get(cell as i64).masked_select(&blocks.mask.get(cell as i64));
            let masked = Vec::<i64>::try_from(own).unwrap();
            for at in csr.indptr[cell]..csr.indptr[cell + 1] {
                if masked.contains(&i64::from(csr.indices[at])) {
                    csr.values[at] += 7.0;
                }
            }
        }
        Block::from(&csr)
    }

    #[test]
    fn values_of_targets_reach_the_teacher_and_never_the_student() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let cells = Block::from(&store.read_rows(0..CELLS).unwrap());
        for input in [Input::Dense, Input::Tokens { most: 0 }, Input::Tokens { most: 20 }] {
            let one = views(&store, input, &cells);
            let other = views(&store, input, &with_other_targets(&cells, one.blocks.as_ref().unwrap()));
            assert_eq!(numbers(&one.source), numbers(&other.source), "{input:?}");
            assert_ne!(numbers(&one.target), numbers(&other.target), "{input:?}: the change was seen by nobody");
            assert_eq!(one.target.n_cells(), 4 * one.source.n_cells());
            // Context and blocks together are the cell.
            let sum = |view: &View| match view {
                View::Dense(x) => x.sum(Kind::Double).double_value(&[]),
                View::Tokens(tokens) => tokens.values.sum(Kind::Double).double_value(&[]),
            };
            let rows: Vec<u64> = (0..CELLS as u64).collect();
            let whole = sum(&reader(&store, input).whole(&rows, &cells, 5));
            assert!((sum(&one.source) + sum(&one.target) - whole).abs() < 1e-3 * whole, "{input:?}");
        }
    }

    fn models(vocabulary: &Vocabulary) -> Vec<Jepa> {
        let encoders = [
            Choice::with(
                "gene_mlp",
                &GeneMlp { hidden: vec![16], tokens: 3, width: 8, depth: 1, heads: 2, dropout: 0.0 },
            ),
            Choice::with(
                "gene_transformer",
                &GeneTransformer { width: 8, depth: 1, heads: 2, dropout: 0.0, most_genes: 0 },
            ),
        ];
        let predictors = [
            Choice::<dyn Predictor>::with("cross_attention", &CrossAttention { depth: 1, heads: 2 }),
            Choice::with("mlp", &Mlp { hidden: 16 }),
        ];
        let mut models = Vec::new();
        for encoder in &encoders {
            for predictor in &predictors {
                for pointer in <dyn Pointer>::table() {
                    let encoder: Choice<dyn Encoder> = encoder.clone().unwrap();
                    let pointer = Some(Choice::of_kind(pointer.kind).unwrap());
                    let predictor = predictor.clone().unwrap();
                    let config = ModelConfig { pointer, encoder, predictor, ..ModelConfig::default() };
                    models.push(Jepa::new(&config, vocabulary).unwrap());
                }
            }
        }
        models
    }

    #[test]
    fn every_block_has_a_prediction_of_its_own_and_gradients_reach_the_student_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let vocabulary = Vocabulary::of(store.genes(), store.labels());
        let cells = Block::from(&store.read_rows(0..CELLS).unwrap());
        for model in models(&vocabulary) {
            let mut student = ParamSet::initial(model.layout(), 1, Device::Cpu);
            student.require_grad(&student.flat().zeros_like());
            let mut teacher = ParamSet::initial(&model.layout().averaged(), 1, Device::Cpu);
            teacher.require_grad(&teacher.flat().zeros_like());
            let views = views(&store, model.encoder.input(), &cells);
            let queries = EncodedQueries::new(&[Query::Null; CELLS], &vocabulary, Device::Cpu).unwrap();
            let batch =
                MicroBatch { views, queries, dropout: Tensor::zeros([CELLS as i64], (Kind::Int64, Device::Cpu)) };
            let networks = Networks::new(&model, &student, &teacher, false, false);
            let Outputs { prediction, target, .. } = task().forward(&networks, &batch);
            assert_eq!(prediction.values().size(), [4 * CELLS as i64, 8]);
            assert_eq!(prediction.values().size(), target.values().size());
            assert!(!target.values().requires_grad());
            let of_a_cell = prediction.values().view([CELLS as i64, 4, 8]);
            let apart = of_a_cell.std_dim([1_i64].as_slice(), true, false).mean(Kind::Float).double_value(&[]);
            assert!(apart > 1e-4, "the blocks of a cell are told apart: {apart}");
            prediction.values().square().sum(Kind::Float).backward();
            let gradient = |set: &ParamSet, name: &str| {
                let (_, value) = set.named().find(|(own, _)| own.starts_with(name)).unwrap();
                value.grad().abs().max().double_value(&[])
            };
            assert!(gradient(&student, "encoder.") > 0.0 && gradient(&student, "pointer.") > 0.0);
            assert_eq!(gradient(&teacher, "encoder."), 0.0);
        }
    }
}
