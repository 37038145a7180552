use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use ndarray::{Array1, Array2, ArrayView2, Axis};
use syncyte_sharding::labels::Perturbation;
use syncyte_sharding::philox::{Philox, Purpose};

use super::{BenchmarkError, Evaluation, EvaluationConfig};
use crate::baseline::{self, Training};
use crate::benchmark::method::{Method, MethodError, Outcome, Prediction, Query};
use crate::benchmark::results::{MethodInfo, ResultRow, Results};
use crate::benchmark::{Encoder, Share};
use crate::fold::{
    Components, ComponentsBuilder, ComponentsConfig, Condition, FoldError, HeldOutBuilder, HeldOutConfig, Learn,
    RowLabel, Rows, TestCells, TrainingCells, TrainingMeans, TrainingMeansBuilder,
};

mod null;

const GENES: usize = 60;

/// Additive truth: singles S0 … S6 in training; doubles of them, S7 and a double with S7 held out.
struct World {
    train: Arc<TrainingMeans>,
    test: TestCells,
    components: Components,
    cells: Blocks,
}

/// Training cells in memory.
struct Blocks(Vec<(Vec<RowLabel>, Array2<f32>)>);

impl TrainingCells for Blocks {
    fn visit(&self, visit: &mut Learn<'_>) -> Result<(), FoldError> {
        self.0.iter().try_for_each(|(labels, cells)| visit(labels, cells.view()))
    }
}

fn perturbation(targets: &[usize]) -> Perturbation {
    Perturbation::of(targets.iter().map(|target| format!("S{target}")))
}

fn effect(target: &str) -> Array1<f64> {
    let number: u64 = target[1..].parse().unwrap();
    let mut random = Philox::new(77, Purpose::Trial, number, 0);
    // A part that all perturbations share, and a part of its own.
    Array1::from_shape_fn(GENES, |gene| 0.3 * ((gene as f64) * 0.7).sin() + 0.5 * random.normal())
}

fn truth(perturbation: &Perturbation) -> Array1<f64> {
    perturbation.targets.iter().fold(Array1::zeros(GENES), |sum, target| sum + effect(target))
}

fn cells(perturbation: &Perturbation, n: usize, stream: u64) -> Array2<f32> {
    let (mean, mut random) = (truth(perturbation), Philox::new(5, Purpose::Trial, stream, 1));
    Array2::from_shape_fn((n, GENES), |(_, gene)| {
        (4.0 + gene as f64 / 20.0 + mean[gene] + 0.3 * random.normal()) as f32
    })
}

/// Number of a perturbation and how many cells it has.
type Amounts = Vec<(usize, usize)>;

/// The perturbations, and the cells of the training and the held-out fold.
fn plan() -> (Vec<Perturbation>, Amounts, Amounts) {
    let sets: Vec<Vec<usize>> = std::iter::once(vec![])
        .chain((0..8).map(|single| vec![single]))
        .chain((0..6).map(|first| vec![first, first + 1]))
        .chain([vec![0, 7], vec![2, 5], vec![0, 1, 2]])
        .collect();
    let train = std::iter::once((0, 120)).chain((1..8).map(|single| (single, 40))).collect();
    // The last double has nine cells: too few.
    let test =
        std::iter::once((0, 80)).chain([(1, 30), (8, 30)]).chain((9..16).map(|at| (at, 30))).chain([(16, 9), (17, 12)]);
    (sets.iter().map(|targets| perturbation(targets)).collect(), train, test.collect())
}

fn world() -> World {
    let (perturbations, train, test) = plan();
    let genes: Vec<String> =
        (0..GENES).map(|gene| if gene < 3 { format!("S{gene}") } else { format!("g{gene}") }).collect();
    let mut profiles = TrainingMeansBuilder::new("split", &genes, &perturbations);
    let mut components = ComponentsBuilder::new("split", &genes, ComponentsConfig::default());
    let mut held_out = HeldOutBuilder::new("split", &genes, &perturbations, &["K562".into()], HeldOutConfig::default());
    let mut next = 0u64;
    let mut labels = |index: usize, n: usize| -> Vec<RowLabel> {
        next += n as u64;
        let condition = Condition { context: 0, kind: 0, perturbation: index as u32 };
        (next - n as u64..next).map(|cell| RowLabel { cell, condition }).collect()
    };
    let mut blocks = Vec::new();
    for (index, n) in train {
        let rows = cells(&perturbations[index], n, index as u64);
        let labels = labels(index, n);
        profiles.add(&labels, Rows::Dense(rows.view())).unwrap();
        components.add(&labels, Rows::Dense(rows.view())).unwrap();
        blocks.push((labels, rows));
    }
    for (index, n) in test {
        let rows = cells(&perturbations[index], n, 1000 + index as u64);
        let latents = encode(rows.view()).unwrap();
        held_out.add(&labels(index, n), Rows::Dense(rows.view()), &[latents.view()]).unwrap();
    }
    World {
        train: Arc::new(profiles.finish().unwrap()),
        test: held_out.finish().unwrap(),
        components: components.finish().unwrap(),
        cells: Blocks(blocks),
    }
}

