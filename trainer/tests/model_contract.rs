//! What must hold of the model whatever its values are: attention to conditions, training of the perturbation
//! table, and independence of how a batch is shared among ranks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helper functions too")]

mod small_model;

use small_model::{Asked, asked, averaging, cells, config, encode, losses, noise, randomise, view, vocabulary};
use syncyte_fabric::collective::{Collective, Solo, Threads};
use syncyte_trainer::batch::view::State;
use syncyte_trainer::component::Declare;
use syncyte_trainer::config::{ModelConfig, OptimizerConfig};
use syncyte_trainer::engine::{FlatState, StateOptions, StepPlan};
use syncyte_trainer::layer::dropout::DropoutKeys;
use syncyte_trainer::loss::{Objective, Outputs};
use syncyte_trainer::model::{Jepa, PREDICTOR};
use syncyte_trainer::params::{ParamSet, Registry};
use syncyte_trainer::perturbation::Condition;
use syncyte_trainer::predictor::{Predictor, Widths};
use tch::{Device, Kind, Tensor};

const PREDICTORS: [&str; 2] = ["cross_attention", "mlp"];
const BATCH: i64 = 4;
const WIDTH: i64 = 8;
const CONDITION_WIDTH: i64 = 6;

fn predictor() -> (Box<dyn Predictor>, ParamSet) {
    let (mut registry, names) = (Registry::default(), vocabulary(3));
    let choice = config("cross_attention", "gene_embedding").predictor;
    let mut declare = Declare { registry: &mut registry, group: PREDICTOR, vocabulary: &names };
    let widths = Widths { state: WIDTH, condition: CONDITION_WIDTH };
    let predictor = (choice.build())(choice.table(), &mut declare, widths).unwrap();
    let mut params = ParamSet::initial(&registry.layout(), 1, Device::Cpu);
    randomise(&params, 1);
    params.require_grad(&params.flat().zeros_like());
    (predictor, params)
}

fn condition(tokens: Tensor, attended: &[bool]) -> Condition {
    let mask = Tensor::from_slice(attended).unsqueeze(0).expand([BATCH, -1], false).contiguous();
    let vector = tokens.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
    Condition { tokens, mask, vector, perturbed: Tensor::ones([BATCH], (Kind::Float, Device::Cpu)) }
}

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

/// Largest gradient of the queries' rows in the first cross-attention's input projection.
fn query_gradient(attended: &[bool]) -> f64 {
    let (predictor, params) = predictor();
    let tokens = noise(3, &[BATCH, attended.len() as i64, CONDITION_WIDTH]);
    let state = State::tokens(noise(2, &[BATCH, 3, WIDTH]));
    predictor.forward(&params, &state, &condition(tokens, attended)).values().square().sum(Kind::Float).backward();
    let (_, weight) = params.named().find(|(name, _)| *name == "predictor.cross.0.attention.qkv.weight").unwrap();
    largest(&weight.grad().narrow(0, 0, WIDTH))
}

#[test]
fn with_one_condition_token_queries_get_no_gradient_and_with_two_they_do() {
    assert_eq!(query_gradient(&[true]), 0.0, "softmax over one key is constant");
    assert_eq!(query_gradient(&[false, true, false]), 0.0, "masked keys do not count");
    assert!(query_gradient(&[true, true]) > 1e-3);
    assert!(query_gradient(&[true, false, true, true]) > 1e-3);
}

#[test]
fn masked_condition_tokens_have_no_influence() {
    let (predictor, params) = predictor();
    let state = State::tokens(noise(2, &[BATCH, 3, WIDTH]));
    let forward = |condition: Condition| predictor.forward(&params, &state, &condition).values().copy();
    let tokens = noise(3, &[BATCH, 4, CONDITION_WIDTH]);
    let attended = [true, false, true, false];
    let keep = Tensor::from_slice(&attended).to_kind(Kind::Float).view([1, 4, 1]);
    let other = &tokens * &keep + noise(4, &[BATCH, 4, CONDITION_WIDTH]) * (keep.ones_like() - &keep) * 100.0;
    let at = |tokens: &Tensor| forward(condition(tokens.shallow_clone(), &attended));
    assert_ne!(tokens, other);
    assert_eq!(at(&tokens), at(&other));
    let shown = [true, true, true, false];
    assert_ne!(at(&tokens), forward(condition(tokens, &shown)));
}

#[test]
fn the_order_of_condition_tokens_does_not_matter() {
    let (predictor, params) = predictor();
    let state = State::tokens(noise(2, &[BATCH, 3, WIDTH]));
    let forward = |condition: Condition| predictor.forward(&params, &state, &condition).values().copy();
    let tokens = noise(3, &[BATCH, 4, CONDITION_WIDTH]);
    let one = forward(condition(tokens.shallow_clone(), &[true, true, false, true]));
    let two = forward(condition(tokens.flip([1]), &[true, false, true, true]));
    assert!(largest(&(one - two)) < 1e-5);
}

