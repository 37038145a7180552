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
        sum.iter_mut().for_each(|value| *value /= conditions.len() as f64);
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

#[test]
fn sweep() {
    for world in [World::W0, World::W1, World::W2] {
        for seed in [0, 1, 2] {
        let started = std::time::Instant::now();
        let config = SynthConfig::preset(Preset::Demo, world, seed);
        let screen = Screen::generate(&config);
        let generated = started.elapsed();
        println!("{world} {seed} {generated:?} {:?}", screen.gates());
        for c in [1, 5, 9] {
            let genes = screen.compared();
            let d = screen.delta(c, &genes);
            let t: Vec<f64> = genes.iter().map(|&g| f64::from(screen.truth.effect(0, c)[g])).collect();
            println!("  {:?} {} r={:.3} rms d {:.3} t {:.3}", screen.truth.conditions[c].strength, screen.truth.conditions[c].perturbation.name, pearson(&d, &t),
                mean(&d.iter().map(|x| x*x).collect::<Vec<_>>()).sqrt(), mean(&t.iter().map(|x| x*x).collect::<Vec<_>>()).sqrt());
        }
        }
    }
}
