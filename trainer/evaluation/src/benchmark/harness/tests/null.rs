//! Worlds of which the right score is known: one without any effect, and one whose truth is a method.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2};
use syncyte_sharding::labels::Perturbation;
use syncyte_sharding::philox::{Philox, Purpose};

use super::super::{Evaluation, EvaluationConfig};
use super::Blocks;
use crate::baseline::{self, Training};
use crate::benchmark::method::{Method, MethodError, Outcome, Prediction, Query};
use crate::benchmark::results::{MethodInfo, Results};
use crate::benchmark::{Encoder, Share};
use crate::fold::{
    ComponentsBuilder, ComponentsConfig, Condition, HeldOutBuilder, HeldOutConfig, RowLabel, Rows, TrainingMeansBuilder,
};

const GENES: usize = 150;
const CONDITIONS: usize = 12;
const DELTAS: [&str; 4] =
    ["pearson_delta_control", "pearson_delta_perturbed", "cosine_delta_pca50", "cosine_delta_embedding"];

/// Cells of every fold: controls and those of a condition.
#[derive(Clone, Copy)]
struct Sizes {
    train: (usize, usize),
    held_out: (usize, usize),
}

const FEW_CONTROLS: Sizes = Sizes { train: (120, 25), held_out: (28, 20) };

struct World {
    seed: u64,
    /// Scale of the effects; 0 for none.
    effect: f64,
    sizes: Sizes,
}

impl World {
    fn effect(&self, condition: usize) -> Array1<f64> {
        let mut random = Philox::new(self.seed, Purpose::Trial, condition as u64, 7);
        let own = Array1::from_shape_simple_fn(GENES, || self.effect * random.normal());
        if condition == 0 { Array1::zeros(GENES) } else { own }
    }

    fn base() -> Array1<f64> {
        Array1::from_shape_fn(GENES, |gene| 2.0 + (gene as f64 * 0.37).sin())
    }

    /// Cells with noise that the genes share (three programs, as cell cycle or depth) and noise of their own.
    fn cells(&self, condition: usize, n: usize, fold: u64) -> Array2<f32> {
        let mean = Self::base() + self.effect(condition);
        let mut random = Philox::new(self.seed, Purpose::Trial, condition as u64, 8 + fold);
        let mut cells = Array2::zeros((n, GENES));
        for mut cell in cells.rows_mut() {
            let programs = [random.normal(), random.normal(), random.normal()];
            for (gene, value) in cell.iter_mut().enumerate() {
                let shared = 0.3 * programs[gene % 3] * (1.0 + (gene as f64 * 0.11).cos());
                *value = (mean[gene] + shared + 0.5 * random.normal()) as f32;
            }
        }
        cells
    }

    fn evaluate(&self, more: Vec<Box<dyn Method>>) -> Results {
        let genes: Vec<String> = (0..GENES).map(|gene| format!("g{gene}")).collect();
        let perturbations: Vec<Perturbation> = std::iter::once(Perturbation::control())
            .chain((1..=CONDITIONS).map(|at| Perturbation::of([format!("P{at}")])))
            .collect();
        let mut profiles = TrainingMeansBuilder::new("split", &genes, &perturbations);
        let config = ComponentsConfig { components: 10, ..ComponentsConfig::default() };
        let mut components = ComponentsBuilder::new("split", &genes, config);
        let mut held_out = HeldOutBuilder::new("split", &genes, &perturbations, &[], HeldOutConfig::default());
        for at in 0..=CONDITIONS {
            let condition = Condition { context: 0, kind: 0, perturbation: at as u32 };
            let labels = |n: usize, fold: usize| -> Vec<RowLabel> {
                (0..n).map(|cell| RowLabel { cell: (10_000 * at + 5000 * fold + cell) as u64, condition }).collect()
            };
            let n = |sizes: (usize, usize)| if at == 0 { sizes.0 } else { sizes.1 };
            let (train, test) = (n(self.sizes.train), n(self.sizes.held_out));
            let rows = self.cells(at, train, 0);
            profiles.add(&labels(train, 0), Rows::Dense(rows.view())).unwrap();
            components.add(&labels(train, 0), Rows::Dense(rows.view())).unwrap();
            let rows = self.cells(at, test, 1);
            let latents = encode(rows.view()).unwrap();
            held_out.add(&labels(test, 1), Rows::Dense(rows.view()), &[latents.view()]).unwrap();
        }
        let (train, test) = (Arc::new(profiles.finish().unwrap()), held_out.finish().unwrap());
        let none = Blocks(Vec::new());
        let mut methods = baseline::all(&Training { means: &train, cells: &none, seed: 1 }).unwrap();
        methods.extend(more);
        let config = EvaluationConfig {
            resamples: 300,
            cell_draws: 40,
            seed: self.seed,
            set_cells: 32,
            samples: 64,
            ..EvaluationConfig::default()
        };
        let components = components.finish().unwrap();
        let encoders = [Encoder { name: "embedding".into(), id: "one".into(), encode: Box::new(encode) }];
        let share = Share::whole();
        Evaluation { train: &train, test: &test, components: &components, encoders: &encoders, share, config }
            .run(&methods)
            .unwrap()
    }
}

