//! The model, its losses, gradients and optimizer step against an independent PyTorch implementation in f64
//! (`tests/peers/jepa_reference.py`), which reads the checkpoints that Syncyte writes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helper functions too")]

mod small_model;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use small_model::{Asked, asked, averaging, cells, config, encode, losses, noise, randomise, view, vocabulary};
use syncyte_fabric::collective::Solo;
use syncyte_sharding::store::ValueKind;
use syncyte_trainer::batch::query::MAX_TARGETS;
use syncyte_trainer::batch::vocabulary::Vocabulary;
use syncyte_trainer::checkpoint::{self, FORMAT, Snapshot, Stage, State};
use syncyte_trainer::config::{Config, ModelConfig};
use syncyte_trainer::engine::{FlatState, StateOptions, StepPlan};
use syncyte_trainer::generative::diffusion::network::ScoreNetwork;
use syncyte_trainer::heads::Heads;
use syncyte_trainer::loss::energy::energy_distance;
use syncyte_trainer::loss::{Objective, Outputs};
use syncyte_trainer::model::Jepa;
use syncyte_trainer::params::{Group, ParamSet, Registry};
use syncyte_trainer::perturbation::Condition;
use tch::{Device, Kind, Tensor};

type Tensors = Vec<(String, Tensor)>;

fn write(folder: &Path, name: &str, tensors: &Tensors) {
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name, tensor.detach().contiguous())).collect();
    Tensor::write_safetensors(&tensors, folder.join(name)).unwrap();
}

fn write_case(folder: &Path, case: &serde_json::Value, inputs: &Tensors, outputs: &Tensors) {
    std::fs::write(folder.join("case.json"), case.to_string()).unwrap();
    write(folder, "inputs.safetensors", inputs);
    write(folder, "outputs.safetensors", outputs);
}

fn gradients(params: &ParamSet, prefix: &str) -> Tensors {
    params.named().map(|(name, p)| (format!("{prefix}{name}"), p.grad().copy())).collect()
}

fn f32s(values: impl IntoIterator<Item = f64>) -> Tensor {
    Tensor::from_slice(&values.into_iter().map(|x| x as f32).collect::<Vec<_>>())
}

/// A student and a teacher that differ, off their initial values, and what they are asked.
struct Setting {
    config: Config,
    preset: &'static str,
    vocabulary: Vocabulary,
    model: Jepa,
    state: FlatState,
    asked: Vec<Asked>,
    context_cells: Tensor,
    target_cells: Tensor,
}

impl Setting {
    fn new(model: ModelConfig, preset: &'static str, genes: usize, batch: usize) -> Self {
        let mut config = Config { model, ..Config::default() };
        config.objective.losses = losses(preset);
        let vocabulary = vocabulary(genes);
        let model = Jepa::new(&config.model, &vocabulary).unwrap();
        let state = FlatState::new(model.layout(), 1, StateOptions::default(), &Solo).unwrap();
        randomise(&state.params, 1);
        randomise(state.teacher.as_ref().unwrap(), 2);
        let (genes, rows) = (genes as i64, batch as i64);
        let (context_cells, target_cells) = (cells(3, rows, genes), cells(4, rows, genes));
        Self { config, preset, vocabulary, model, state, asked: asked(batch), context_cells, target_cells }
    }

    fn checkpoint(&self, folder: &Path) {
        let state = State {
            format: FORMAT,
            stage: Stage::Pretrain,
            step: 0,
            total_steps: 1,
            epoch: 0,
            world: 1,
            config: self.config.clone(),
            config_hash: self.config.hash().unwrap(),
            data_hash: String::new(),
            split_hash: String::new(),
            value_kind: ValueKind::Log1p,
            vocabulary: self.vocabulary.clone(),
            parameter_hash: self.state.parameter_hash().unwrap(),
            flat_len: self.state.params.layout().len(),
            loss_scale: None,
            parent: None,
            seconds: 0.0,
            vectors: BTreeMap::new(),
        };
        let snapshot = Snapshot { trained: &self.state, extra: Vec::new(), state, metrics: BTreeMap::new() };
        checkpoint::write(folder, snapshot, Duration::from_mins(1), &Solo).unwrap();
    }

    /// One pass over the batch and its gradients; the outputs to compare.
    fn pass(&mut self) -> (Tensor, Tensors) {
        let (model, params) = (&self.model, &self.state.params);
        let teacher = self.state.teacher.as_ref().unwrap();
        let queries = encode(&self.asked, &self.vocabulary);
        let (context, prediction) = model.predict(params, &view(&self.context_cells), &queries, None);
        let target = tch::no_grad(|| model.encoder.forward(teacher, &view(&self.target_cells), None));
        let objective = Objective::of(&self.config.objective.losses).unwrap();
        let given = Outputs { context, prediction, target };
        let parts = [objective.parts(&given, self.asked.len())];
        let measured = objective.measure(&parts, &mut [], &Solo).unwrap();
        let surrogate = measured.surrogate(&parts[0]);
        let terms = measured.terms.iter().map(|term| term.1).chain([measured.loss]);
        let Outputs { context, prediction, target } = given;
        let condition = tch::no_grad(|| model.condition.forward(params, &queries));
        let outputs = [
            ("embedding", context.pooled()),
            ("context", context.values().shallow_clone()),
            ("target", target.values().shallow_clone()),
            ("vector", condition.vector),
            ("condition_tokens", condition.tokens),
            ("condition_mask", condition.mask.to_kind(Kind::Float)),
            ("prediction", prediction.values().shallow_clone()),
            ("terms", f32s(terms)),
        ];
        (surrogate, outputs.map(|(name, tensor)| (name.to_owned(), tensor)).into())
    }