/// A model in training and the batch it sees.
struct Setting {
    model: Jepa,
    state: FlatState,
    objective: Objective,
    asked: Vec<Asked>,
    genes: i64,
}

impl Setting {
    fn new(config: &ModelConfig, preset: &str) -> Self {
        let genes = 30;
        let model = Jepa::new(config, &vocabulary(genes)).unwrap();
        let state = FlatState::new(model.layout(), 1, StateOptions::default(), &Solo).unwrap();
        randomise(&state.params, 1);
        let objective = Objective::of(&losses(preset)).unwrap();
        Self { model, state, objective, asked: asked(14), genes: genes as i64 }
    }

    /// Gradients of rows `from..from + n` of the global batch, with the loss of all of it.
    fn gradients(&mut self, from: i64, n: i64, collective: &dyn Collective) -> (f64, Vec<(String, Vec<f32>)>) {
        let batch = self.asked.len();
        let own = |x: Tensor| x.narrow(0, from, n).contiguous();
        let (source, target) = (own(cells(3, batch as i64, self.genes)), own(cells(4, batch as i64, self.genes)));
        let queries = encode(&self.asked[from as usize..(from + n) as usize], &vocabulary(self.genes as usize));
        let keys = Tensor::arange_start(from, from + n, (Kind::Int64, Device::Cpu)) * 7919;
        let dropout = DropoutKeys { rows: &keys };
        let (context, prediction) = self.model.predict(&self.state.params, &view(&source), &queries, Some(&dropout));
        let teacher = self.state.teacher.as_ref().unwrap();
        let target = tch::no_grad(|| self.model.encoder.forward(teacher, &view(&target), None));
        let outputs = Outputs { context, prediction, target };
        let parts = [self.objective.parts(&outputs, batch)];
        let measured = self.objective.measure(&parts, &mut [], collective).unwrap();
        measured.surrogate(&parts[0]).backward();
        let gradients = self.state.params.named().map(|(name, p)| (name.to_owned(), values(&p.grad()))).collect();
        (measured.loss, gradients)
    }
}

fn values(x: &Tensor) -> Vec<f32> {
    Vec::try_from(x.contiguous().view([-1])).unwrap()
}

#[test]
fn the_perturbation_table_trains_from_the_first_step() {
    for mean in [false, true] {
        for predictor in PREDICTORS {
            let config = config(predictor, "gene_embedding");
            let config = if mean { averaging(config) } else { config };
            let mut setting = Setting::new(&config, "default");
            let table = |state: &FlatState| {
                let (_, table) = state.params.named().find(|(name, _)| *name == "perturbation.targets").unwrap();
                table.detach().copy()
            };
            let before = table(&setting.state);
            let (_, gradients) = setting.gradients(0, 14, &Solo);
            let (_, gradient) = gradients.iter().find(|(name, _)| name == "perturbation.targets").unwrap();
            let rows = gradient.chunks(CONDITION_WIDTH as usize);
            assert!(rows.into_iter().all(|row| row.iter().any(|g| g.abs() > 1e-6)), "every target is asked for");
            let plan = StepPlan { lr: 1e-3, weight_decay: 0.0, momentum: 0.99, scales: Vec::new() };
            setting.state.update(&Solo, &OptimizerConfig::default(), &plan).unwrap();
            assert!(largest(&(table(&setting.state) - before)) > 1e-5, "{predictor} {mean}");
        }
    }
}

/// Splits the batch unevenly in two, sums the gradients and compares with the whole batch.
fn halves_equal_whole(config: &ModelConfig, preset: &str) {
    let (whole, wanted) = Setting::new(config, preset).gradients(0, 14, &Solo);
    let mut world = Threads::world(2, 2).unwrap();
    let (Some(second), Some(first)) = (world.pop(), world.pop()) else { panic!("a world of two") };
    let ((one, mut summed), (two, other)) = std::thread::scope(|scope| {
        let first = scope.spawn(move || Setting::new(config, preset).gradients(0, 5, &first));
        let second = scope.spawn(move || Setting::new(config, preset).gradients(5, 9, &second));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!(one, two, "every rank logs the loss of the global batch");
    assert!((one - whole).abs() < 1e-6 * whole, "{one} {whole}");
    let scale = wanted.iter().flat_map(|(_, g)| g).fold(0.0_f32, |most, g| most.max(g.abs()));
    for (((name, own), (_, other)), (_, wanted)) in summed.iter_mut().zip(&other).zip(&wanted) {
        for ((own, other), wanted) in own.iter().zip(other).zip(wanted) {
            let difference = (own + other - wanted).abs();
            assert!(difference < 4e-6 * scale, "{preset} {name}: {own} + {other} is not {wanted}");
        }
    }
}

#[test]
fn two_halves_of_a_batch_with_summed_moments_give_the_gradients_of_the_whole() {
    for predictor in PREDICTORS {
        for preset in ["default", "s0", "s1"] {
            halves_equal_whole(&config(predictor, "gene_embedding"), preset);
        }
    }
}