/// Something that is not linear, as an encoder is.
fn encode(cells: ArrayView2<'_, f32>) -> Result<Array2<f32>, crate::benchmark::EncodeError> {
    if cells.ncols() != GENES {
        return Err(format!("{} genes", cells.ncols()).into());
    }
    let mut random = Philox::new(9, Purpose::Trial, 0, 2);
    let weights = Array2::from_shape_simple_fn((GENES, 16), || 0.2 * random.normal() as f32);
    Ok((&cells - 2.0).dot(&weights).mapv(f32::tanh))
}

fn model(name: &str) -> MethodInfo {
    MethodInfo { name: name.into(), title: name.into(), description: name.into(), baseline: false, informed: true }
}

/// Moves every cell for itself by a change that depends on the perturbation and on the cell, and samples.
struct Wanders;

impl Method for Wanders {
    fn info(&self) -> MethodInfo {
        model("wanders")
    }

    fn samples(&self) -> bool {
        true
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        let target = query.perturbation.name.bytes().map(u64::from).sum();
        let mut cells = query.control.to_owned();
        for ((mut cell, &id), &draw) in cells.rows_mut().into_iter().zip(query.cells).zip(query.draws) {
            let mut noise = Philox::new(3, Purpose::Trial, id, draw);
            let mut direction = Philox::new(4, Purpose::Trial, target, 0);
            cell.mapv_inplace(|value| {
                let change = direction.normal() as f32 + noise.normal() as f32;
                0.9 * value + 0.3 * change
            });
        }
        Ok(Prediction { outcome: Outcome::Cells { cells, latent: None }, flags: vec![] })
    }
}

