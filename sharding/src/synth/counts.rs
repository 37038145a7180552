//! Cells of W0 and W2: negative-binomial counts on a drawn library, with lane, batch and cell state.
//!
//! Guarantee: a cell is a pure function of (configuration, cell number): whoever draws it, in whatever order.

use rand_distr::{Distribution, Gamma, Poisson};

use crate::philox::Philox;

use super::config::SynthConfig;
use super::expectation::{Expectation, library_log_mean};
use super::panel::Panel;
use super::stream::normal;

/// Where a cell stands in the design.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) condition: usize,
    pub(super) context: usize,
    pub(super) batch: usize,
}

/// A sparse row under construction.
#[derive(Default)]
pub(super) struct Row {
    pub(super) genes: Vec<u32>,
    pub(super) counts: Vec<f32>,
}

impl Row {
    pub(super) fn push(&mut self, gene: usize, count: f64) {
        if count > 0.0 {
            self.genes.push(gene as u32);
            self.counts.push(count as f32);
        }
    }
}

/// Negative-binomial counts.
pub(super) struct CountModel {
    mean_library: f64,
    library_sd: f64,
    library_log_mean: f64,
    state_amplitude: f64,
    /// Gamma of mean one and the gene's dispersion.
    gammas: Vec<Option<Gamma<f64>>>,
}

impl CountModel {
    pub(super) fn new(config: &SynthConfig, panel: &Panel) -> Self {
        Self {
            mean_library: config.mean_library(),
            library_sd: config.library_sd,
            library_log_mean: library_log_mean(config),
            state_amplitude: config.state_amplitude,
            gammas: panel.dispersion.iter().map(|&phi| Gamma::new(1.0 / phi, phi).ok()).collect(),
        }
    }

    /// Draws one cell.
    pub(super) fn draw(&self, panel: &Panel, log_fold: &[f64], place: Place, random: &mut Philox) -> Row {
        let log_library = self.library_log_mean + self.library_sd * normal(random) + panel.lane[place.batch];
        let mut rates: Vec<f64> = panel.log_share[place.context]
            .iter()
            .zip(&panel.batch[place.batch])
            .zip(log_fold)
            .map(|((share, batch), fold)| share + batch + fold)
            .collect();
        for program in &panel.programs {
            program.add_to(&mut rates, self.state_amplitude * normal(random));
        }
        for rate in &mut rates {
            *rate = rate.exp();
        }
        let per_rate = self.mean_library * log_library.exp() / rates.iter().sum::<f64>();
        let mut row = Row::default();
        for (gene, (rate, gamma)) in rates.iter().zip(&self.gammas).enumerate() {
            let noise = gamma.map_or(1.0, |gamma| gamma.sample(random));
            let count = Poisson::new(per_rate * rate * noise).map_or(0.0, |poisson| poisson.sample(random));
            row.push(gene, count);
        }
        row
    }

    /// Expected log-normalised expression: context × condition × gene.
    pub(super) fn expected(config: &SynthConfig, panel: &Panel, log_fold: &[Vec<f64>]) -> Vec<Vec<Vec<f64>>> {
        let expectation = Expectation::new(config, panel);
        (0..config.contexts)
            .map(|context| log_fold.iter().map(|fold| expectation.of(context, fold)).collect())
            .collect()
    }
}