/// A model that knows the planted truth, scaled.
struct Planted {
    name: &'static str,
    scale: f64,
    fitted_on: &'static str,
}

impl Method for Planted {
    fn info(&self) -> MethodInfo {
        let text = || self.name.to_string();
        MethodInfo { name: text(), title: text(), description: text(), baseline: false, informed: true }
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(self.fitted_on)
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        if self.name == "fails" && query.perturbation.name == "S0+S1" {
            return Err(MethodError::Other("it was told to".into()));
        }
        let outcome = Outcome::Shift(truth(query.perturbation) * self.scale);
        Ok(Prediction { outcome, flags: vec![] })
    }
}

fn encode(cells: ArrayView2<'_, f32>) -> Result<Array2<f32>, crate::benchmark::EncodeError> {
    if cells.ncols() != GENES {
        return Err(format!("{} genes", cells.ncols()).into());
    }
    let mut random = Philox::new(9, Purpose::Trial, 0, 2);
    Ok(cells.dot(&Array2::from_shape_simple_fn((GENES, 8), || random.normal() as f32)))
}

fn encoder(name: &str, id: &str) -> Encoder<'static> {
    Encoder { name: name.into(), id: id.into(), encode: Box::new(encode) }
}

fn config() -> EvaluationConfig {
    EvaluationConfig { resamples: 300, cell_draws: 20, seeds: vec![42], ..EvaluationConfig::default() }
}

fn run(world: &World, models: Vec<Box<dyn Method>>) -> Result<Results, BenchmarkError> {
    let training = Training { means: &world.train, cells: &world.cells, seed: 1 };
    let mut methods = baseline::all(&training).unwrap();
    methods.extend(models);
    let World { train, test, components, .. } = world;
    let encoders = [encoder("embedding", "one")];
    Evaluation { train, test, components, encoders: &encoders, share: Share::whole(), config: config() }.run(&methods)
}

fn row<'a>(results: &'a Results, method: &str, split: &str, metric: &str) -> &'a ResultRow {
    let found = results.results.iter().find(|row| row.method == method && row.split == split && row.metric == metric);
    found.unwrap_or_else(|| panic!("no row {method} {split} {metric}"))
}

#[test]
fn on_additive_data_the_additive_baseline_wins_the_doubles() {
    let results = run(&world(), vec![]).unwrap();
    let doubles = "test/doubles_both_seen";
    for metric in ["l2_top1000", "mse", "energy_pca50", "edist_embedding", "l2_embedding"] {
        let additive = row(&results, "additive", doubles, metric);
        for other in ["no_change", "mean_shift", "mean_shift_all", "train_mean", "linear"] {
            let other = row(&results, other, doubles, metric);
            assert!(additive.ci_high < other.ci_low, "{metric}: {additive:?} against {other:?}");
        }
    }
    assert!(row(&results, "additive", doubles, "pearson_delta_control").value.unwrap() > 0.98);
    assert!(row(&results, "additive", doubles, "retrieval_top1_pca50").value.unwrap() > 0.99);
    assert_eq!(row(&results, "additive", doubles, "mse").n_conditions, 6);
    assert_eq!(row(&results, "additive", doubles, "mse").seeds, [42]);
}

#[test]
fn no_change_has_no_delta_and_retrieves_at_chance() {
    let results = run(&world(), vec![]).unwrap();
    let undefined = row(&results, "no_change", "test/all", "pearson_delta_control");
    assert_eq!((undefined.value, undefined.n_conditions, undefined.n_undefined), (None, 0, 10));
    assert!(row(&results, "no_change", "test/all", "cosine_embedding").value.unwrap() > 0.5);
    assert_eq!(row(&results, "no_change", "test/all", "cosine_delta_embedding").value, None);
    for space in ["expression", "pca50", "embedding"] {
        let metric = format!("retrieval_top1_{space}");
        let reciprocal = format!("retrieval_mrr_{space}");
        let lot = results.references.iter().find(|row| row.name == "chance" && row.metric == reciprocal).unwrap();
        assert!((row(&results, "no_change", "test/all", &reciprocal).value.unwrap() - lot.value).abs() < 1e-12);
        let chance = results.references.iter().find(|row| row.name == "chance" && row.metric == metric).unwrap();
        assert!((chance.value - 0.1).abs() < 1e-12 && chance.split == "test/all");
        assert!((row(&results, "no_change", "test/all", &metric).value.unwrap() - chance.value).abs() < 1e-12);
    }
    let condition = results.conditions.iter().find(|row| row.method == "no_change").unwrap();
    for flag in ["no_predicted_change", "undefined:pearson_delta_control"] {
        assert!(condition.flags.contains(&flag.to_string()), "{:?}", condition.flags);
    }
}

