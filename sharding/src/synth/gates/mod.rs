//! Whether planted stores look like real screens: the sanity gates of the generator, on pseudobulk of its cells.

mod channels;
mod differential;
mod medium;
mod penetrance;
mod worlds;

use rayon::prelude::*;

use super::SynthConfig;
use super::generator::Generator;
use super::pearson;
use super::truth::Planted;

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

/// Log-normalised expression of some cells, gene by gene.
#[derive(Clone)]
struct Tally {
    cells: f64,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

/// Pseudobulk of every condition in the first context, and what it was made of.
struct Screen {
    planted: Planted,
    /// Noise-free expression: the baseline, and the change of every condition.
    baseline: Vec<f32>,
    effects: Vec<Vec<f32>>,
    /// Two halves of the cells of every condition.
    halves: Vec<[Tally; 2]>,
    mean: Vec<Vec<f64>>,
    stored: usize,
    counts: f64,
}

impl Tally {
    fn new(genes: usize) -> Self {
        Self { cells: 0.0, sum: vec![0.0; genes], squares: vec![0.0; genes] }
    }

    fn add(&mut self, genes: &[u32], values: &[f32], library: f64) {
        self.cells += 1.0;
        for (&gene, &value) in genes.iter().zip(values) {
            let value = (1e4 * f64::from(value) / library).ln_1p();
            self.sum[gene as usize] += value;
            self.squares[gene as usize] += value * value;
        }
    }
}

impl Screen {
    fn generate(config: &SynthConfig) -> Self {
        let generator = Generator::new(config).unwrap();
        let planted = generator.planted();
        let oracle = generator.oracle();
        let baseline = oracle.baseline(0).to_vec();
        let effects = (0..planted.conditions.len()).into_par_iter().map(|at| oracle.effect(0, 0, at)).collect();
        let mut halves = vec![[(); 2].map(|()| Tally::new(config.genes)); planted.conditions.len()];
        let (mut stored, mut counts) = (0, 0.0);
        let mut cell = 0;
        for start in (0..config.cells).step_by(2_048) {
            let block = generator.rows(start..(start + 2_048).min(config.cells));
            block.validate().unwrap();
            stored += block.nnz();
            for row in 0..block.n_rows() {
                let (genes, values) = block.row(row);
                let library: f64 = values.iter().map(|&value| f64::from(value)).sum();
                counts += library;
                let place = generator.place(cell);
                cell += 1;
                if place.context == 0 {
                    let halves = &mut halves[place.condition];
                    let half = usize::from(halves[0].cells > halves[1].cells);
                    halves[half].add(genes, values, library);
                }
            }
        }
        let mean = |[first, second]: &[Tally; 2]| {
            let sum = first.sum.iter().zip(&second.sum);
            sum.map(|(a, b)| (a + b) / (first.cells + second.cells)).collect()
        };
        let mean = halves.iter().map(mean).collect();
        Self { planted, baseline, effects, halves, mean, stored, counts }
    }

    /// Best expressed genes of the control cells.
    fn compared(&self) -> Vec<usize> {
        let mut genes: Vec<usize> = (0..self.planted.genes.len()).collect();
        genes.sort_by(|a, b| self.mean[0][*b].total_cmp(&self.mean[0][*a]));
        genes.truncate(COMPARED_GENES);
        genes
    }

    fn delta(&self, condition: usize, genes: &[usize]) -> Vec<f64> {
        genes.iter().map(|&gene| self.mean[condition][gene] - self.mean[0][gene]).collect()
    }

    /// (double, first single, second single) by place.
    fn doubles(&self) -> Vec<[usize; 3]> {
        let place = |name: &String| self.planted.condition(name).unwrap();
        let conditions = self.planted.conditions.iter().enumerate();
        conditions
            .filter(|(_, one)| one.perturbation.targets.len() == 2)
            .map(|(at, one)| [at, place(&one.perturbation.targets[0]), place(&one.perturbation.targets[1])])
            .collect()
    }

