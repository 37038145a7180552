//! Whether planted stores look like real screens: the sanity gates of the generator, on pseudobulk of its cells.

use super::config::{Preset, SynthConfig, World};
use super::generator::Generator;
use super::pearson;
use super::truth::Truth;

/// Genes that effects are compared on: those best expressed in control cells.
const COMPARED_GENES: usize = 1_000;

/// What is measured on a store.
#[derive(Debug)]
struct Gates {
    zero_fraction: f64,
    mean_library: f64,
    additive_pearson: f64,
    additive_l2_ratio: f64,
    train_mean_pearson: f64,
    module_mean_pearson: f64,
    truth_rmse: f64,
}

/// Pseudobulk of every condition and what it was made of.
struct Screen {
    truth: Truth,
    mean: Vec<Vec<f64>>,
    stored: usize,
    counts: f64,
}

impl Screen {
    fn generate(config: &SynthConfig) -> Self {
        let generator = Generator::new(config).unwrap();
        let truth = generator.truth();
        let mut sum = vec![vec![0.0; config.genes]; truth.conditions.len()];
        let mut cells = vec![0.0; truth.conditions.len()];
        let (mut stored, mut counts) = (0, 0.0);
        let blocks: Vec<_> = (0..config.cells)
            .step_by(2_048)
            .map(|start| generator.rows(start..(start + 2_048).min(config.cells)))
            .collect();
        let labels = generator.labels();
        let mut cell = 0;
        for block in &blocks {
            block.validate().unwrap();
            stored += block.nnz();
            for row in 0..block.n_rows() {
                let (genes, values) = block.row(row);
                let library: f64 = values.iter().map(|&value| f64::from(value)).sum();
                counts += library;
                let condition = labels.perturbation[cell] as usize;
                for (&gene, &value) in genes.iter().zip(values) {
                    sum[condition][gene as usize] += (1e4 * f64::from(value) / library).ln_1p();
                }
                cells[condition] += 1.0;
                cell += 1;
            }
        }
        sum.iter_mut().zip(&cells).for_each(|(row, cells)| row.iter_mut().for_each(|value| *value /= cells));
        Self { truth, mean: sum, stored, counts }
    }

    /// Best expressed genes of the control cells.
    fn compared(&self) -> Vec<usize> {
        let mut genes: Vec<usize> = (0..self.truth.genes.len()).collect();
        genes.sort_by(|a, b| self.mean[0][*b].total_cmp(&self.mean[0][*a]));
        genes.truncate(COMPARED_GENES);
        genes
    }

    fn delta(&self, condition: usize, genes: &[usize]) -> Vec<f64> {
        genes.iter().map(|&gene| self.mean[condition][gene] - self.mean[0][gene]).collect()
    }

    /// (double, first single, second single) by place.
    fn doubles(&self) -> Vec<[usize; 3]> {
        let place = |name: &String| self.truth.condition(name).unwrap();
        let conditions = self.truth.conditions.iter().enumerate();
        conditions
            .filter(|(_, one)| one.perturbation.targets.len() == 2)
            .map(|(at, one)| [at, place(&one.perturbation.targets[0]), place(&one.perturbation.targets[1])])
            .collect()
    }

    fn gates(&self) -> Gates {
        let genes = self.compared();
        let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let (mut additive, mut ratio) = (Vec::new(), Vec::new());
        for [double, first, second] in self.doubles() {
            let (a, b, both) = (self.delta(first, &genes), self.delta(second, &genes), self.delta(double, &genes));
            let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            let error: Vec<f64> = sum.iter().zip(&both).map(|(sum, both)| sum - both).collect();
            additive.push(pearson(&sum, &both));
            ratio.push(norm(&error) / norm(&both));
        }
        let singles: Vec<usize> = (1..self.mean.len())
            .filter(|&at| matches!(self.truth.conditions[at].strength[..], [strength] if strength > 0.0))
            .collect();
        let (mut of_mean, mut of_module) = (Vec::new(), Vec::new());
        for &held_out in &singles {
            let own = self.delta(held_out, &genes);
            let others: Vec<usize> = singles.iter().copied().filter(|&other| other != held_out).collect();
            of_mean.push(pearson(&self.average(&others, &genes), &own));
            let home = &self.truth.conditions[held_out].module;
            let kin: Vec<usize> =
                others.into_iter().filter(|&other| self.truth.conditions[other].module == *home).collect();
            if !kin.is_empty() {
                of_module.push(pearson(&self.average(&kin, &genes), &own));
            }
        }
        let cells = self.truth.config.cells as f64;
        Gates {
            zero_fraction: 1.0 - self.stored as f64 / (cells * self.truth.genes.len() as f64),
            mean_library: self.counts / cells,
            additive_pearson: mean(&additive),
            additive_l2_ratio: mean(&ratio),
            train_mean_pearson: mean(&of_mean),
            module_mean_pearson: mean(&of_module),
            truth_rmse: self.truth_rmse(&genes),
        }
    }