#[test]
fn conditions_fall_into_their_strata_and_small_ones_are_reported() {
    let results = run(&world(), vec![]).unwrap();
    let counts: Vec<_> = ["test/all", "test/singles", "test/doubles", "test/doubles_both_seen"]
        .map(|split| row(&results, "no_change", split, "mse").n_conditions)
        .into();
    assert_eq!(counts, [10, 2, 7, 6]);
    assert_eq!(results.dropped.len(), 1);
    assert_eq!((results.dropped[0].perturbation.as_str(), results.dropped[0].n_cells), ("S2+S5", 9));
    assert!(results.conditions.iter().all(|row| row.perturbation != "S2+S5"));
    let additive =
        |name: &str| results.conditions.iter().find(|r| r.method == "additive" && r.perturbation == name).unwrap();
    assert_eq!(additive("S0+S7").flags, ["single_missing:S7"]);
    assert_eq!(additive("S0+S1").flags, ["both_singles_seen"]);
    assert_eq!((additive("S0+S1+S2").split.as_str(), additive("S7").split.as_str()), ("test/all", "test/singles"));
    assert_eq!((additive("S0").context.as_str(), additive("S0").n_cells), ("K562", 30));
}

#[test]
fn a_model_that_knows_the_truth_beats_the_best_baseline_and_a_flat_one_does_not() {
    let oracle = Planted { name: "oracle", scale: 1.0, fitted_on: "split" };
    let flat = Planted { name: "flat", scale: 0.0, fitted_on: "split" };
    let results = run(&world(), vec![Box::new(oracle), Box::new(flat)]).unwrap();
    let best = |method: &str| {
        let mut rows = results.comparisons.iter();
        rows.find(|r| r.method == method && r.split == "test/all" && r.metric == "l2_top1000" && r.best_baseline)
            .unwrap()
    };
    assert_eq!(best("oracle").baseline, "additive");
    assert!(best("oracle").beats && best("oracle").difference < 0.0 && !best("flat").beats);
    assert!(results.comparisons.iter().all(|row| row.method != "additive"), "baselines are what is compared with");

    let ceiling = results.references.iter().find(|r| r.name == "ceiling" && r.metric == "pearson_delta_control");
    let (ceiling, oracle) = (ceiling.unwrap().value, row(&results, "oracle", "test/all", "pearson_delta_control"));
    assert!((oracle.value.unwrap() - ceiling).abs() < 0.01, "{oracle:?} is the truth, the ceiling {ceiling}");
    assert_eq!((oracle.ceiling, oracle.verdict.is_some()), (Some(ceiling), true));
    assert_eq!(results.embedding_method, "oracle");
    let (predicted, measured): (Vec<_>, Vec<_>) = results.embedding.iter().partition(|point| point.predicted);
    assert!(results.embedding.len() <= 2000 && !predicted.is_empty() && !measured.is_empty());
    let metrics: Vec<_> = results.metrics.iter().map(|metric| &metric.name).collect();
    assert!(results.conditions.iter().all(|row| metrics.iter().all(|name| row.metrics.contains_key(*name))));
    assert!(results.conditions.iter().all(|row| row.metrics.len() == metrics.len()));
}

#[test]
fn the_same_evaluation_gives_the_same_results() {
    let world = world();
    assert_eq!(run(&world, vec![]).unwrap(), run(&world, vec![]).unwrap());
}

#[test]
fn what_was_fitted_under_another_split_is_refused() {
    let world = world();
    let elsewhere = Planted { name: "m", scale: 1.0, fitted_on: "other" };
    let error = run(&world, vec![Box::new(elsewhere)]).unwrap_err();
    assert!(matches!(error, BenchmarkError::OtherSplit { .. }), "{error}");

    let (perturbations, ..) = plan();
    let mut profiles = TrainingMeansBuilder::new("other", world.train.genes(), &perturbations);
    for index in [0usize, 1] {
        let condition = Condition { context: 0, kind: 0, perturbation: index as u32 };
        let labels: Vec<_> = (0..5).map(|cell| RowLabel { cell, condition }).collect();
        profiles.add(&labels, Rows::Dense(cells(&perturbations[index], 5, 0).view())).unwrap();
    }
    let train = profiles.finish().unwrap();
    let World { test, components, .. } = &world;
    let evaluation =
        Evaluation { train: &train, test, components, encoders: &[], share: Share::whole(), config: config() };
    assert!(matches!(evaluation.run(&[]), Err(BenchmarkError::Profile(FoldError::OtherSplit { .. }))));
}

