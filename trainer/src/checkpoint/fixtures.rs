//! Small states, and worlds of ranks that are threads, for the tests of checkpoints.

use std::collections::BTreeMap;

use syncyte_sharding::store::ValueKind;
use tch::{Device, Kind, Tensor};

use super::{FORMAT, Snapshot, Stage, State};
use crate::batch::vocabulary::Vocabulary;
use crate::component::Choice;
use crate::config::Config;
use crate::encoder::GeneMlp;
use crate::engine::{FlatState, StateOptions};
use crate::model::Jepa;
use crate::perturbation::GeneEmbedding;
use crate::predictor::CrossAttention;
use syncyte_fabric::collective::{Collective, Communicator, Threads};

/// Runs `body` on every rank of a world of `size` on one node.
pub(super) fn on_ranks<T: Send>(size: usize, body: impl Fn(&Communicator) -> T + Sync) -> Vec<T> {
    Threads::run(size, size, body).unwrap()
}

pub(super) fn vocabulary() -> Vocabulary {
    let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect();
    Vocabulary { genes: names("gene", 7), targets: names("gene", 3), contexts: names("k", 2), kinds: names("ko", 1) }
}

pub(super) fn config() -> Config {
    let mut config = Config::default();
    let encoder = GeneMlp { hidden: vec![8], tokens: 2, width: 4, depth: 1, heads: 2, ..GeneMlp::default() };
    config.model.encoder = Choice::with("gene_mlp", &encoder).unwrap();
    let perturbation = GeneEmbedding { width: 4, ..GeneEmbedding::default() };
    config.model.perturbation = Choice::with("gene_embedding", &perturbation).unwrap();
    let predictor = CrossAttention { depth: 1, heads: 2 };
    config.model.predictor = Choice::with("cross_attention", &predictor).unwrap();
    config
}

/// The training state of that model, with moments and a teacher that differ from everything else and from step to step.
pub(super) fn trained(step: u64, collective: &dyn Collective) -> FlatState {
    let layout = Jepa::new(&config().model, &vocabulary()).unwrap().layout().clone();
    let mut state = FlatState::new(&layout, step, StateOptions::default(), collective).unwrap();
    let values = |from: f32| (0..layout.len()).map(|i| from + i as f32 / 64.0 + step as f32).collect::<Vec<_>>();
    state.restore(&values(1000.0), &values(5000.0), step, None);
    for (index, (_, parameter)) in state.teacher.as_ref().unwrap().named().enumerate() {
        // Only the parameters: what lies between them is zero in training, and not written.
        let values = Tensor::arange(parameter.numel() as i64, (Kind::Float, Device::Cpu)) + 100.0 * index as f64;
        tch::no_grad(|| parameter.detach().copy_(&(values + step as f64).view_as(parameter)));
    }
    state
}

pub(super) fn state(step: u64, world: usize) -> State {
    State {
        format: FORMAT,
        stage: Stage::Pretrain,
        step,
        total_steps: 100,
        epoch: 0,
        world,
        config: config(),
        config_hash: "c0".into(),
        data_hash: "da".into(),
        split_hash: "5e".into(),
        value_kind: ValueKind::Counts,
        vocabulary: vocabulary(),
        parameter_hash: String::new(),
        flat_len: 0,
        loss_scale: None,
        parent: None,
        seconds: 1.0,
        vectors: BTreeMap::new(),
    }
}

pub(super) fn snapshot<'a>(trained: &'a FlatState, collective: &dyn Collective) -> Snapshot<'a> {
    let state = state(trained.step(), collective.size());
    Snapshot { trained, extra: Vec::new(), state, metrics: BTreeMap::from([("loss".to_owned(), 1.0)]) }
}