    fn singles(&self) -> Vec<usize> {
        (0..self.mean.len()).filter(|&at| self.planted.conditions[at].perturbation.targets.len() == 1).collect()
    }

    /// The half of the singles that does most, by the truth.
    fn strong(&self) -> Vec<usize> {
        let power = |at: usize| self.effects[at].iter().map(|change| change * change).sum::<f32>();
        let mut singles = self.singles();
        singles.sort_by(|&a, &b| power(b).total_cmp(&power(a)));
        singles.truncate(singles.len() / 2);
        singles
    }

    fn gates(&self) -> Gates {
        let genes = self.compared();
        let (mut additive, mut ratio) = (Vec::new(), Vec::new());
        for [double, first, second] in self.doubles() {
            let (a, b, both) = (self.delta(first, &genes), self.delta(second, &genes), self.delta(double, &genes));
            let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            let error: Vec<f64> = sum.iter().zip(&both).map(|(sum, both)| sum - both).collect();
            additive.push(pearson(&sum, &both));
            ratio.push(norm(&error) / norm(&both));
        }
        let singles = self.singles();
        let (mut of_mean, mut of_module) = (Vec::new(), Vec::new());
        for held_out in self.strong() {
            let own = self.delta(held_out, &genes);
            let others: Vec<usize> = singles.iter().copied().filter(|&other| other != held_out).collect();
            of_mean.push(pearson(&self.average(&others, &genes), &own));
            let home = &self.planted.conditions[held_out].module;
            let kin: Vec<usize> =
                others.into_iter().filter(|&other| self.planted.conditions[other].module == *home).collect();
            if !kin.is_empty() {
                of_module.push(pearson(&self.average(&kin, &genes), &own));
            }
        }
        let cells = self.planted.config.cells as f64;
        Gates {
            zero_fraction: 1.0 - self.stored as f64 / (cells * self.planted.genes.len() as f64),
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
        let squares = genes.iter().map(|&gene| (self.mean[0][gene] - f64::from(self.baseline[gene])).powi(2));
        (squares.sum::<f64>() / genes.len() as f64).sqrt()
    }

    /// How well one half of a condition's cells finds the other half among all conditions: mean over `conditions`
    /// of 1 − rank / (n − 1) by the cosine of effects, ties at the middle, genes of all targets left out.
    fn replicate_discrimination(&self, conditions: &[usize]) -> f64 {
        let targets: Vec<&String> =
            self.planted.conditions.iter().flat_map(|condition| &condition.perturbation.targets).collect();
        let genes: Vec<usize> =
            (0..self.planted.genes.len()).filter(|&gene| !targets.contains(&&self.planted.genes[gene])).collect();
        let effects = |half: usize| -> Vec<Vec<f64>> {
            let mean = |at: usize, gene: usize| self.halves[at][half].sum[gene] / self.halves[at][half].cells;
            let effect = |at: usize| -> Vec<f64> {
                let raw: Vec<f64> = genes.iter().map(|&gene| mean(at, gene) - mean(0, gene)).collect();
                let length = norm(&raw);
                raw.into_iter().map(|value| value / length).collect()
            };
            (1..self.mean.len()).map(effect).collect()
        };
        let (first, second) = (effects(0), effects(1));
        let score = |&condition: &usize| {
            let cosine = |other: &Vec<f64>| first[condition - 1].iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
            let own = cosine(&second[condition - 1]);
            let above: f64 = second
                .iter()
                .map(cosine)
                .map(|other| {
                    if other > own {
                        1.0
                    } else if other == own {
                        0.5
                    } else {
                        0.0
                    }
                })
                .sum();
            // The condition ties with itself.
            1.0 - (above - 0.5) / (second.len() - 1) as f64
        };
        mean(&conditions.iter().map(score).collect::<Vec<f64>>())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}