#[test]
fn names_twice_and_predictions_that_are_none_are_errors() {
    struct Broken(fn(&Query<'_>) -> Prediction);
    impl Method for Broken {
        fn info(&self) -> MethodInfo {
            Planted { name: "broken", scale: 1.0, fitted_on: "" }.info()
        }

        fn encoder(&self) -> Option<&str> {
            Some("one")
        }

        fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
            Ok((self.0)(query))
        }
    }
    let world = world();
    let model = || -> Box<dyn Method> { Box::new(Planted { name: "m", scale: 1.0, fitted_on: "split" }) };
    assert!(matches!(run(&world, vec![model(), model()]), Err(BenchmarkError::DuplicateMethod(_))));
    let message =
        |broken: fn(&Query<'_>) -> Prediction| run(&world, vec![Box::new(Broken(broken))]).unwrap_err().to_string();
    let nan = message(|query| {
        let mut cells = query.control.to_owned();
        cells[[2, 5]] = f32::NAN;
        Prediction { outcome: Outcome::Cells { cells, latent: None }, flags: vec![] }
    });
    assert!(nan.contains("method broken on") && nan.contains("NaN for gene `g5` of cell 2"), "{nan}");
    let narrow = message(|query| {
        let cells = query.control.select(Axis(1), &[0]);
        Prediction { outcome: Outcome::Cells { cells, latent: None }, flags: vec![] }
    });
    assert!(narrow.contains("60 genes"), "{narrow}");
    let latent = message(|query| Prediction {
        outcome: Outcome::Cells { cells: query.control.to_owned(), latent: Some(Array2::zeros((3, 2))) },
        flags: vec![],
    });
    assert!(latent.contains("8 dimensions"), "{latent}");
    let short = message(|_| Prediction { outcome: Outcome::Shift(Array1::zeros(3)), flags: vec![] });
    assert!(short.contains("predicted 3 genes, but the cells have 60"), "{short}");
}

/// The change of the median of a perturbation's own training cells: more than means are needed to fit it.
struct Medians(BTreeMap<u32, Array1<f64>>);

impl Medians {
    fn fit(training: &Training<'_>) -> Box<dyn Method> {
        let mut cells: BTreeMap<u32, Vec<Array1<f32>>> = BTreeMap::new();
        let mut keep = |labels: &[RowLabel], rows: ArrayView2<'_, f32>| {
            for (label, row) in labels.iter().zip(rows.rows()) {
                cells.entry(label.condition.perturbation).or_default().push(row.to_owned());
            }
            Ok(())
        };
        training.cells.visit(&mut keep).unwrap();
        let median = |rows: &Vec<Array1<f32>>| {
            Array1::from_shape_fn(GENES, |gene| {
                let mut values: Vec<f32> = rows.iter().map(|row| row[gene]).collect();
                values.sort_by(f32::total_cmp);
                f64::from(values[values.len() / 2])
            })
        };
        let medians: BTreeMap<u32, Array1<f64>> = cells.iter().map(|(at, rows)| (*at, median(rows))).collect();
        Box::new(Self(medians.iter().map(|(at, own)| (*at, own - &medians[&0])).collect()))
    }
}

impl Method for Medians {
    fn info(&self) -> MethodInfo {
        Planted { name: "medians", scale: 1.0, fitted_on: "" }.info()
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        let (perturbations, ..) = plan();
        let number = perturbations.iter().position(|known| known == query.perturbation).unwrap() as u32;
        let change = self.0.get(&number).cloned().unwrap_or_else(|| Array1::zeros(GENES));
        Ok(Prediction { outcome: Outcome::Shift(change), flags: vec![] })
    }
}

#[test]
fn a_method_can_be_fitted_on_the_training_cells_themselves() {
    let world = world();
    let training = Training { means: &world.train, cells: &world.cells, seed: 1 };
    let results = run(&world, vec![Medians::fit(&training)]).unwrap();
    let of = |method: &str, perturbation: &str| {
        let mut rows = results.conditions.iter();
        let row = rows.find(|row| row.method == method && row.perturbation == perturbation).unwrap();
        row.metrics["pearson_delta_control"]
    };
    // S0 was trained on, S7 was not.
    assert!(of("medians", "S0").unwrap() > 0.95 && of("medians", "S7").is_none());
}

#[test]
fn several_processes_find_what_one_finds_and_a_failure_of_one_ends_all() {
    let world = &world();
    let methods = |fails: bool| -> Vec<Box<dyn Method>> {
        let mut methods = baseline::all(&Training { means: &world.train, cells: &world.cells, seed: 1 }).unwrap();
        methods.push(Box::new(Planted {
            name: if fails { "fails" } else { "oracle" },
            scale: 1.0,
            fitted_on: "split",
        }));
        methods
    };
    let ranks = 3;
    let evaluate = |fails: bool| -> Vec<Result<Results, BenchmarkError>> {
        let (barrier, said) = (&Barrier::new(ranks), &Mutex::new(vec![String::new(); ranks]));
        let methods = &methods(fails);
        let one = move |rank: usize| {
            let exchange = move |text: &str| {
                said.lock().unwrap()[rank] = text.to_owned();
                barrier.wait();
                let all = said.lock().unwrap().clone();
                barrier.wait();
                Ok(all)
            };
            let World { train, test, components, .. } = world;
            let encoders = &[encoder("embedding", "one")];
            Evaluation { train, test, components, encoders, share: Share::of(rank, ranks, &exchange), config: config() }
                .run(methods)
        };
        thread::scope(|scope| {
            let running: Vec<_> = (0..ranks).map(|rank| scope.spawn(move || one(rank))).collect();
            running.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    };
    let World { train, test, components, .. } = world;
    let encoders = &[encoder("embedding", "one")];
    let whole = Evaluation { train, test, components, encoders, share: Share::whole(), config: config() };
    let whole = whole.run(&methods(false)).unwrap();
    for found in evaluate(false) {
        assert_eq!(found.unwrap(), whole);
    }
    for failed in evaluate(true) {
        let error = failed.unwrap_err().to_string();
        assert!(error.contains("rank ") && error.contains("method fails on S0+S1"), "{error}");
    }
}

#[test]
fn every_embedding_is_scored_and_a_method_predicts_in_its_own() {
    struct InSecond;
    impl Method for InSecond {
        fn info(&self) -> MethodInfo {
            Planted { name: "second", scale: 1.0, fitted_on: "" }.info()
        }

        fn encoder(&self) -> Option<&str> {
            Some("two")
        }

        fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
            // The control cells, with a latent that none of them has.
            let latent = Some(Array2::from_elem((query.control.nrows(), 8), 100.0));
            Ok(Prediction { outcome: Outcome::Cells { cells: query.control.to_owned(), latent }, flags: vec![] })
        }
    }
    let world = world();
    let World { train, test, components, .. } = &world;
    let evaluate = |encoders: &[Encoder<'_>]| {
        let evaluation = Evaluation { train, test, components, encoders, share: Share::whole(), config: config() };
        evaluation.run(&[Box::new(InSecond) as Box<dyn Method>])
    };
    let error = evaluate(&[encoder("embedding", "one")]).unwrap_err();
    assert!(matches!(error, BenchmarkError::Encoder { .. }), "{error}");

    // The held-out cells of this world have one embedding, which stands for both.
    let mut twice = HeldOutBuilder::new("split", train.genes(), &plan().0, &["K562".into()], HeldOutConfig::default());
    let (_, _, amounts) = plan();
    let mut next = 0;
    for (index, n) in amounts {
        let rows = cells(&plan().0[index], n, 1000 + index as u64);
        let condition = Condition { context: 0, kind: 0, perturbation: index as u32 };
        let labels: Vec<_> = (0..n as u64).map(|cell| RowLabel { cell: next + cell, condition }).collect();
        next += n as u64;
        let latents = encode(rows.view()).unwrap();
        twice.add(&labels, Rows::Dense(rows.view()), &[latents.view(), latents.view()]).unwrap();
    }
    let test = twice.finish().unwrap();
    let encoders = &[encoder("embedding_finetune", "one"), encoder("embedding_diffuse", "two")];
    let evaluation = Evaluation { train, test: &test, components, encoders, share: Share::whole(), config: config() };
    let results = evaluation.run(&[Box::new(InSecond) as Box<dyn Method>]).unwrap();
    let l2 = |metric: &str| row(&results, "second", "test/all", metric).value.unwrap();
    assert!(l2("l2_embedding_diffuse") > 200.0, "100 in each of 8 dimensions: {}", l2("l2_embedding_diffuse"));
    assert!(l2("l2_embedding_finetune") < 100.0, "the cells it predicts, encoded");
}