    fn inputs(&self) -> Tensors {
        let batch = self.asked.len() as i64;
        let targets = self.asked.iter().flat_map(|one| {
            let known = one.targets.iter().map(|&target| target as f64);
            known.chain(std::iter::repeat(-1.0)).take(MAX_TARGETS)
        });
        [
            ("context_cells", self.context_cells.copy()),
            ("target_cells", self.target_cells.copy()),
            ("targets", f32s(targets).view([batch, MAX_TARGETS as i64])),
            ("kinds", f32s(self.asked.iter().map(|one| if one.null { 0.0 } else { one.kind as f64 }))),
            ("contexts", f32s(self.asked.iter().map(|one| if one.null { 0.0 } else { one.context as f64 }))),
            ("null", f32s(self.asked.iter().map(|one| f64::from(u8::from(one.null))))),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into()
    }
}

fn jepa_case(root: &Path, name: &str, mut setting: Setting) -> PathBuf {
    let folder = root.join(name);
    setting.checkpoint(&folder);
    let (surrogate, mut outputs) = setting.pass();
    surrogate.backward();
    outputs.extend(gradients(&setting.state.params, "grad."));
    write_case(&folder, &json!({ "kind": "jepa", "preset": setting.preset }), &setting.inputs(), &outputs);
    folder
}

/// Two updates in a row: the first gradient beyond the clipping norm, the second below it.
fn steps_case(root: &Path) -> PathBuf {
    let folder = root.join("adamw");
    let mut setting = Setting::new(config("cross_attention", "gene_embedding"), "default", 30, 12);
    setting.config.optimizer.clip = 0.5;
    setting.checkpoint(&folder);
    let plans = [
        StepPlan { lr: 1e-2, weight_decay: 0.04, momentum: 0.9, scales: Vec::new() },
        StepPlan { lr: 3e-3, weight_decay: 0.4, momentum: 0.99, scales: vec![("encoder", 0.1)] },
    ];
    let (mut inputs, mut outputs, mut norms) = (Tensors::new(), Tensors::new(), Vec::new());
    for (index, plan) in plans.iter().enumerate() {
        let (surrogate, _) = setting.pass();
        (surrogate * if index == 0 { 1.0 } else { 1e-3 }).backward();
        inputs.extend(gradients(&setting.state.params, &format!("{index}.")));
        norms.push(setting.state.update(&Solo, &setting.config.optimizer, plan).unwrap().norm);
        for (part, params) in [("student", &setting.state.params), ("teacher", setting.state.teacher.as_ref().unwrap())]
        {
            outputs.extend(params.named().map(|(name, p)| (format!("{index}.{part}.{name}"), p.detach().copy())));
        }
    }
    assert!(norms[0] > setting.config.optimizer.clip && norms[1] < setting.config.optimizer.clip, "{norms:?}");
    outputs.push(("norms".into(), f32s(norms)));
    let plans: Vec<_> = plans
        .iter()
        .map(|p| {
            json!({ "lr": p.lr, "weight_decay": p.weight_decay, "encoder_lr_scale": p.scale(syncyte_trainer::model::ENCODER),
                    "momentum": p.momentum })
        })
        .collect();
    write_case(&folder, &json!({ "kind": "steps", "plans": plans }), &inputs, &outputs);
    folder
}

/// Parameters off their initial values, written beside the case.
fn trained(folder: &Path, registry: Registry) -> ParamSet {
    std::fs::create_dir_all(folder).unwrap();
    let mut params = ParamSet::initial(&registry.layout(), 1, Device::Cpu);
    randomise(&params, 5);
    params.require_grad(&params.flat().zeros_like());
    let named = params.named().map(|(name, p)| (name.to_owned(), p.shallow_clone()));
    write(folder, "model.safetensors", &named.collect());
    params
}

fn heads_case(root: &Path) -> PathBuf {
    let folder = root.join("heads");
    let (width, condition_width, hidden, depth) = (6, 4, 8, 3);
    let mut registry = Registry::default();
    let heads = Heads::new(&mut registry, Group::new("heads"), width, condition_width, hidden, depth);
    let params = trained(&folder, registry);
    let (prototype, wanted) = (noise(6, &[3, width]), noise(7, &[3, width]));
    let (bag, perturbed_bag) = (noise(8, &[3, 5, width]), noise(9, &[3, 4, width]));
    let vector = noise(10, &[3, condition_width]);
    let condition = Condition {
        tokens: vector.unsqueeze(1),
        mask: Tensor::ones([3, 1], (Kind::Bool, Device::Cpu)),
        vector: vector.shallow_clone(),
        perturbed: Tensor::from_slice(&[1.0_f32, 0.0, 1.0]),
    };
    let shift = heads.shift(&params, &prototype, &condition);
    let set = heads.set(&params, &bag, &shift.detach(), &condition);
    let energy = energy_distance(&set, &perturbed_bag);
    ((&shift - &wanted).square().sum(Kind::Float) + energy.sum(Kind::Float)).backward();
    let inputs = [
        ("prototype", prototype),
        ("wanted", wanted),
        ("bag", bag),
        ("perturbed_bag", perturbed_bag),
        ("vector", vector),
        ("perturbed", condition.perturbed),
    ];
    let inputs = inputs.map(|(name, tensor)| (name.to_owned(), tensor)).into();
    let mut outputs: Tensors =
        [("shift", shift), ("set", set), ("energy", energy)].map(|(name, tensor)| (name.to_owned(), tensor)).into();
    outputs.extend(gradients(&params, "grad."));
    let case =
        json!({ "kind": "heads", "width": width, "condition": condition_width, "hidden": hidden, "depth": depth });
    write_case(&folder, &case, &inputs, &outputs);
    folder
}

fn score_case(root: &Path) -> PathBuf {
    let folder = root.join("score");
    let (width, condition_width, hidden) = (6, 4, vec![16, 12]);
    let mut registry = Registry::default();
    let network = ScoreNetwork::new(&mut registry, Group::averaged("score"), width, condition_width, &hidden);
    let params = trained(&folder, registry);
    let (z, h, p) = (noise(11, &[9, width]), noise(12, &[9, width]), noise(13, &[9, condition_width]));
    let wanted = noise(14, &[9, width]);
    // 1000·t is then exact in f32; elsewhere its rounding alone turns the fastest feature by up to 3e-5.
    let t = f32s((0..9).map(|i| f64::from(i * 31 + 1) / 256.0));
    let predicted = network.forward(&params, &z, &t, &h, &p);
    (&predicted - &wanted).square().mean_dim([1_i64].as_slice(), false, Kind::Float).sum(Kind::Float).backward();
    let inputs = [("z", z), ("t", t), ("h", h), ("p", p), ("noise", wanted)];
    let inputs = inputs.map(|(name, tensor)| (name.to_owned(), tensor)).into();
    let mut outputs: Tensors = vec![("predicted".into(), predicted)];
    outputs.extend(gradients(&params, "grad."));
    let case = json!({ "kind": "score", "width": width, "condition": condition_width, "hidden": hidden });
    write_case(&folder, &case, &inputs, &outputs);
    folder
}

fn every_combination(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for predictor in ["cross_attention", "mlp"] {
        for perturbation in ["gene_embedding", "one_hot_mlp"] {
            for preset in ["default", "s0", "s1"] {
                for residual in [false, true] {
                    let mut model = config(predictor, perturbation);
                    model.residual = residual;
                    let tail = if residual { "-residual" } else { "" };
                    let name = format!("{predictor}-{perturbation}-{preset}{tail}");
                    folders.push(jepa_case(root, &name, Setting::new(model, preset, 30, 12)));
                }
            }
        }
        let model = averaging(config(predictor, "gene_embedding"));
        folders.push(jepa_case(root, &format!("{predictor}-mean"), Setting::new(model, "default", 30, 12)));
    }
    folders
}

#[test]
fn model_losses_gradients_and_steps_equal_an_independent_torch_implementation() {
    let Some(python) = std::env::var_os("SYNCYTE_PEERS_PYTHON").filter(|path| Path::new(path).exists()) else {
        assert!(std::env::var_os("SYNCYTE_REQUIRE_PEERS").is_none(), "a Python with torch is promised and absent");
        // Past the test harness, which would swallow what a passing test prints.
        std::io::Write::write_all(
            &mut std::io::stderr(),
            b"skipped: parity with PyTorch: SYNCYTE_PEERS_PYTHON does not name a Python with torch\n",
        )
        .unwrap();
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let mut folders = every_combination(root.path());
    let default = Setting::new(ModelConfig::default(), "default", 500, 8);
    folders.push(jepa_case(root.path(), "E1-default", default));
    folders.extend([steps_case(root.path()), heads_case(root.path()), score_case(root.path())]);

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/jepa_reference.py");
    let output = Command::new(python).arg(script).args(&folders).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    assert!(output.status.success(), "differs from the reference:\n{text}{errors}");
    assert!(text.lines().all(|line| line.starts_with("ok")), "{text}");
    for folder in &folders {
        let name = folder.file_name().unwrap().to_string_lossy();
        assert!(text.contains(name.as_ref()), "{name} was not compared:\n{text}");
    }
}