#[test]
fn without_any_effect_every_method_has_a_delta_of_zero_within_its_interval() {
    const WORLDS: u64 = 40;
    let mut values: BTreeMap<(String, String), Vec<(f64, bool)>> = BTreeMap::new();
    for seed in 0..WORLDS {
        let world = World { seed, effect: 0.0, sizes: FEW_CONTROLS };
        for row in world.evaluate(vec![Box::new(Wanders)]).results {
            if let (Some(value), Some(low), Some(high)) = (row.value, row.ci_low, row.ci_high) {
                let covers = low <= 0.0 && 0.0 <= high;
                values.entry((row.method, row.metric)).or_default().push((value, covers));
            }
        }
    }
    let summary = |method: &str, metric: &str| {
        let found = values.get(&(method.to_owned(), metric.to_owned()))?;
        let n = found.len() as f64;
        let mean = found.iter().map(|(value, _)| value).sum::<f64>() / n;
        let variance = found.iter().map(|(value, _)| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let covered = found.iter().filter(|(_, covers)| *covers).count() as f64 / n;
        Some((mean, (variance / n).sqrt(), covered))
    };
    let mut tested = 0;
    for metric in DELTAS {
        for method in ["mean_shift", "mean_shift_all", "train_mean", "additive", "linear_targets", "wanders"] {
            let Some((mean, error, covered)) = summary(method, metric) else { continue };
            tested += 1;
            assert!(mean.abs() < 3.5 * error, "{metric} of {method}: {mean} ± {error}, where there is nothing to find");
            assert!(covered >= 0.85, "{metric} of {method}: zero lies in {covered} of the intervals");
        }
    }
    assert!(tested >= 18, "{tested} combinations are defined");
    // What the halves are for: the plain form finds agreement where there is none but the controls' noise.
    let (plain, ..) = summary("train_mean", "pearson_delta_control_published").unwrap();
    assert!(plain > 0.3, "{plain}");
}

/// The planted truth, as a change or as a profile.
struct Truth {
    world: World,
    name: &'static str,
    profile: bool,
}

impl Method for Truth {
    fn info(&self) -> MethodInfo {
        model(self.name)
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        let condition = query.perturbation.name[1..].parse().unwrap_or(0);
        let effect = self.world.effect(condition);
        let outcome = if self.profile { Outcome::Profile(World::base() + effect) } else { Outcome::Shift(effect) };
        Ok(Prediction { outcome, flags: vec![] })
    }
}

#[test]
fn the_truth_scores_its_ceiling_and_nothing_else_is_above_it() {
    const WORLDS: u64 = 12;
    let (mut gaps, mut alarms): (BTreeMap<&str, Vec<[f64; 2]>>, Vec<String>) = (BTreeMap::new(), Vec::new());
    for seed in 0..WORLDS {
        let world = || World { seed, effect: 0.12, sizes: Sizes { train: (300, 60), held_out: (80, 40) } };
        let truth = |name, profile| Box::new(Truth { world: world(), name, profile }) as Box<dyn Method>;
        let results = world().evaluate(vec![truth("change", false), truth("profile", true)]);
        let shift = ["pearson_delta_control", "pearson_delta_perturbed", "cosine_delta_pca50"].map(|m| ("change", m));
        let profile = ["l2_top1000", "mse", "mae", "l2_pca50"].map(|m| ("profile", m));
        for (method, metric) in shift.into_iter().chain(profile) {
            let row = results.results.iter().find(|row| row.method == method && row.metric == metric).unwrap();
            let (value, ceiling) = (row.value.unwrap(), row.ceiling.unwrap());
            gaps.entry(metric).or_default().push([value, ceiling]);
        }
        alarms.extend(results.warnings.into_iter().filter(|warning| warning.contains("the truth itself")));
    }
    // Of some 150 metrics and worlds; intervals of 95 % leave out the upper 2.5 of 100.
    assert!(alarms.len() <= 6, "{alarms:?}");
    for (metric, pairs) in gaps {
        let pairs = Array2::from(pairs);
        let gap = &pairs.column(0) - &pairs.column(1);
        let (gap, error) = (gap.mean().unwrap(), gap.std(1.0) / (gap.len() as f64).sqrt());
        let ceiling = pairs.column(1).mean().unwrap();
        // The ceiling of agreement in few dimensions is an estimate with an error of its own.
        assert!(gap.abs() < 0.03 * ceiling + 3.0 * error, "{metric}: the truth is {gap} from its ceiling of {ceiling}");
        assert!(error < 0.35 * ceiling, "{metric}: an error of {error} tells nothing");
    }
}

#[test]
fn few_controls_are_a_warning_and_sampling_shows_its_spread() {
    let results = World { seed: 1, effect: 0.2, sizes: FEW_CONTROLS }.evaluate(vec![Box::new(Wanders)]);
    assert!(results.warnings.iter().any(|w| w.contains("held-out control cells in 0 (28)")), "{:?}", results.warnings);
    let sd = |method: &str| {
        let mut rows = results.results.iter();
        rows.find(|row| row.method == method && row.metric == "mse").unwrap().sampling_sd
    };
    assert!(sd("wanders").is_some_and(|sd| sd > 0.0) && sd("additive").is_none());
    let cells: Vec<_> = results.conditions.iter().map(|row| row.n_distance_cells).collect();
    assert!(cells.iter().all(|&n| n == 20), "as many as the smaller side has: {cells:?}");
}

#[test]
fn predicted_means_rest_on_all_controls_however_many_there_are() {
    let gap = |controls: usize| {
        let sizes = Sizes { train: (4000, 25), held_out: (controls, 20) };
        let results = World { seed: 2, effect: 0.0, sizes }.evaluate(vec![]);
        let value = |method: &str| {
            let mut rows = results.results.iter();
            rows.find(|row| row.method == method && row.metric == "mse").unwrap().value.unwrap()
        };
        // Both predict the same mean; one carries the noise of the held-out controls.
        (value("mean_shift_all") / value("train_mean") - 1.0, results.warnings)
    };
    let (many, warnings) = gap(10_324);
    assert!(many.abs() < 0.02, "10,324 controls leave {many}");
    assert!(!warnings.iter().any(|warning| warning.contains("control cells")), "{warnings:?}");
    assert!(gap(28).0 > 0.2, "28 controls leave {}", gap(28).0);
}