    fn average(&self, conditions: &[usize], genes: &[usize]) -> Vec<f64> {
        let mut sum = vec![0.0; genes.len()];
        for &condition in conditions {
            sum.iter_mut().zip(self.delta(condition, genes)).for_each(|(sum, value)| *sum += value);
        }
        for value in &mut sum {
            *value /= conditions.len() as f64;
        }
        sum
    }

    /// Root mean squared difference of the control pseudobulk from the noise-free baseline.
    fn truth_rmse(&self, genes: &[usize]) -> f64 {
        let baseline = self.truth.baseline(0);
        let squares = genes.iter().map(|&gene| (self.mean[0][gene] - f64::from(baseline[gene])).powi(2));
        (squares.sum::<f64>() / genes.len() as f64).sqrt()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A store of few conditions with many cells each, so that pseudobulk shows what is planted.
fn deep(world: World) -> SynthConfig {
    let demo = SynthConfig::preset(Preset::Demo, world, 11);
    let small = SynthConfig { cells: 16_000, genes: 600, singles: 5, doubles: 2, modules: 10, ..demo };
    SynthConfig { control_share: 0.3, null_share: 0.0, counts_per_gene: 8.0, ..small }
}
/// Root mean squared difference of the effects seen in pseudobulk from the truth, and the slope of seen on true.
fn agreement(screen: &Screen) -> (f64, f64) {
    let genes: Vec<usize> = (0..screen.truth.genes.len()).collect();
    let (mut squares, mut product, mut power, mut n) = (0.0, 0.0, 0.0, 0.0);
    for condition in 1..screen.mean.len() {
        for (seen, &planted) in screen.delta(condition, &genes).iter().zip(screen.truth.effect(0, condition)) {
            let planted = f64::from(planted);
            squares += (seen - planted).powi(2);
            product += seen * planted;
            power += planted * planted;
            n += 1.0;
        }
    }
    ((squares / n).sqrt(), product / power)
}

#[test]
fn the_demo_looks_like_a_real_screen_and_can_be_learnt() {
    let gates = Screen::generate(&SynthConfig::preset(Preset::Demo, World::W2, 0)).gates();
    println!("{gates:?}");
    assert!((0.55..0.65).contains(&gates.zero_fraction), "{gates:?}");
    assert!((2_750.0..3_750.0).contains(&gates.mean_library), "{gates:?}");
    assert!((0.85..0.92).contains(&gates.additive_pearson), "{gates:?}");
    assert!((0.43..0.56).contains(&gates.additive_l2_ratio), "{gates:?}");
    assert!((0.30..0.52).contains(&gates.train_mean_pearson), "{gates:?}");
    assert!(gates.module_mean_pearson > gates.train_mean_pearson + 0.15, "{gates:?}");
    assert!(gates.truth_rmse < 0.03, "{gates:?}");
}

#[test]
fn nothing_tells_of_an_unseen_effect_in_the_world_without_information() {
    let config = SynthConfig { cells: 10_000, genes: 1_000, ..SynthConfig::preset(Preset::Demo, World::W0, 0) };
    let gates = Screen::generate(&config).gates();
    println!("{gates:?}");
    assert!(gates.additive_pearson.abs() < 0.1 && gates.additive_l2_ratio > 1.0, "{gates:?}");
    assert!(gates.module_mean_pearson < 0.1 && gates.train_mean_pearson < 0.2, "{gates:?}");
}

#[test]
fn the_additive_baseline_is_exact_on_the_truth_of_the_linear_world() {
    let screen = Screen::generate(&SynthConfig::preset(Preset::Demo, World::W1, 2));
    let doubles = screen.doubles();
    assert_eq!(doubles.len(), 20);
    for [double, first, second] in doubles {
        let [both, a, b] = [double, first, second].map(|condition| screen.truth.effect(0, condition));
        assert!((0..both.len()).all(|gene| both[gene].to_bits() == (a[gene] + b[gene]).to_bits()));
        assert!(both.iter().any(|&change| change != 0.0));
    }
    assert!(screen.gates().additive_pearson > 0.9);
}

#[test]
fn cells_tend_to_the_truth_in_every_world() {
    for world in [World::W0, World::W1, World::W2] {
        let screen = Screen::generate(&deep(world));
        let (error, slope) = agreement(&screen);
        println!("{world}: error {error}, slope {slope}");
        assert!(error < 0.03, "{world}: error {error}");
        assert!((slope - 1.0).abs() < 0.03, "{world}: slope {slope}");
    }
}

#[test]
fn contexts_differ_in_baseline_and_every_context_has_its_truth() {
    let config = SynthConfig { contexts: 2, ..deep(World::W2) };
    let truth = Generator::new(&config).unwrap().truth();
    assert_eq!(truth.contexts, ["line1", "line2"]);
    let [first, second] = [0, 1].map(|context| truth.baseline(context));
    assert!(first.iter().zip(second).any(|(a, b)| (a - b).abs() > 0.1));
    assert!(truth.effect(1, 1).iter().any(|&change| change.abs() > 0.05));
    assert!(truth.effect(1, 0).iter().all(|&change| change == 0.0));
}

#[test]
fn any_block_of_cells_can_be_made_alone_on_any_number_of_threads() {
    for world in [World::W0, World::W1, World::W2] {
        let config = SynthConfig { cells: 2_000, genes: 400, ..SynthConfig::preset(Preset::Demo, world, 7) };
        let whole = Generator::new(&config).unwrap().rows(0..200);
        let again = Generator::new(&config).unwrap();
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| again.rows(120..157));
        assert_eq!(alone.n_rows(), 37);
        for row in 0..37 {
            assert_eq!(alone.row(row), whole.row(120 + row), "{world}");
        }
        let other = Generator::new(&SynthConfig { seed: 8, ..config }).unwrap().rows(0..200);
        assert_ne!(other, whole, "{world}");
    }
}

/// Standardised log-normalised expression of the control cells: gene × cell.
fn control_expression(generator: &Generator, config: &SynthConfig) -> Vec<Vec<f64>> {
    let mut expression = vec![Vec::new(); config.genes];
    for cell in (0..config.cells).filter(|&cell| generator.is_control(cell)) {
        let block = generator.rows(cell..cell + 1);
        let (genes, values) = block.row(0);
        let library: f64 = values.iter().map(|&value| f64::from(value)).sum();
        for row in &mut expression {
            row.push(0.0);
        }
        for (&gene, &value) in genes.iter().zip(values) {
            if let Some(last) = expression[gene as usize].last_mut() {
                *last = (1e4 * f64::from(value) / library).ln_1p();
            }
        }
    }
    for row in &mut expression {
        let centre = mean(row);
        for value in row.iter_mut() {
            *value -= centre;
        }
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
        for value in row.iter_mut() {
            *value /= length;
        }
    }
    expression
}

#[test]
fn the_module_of_a_target_shows_in_control_cells() {
    let config = SynthConfig::preset(Preset::Demo, World::W2, 0);
    let generator = Generator::new(&config).unwrap();
    let truth = generator.truth();
    let expression = control_expression(&generator, &config);
    let singles = truth.conditions.iter().filter(|condition| condition.perturbation.targets.len() == 1);
    let found = singles.filter(|condition| {
        let target = truth.genes.binary_search(&condition.perturbation.targets[0]).unwrap();
        let mut score = vec![0.0; config.modules];
        for gene in (0..config.genes).filter(|&gene| gene != target) {
            let correlation: f64 = expression[target].iter().zip(&expression[gene]).map(|(a, b)| a * b).sum();
            score[truth.modules[gene] as usize] += correlation * correlation;
        }
        let best = (0..config.modules).max_by(|a, b| score[*a].total_cmp(&score[*b])).unwrap();
        best as u32 == condition.module[0]
    });
    let found = found.count();
    println!("{found} of {} targets", config.singles);
    assert!(found >= 75, "the module of {found} of {} targets shows in co-expression", config.singles);
}
