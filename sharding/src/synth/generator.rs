//! Everything planted, and the cells that follow from it.
//!
//! Guarantee: [`Generator::rows`] gives the same bytes for a cell whichever range it is asked for in and on however
//! many threads: every cell has a stream of its own.

use std::ops::Range;

use rayon::prelude::*;

use crate::csr::Csr;
use crate::labels::Labels;

use super::SynthError;
use super::config::{SynthConfig, World};
use super::counts::{CountModel, Place, Row};
use super::design::{Design, context_names};
use super::effect::Effects;
use super::linear::LinearModel;
use super::panel::Panel;
use super::stream::{Part, stream};
use super::truth::Truth;

enum Model {
    Counts(CountModel),
    Linear(LinearModel),
}

/// A planted world from which cells are drawn.
pub struct Generator {
    config: SynthConfig,
    panel: Panel,
    effects: Effects,
    design: Design,
    model: Model,
}

impl Generator {
    /// Plants the truth of a configuration.
    ///
    /// # Errors
    /// When the configuration cannot be generated.
    pub fn new(config: &SynthConfig) -> Result<Self, SynthError> {
        config.validate()?;
        let panel = Panel::plant(config);
        let effects = Effects::plant(config, &panel);
        let model = match config.world {
            World::W0 | World::W2 => Model::Counts(CountModel::new(config, &panel)),
            World::W1 => Model::Linear(LinearModel::new(config, &panel, &effects)),
        };
        Ok(Self { config: config.clone(), design: Design::plant(config), panel, effects, model })
    }

    /// Names of the genes.
    pub fn genes(&self) -> &[String] {
        &self.panel.genes
    }

    /// Counts of a range of cells.
    ///
    /// # Panics
    /// When the range reaches beyond the last cell.
    pub fn rows(&self, cells: Range<usize>) -> Csr {
        let rows: Vec<Row> = cells.into_par_iter().map(|cell| self.cell(cell)).collect();
        let mut block = Csr::empty(self.panel.genes.len());
        let stored = rows.iter().map(|row| row.genes.len()).sum();
        block.indices.reserve_exact(stored);
        block.values.reserve_exact(stored);
        for row in &rows {
            block.push_row(&row.genes, &row.counts);
        }
        block
    }

    /// Whether a cell is a control.
    ///
    /// # Panics
    /// When there is no such cell.
    pub fn is_control(&self, cell: usize) -> bool {
        self.design.condition[cell] == 0
    }

    fn cell(&self, cell: usize) -> Row {
        let place = Place {
            condition: self.design.condition[cell] as usize,
            context: self.design.context[cell] as usize,
            batch: self.design.batch[cell] as usize,
        };
        let mut random = stream(self.config.seed, Part::Cell, cell);
        match &self.model {
            Model::Counts(model) => {
                model.draw(&self.panel, &self.effects.log_fold[place.condition], place, &mut random)
            }
            Model::Linear(model) => model.draw(&self.panel, place, &mut random),
        }
    }

    /// The noise-free truth.
    pub fn truth(&self) -> Truth {
        let expected = match &self.model {
            Model::Counts(_) => CountModel::expected(&self.config, &self.panel, &self.effects.log_fold),
            Model::Linear(model) => model.expected().to_vec(),
        };
        let flat = |values: &[Vec<f64>]| values.iter().flatten().map(|&value| value as f32).collect::<Vec<f32>>();
        let baselines: Vec<Vec<f64>> = expected.iter().map(|context| context[0].clone()).collect();
        let changes: Vec<Vec<f64>> = expected
            .iter()
            .flat_map(|context| context.iter().map(|row| row.iter().zip(&context[0]).map(|(y, y0)| y - y0).collect()))
            .collect();
        Truth {
            config: self.config.clone(),
            genes: self.panel.genes.clone(),
            contexts: context_names(self.config.contexts),
            modules: self.panel.module.clone(),
            conditions: self.effects.conditions.clone(),
            baseline: flat(&baselines),
            effects: flat(&changes),
            log_fold: flat(&self.effects.log_fold),
        }
    }

    /// Labels of all cells.
    pub fn labels(self) -> Labels {
        let perturbations = self.effects.conditions.into_iter().map(|one| one.perturbation).collect();
        self.design.labels(&self.config, perturbations)
    }
}
