//! The noise-free answer to every condition of a planted world, one condition at a time.
//!
//! Guarantee: the mean of infinitely many cells of a condition tends to it, guides and escaping cells included.

use super::effect::GUIDES;
use super::expectation::Expectation;
use super::generator::Generator;
use super::linear::{LinearModel, Shown};
use super::screen;

enum Model<'a> {
    Counts(Box<Expectation>),
    Linear(&'a LinearModel),
}

/// Noise-free expression of a planted world.
pub struct Oracle<'a> {
    planted: &'a Generator,
    model: Model<'a>,
    /// Context × gene.
    baselines: Vec<Vec<f32>>,
}

impl Generator {
    /// Works out what noise-free expression needs; a few seconds for a genome-wide screen.
    pub fn oracle(&self) -> Oracle<'_> {
        let contexts = 0..self.config.contexts;
        if let Some(model) = self.linear() {
            let baselines = contexts.map(|context| model.baseline(context)).collect();
            return Oracle { planted: self, model: Model::Linear(model), baselines };
        }
        let expectation = Expectation::new(&self.config, &self.panel, &self.states);
        let unchanged = vec![0.0; self.config.genes];
        let baselines = contexts.map(|context| expectation.of(context, &unchanged)).collect();
        Oracle { planted: self, model: Model::Counts(Box::new(expectation)), baselines }
    }
}

impl Oracle<'_> {
    /// Expected log1p(CP10k) expression of control cells of a context.
    ///
    /// # Panics
    /// When there is no such context.
    pub fn baseline(&self, context: usize) -> &[f32] {
        &self.baselines[context]
    }

    /// Expected log1p(CP10k) expression of a condition, at one setting of dose and time, less that of the control.
    ///
    /// # Panics
    /// When there is no such setting, context or condition.
    pub fn effect(&self, setting: usize, context: usize, condition: usize) -> Vec<f32> {
        let Generator { panel, effects, config, .. } = self.planted;
        let pace = effects.courses.pace(setting);
        let guides = if config.world.has_guides() { GUIDES } else { 1 };
        let mut mean = vec![0.0; panel.genes.len()];
        for guide in 0..guides {
            let amplitude = effects.amplitude(condition, guide, setting);
            let change = match &self.model {
                Model::Linear(model) => model.change(panel, effects, Shown { context, condition, amplitude, pace }),
                Model::Counts(expectation) => {
                    let mut log_fold = vec![0.0; panel.genes.len()];
                    effects.add_to(panel, context, condition, (amplitude, pace), &mut log_fold);
                    let mut expected = expectation.of(context, &log_fold);
                    expected.iter_mut().zip(self.baseline(context)).for_each(|(value, rest)| *value -= rest);
                    expected
                }
            };
            let share = (1.0 - effects.escape(condition, guide)) / guides as f32;
            mean.iter_mut().zip(change).for_each(|(mean, change)| *mean += share * change);
        }
        mean
    }

    /// Planted change of a condition in natural log expression, whole and in a cell that did not escape.
    ///
    /// # Panics
    /// When there is no such context or condition.
    pub fn log_fold(&self, context: usize, condition: usize) -> Vec<f32> {
        self.planted.effects.whole(&self.planted.panel, context, condition)
    }

    /// Log fold changes of a condition as the second screen tells them.
    ///
    /// # Panics
    /// When there is no such condition.
    pub fn second_screen(&self, condition: usize) -> Vec<f32> {
        let Generator { panel, effects, config, .. } = self.planted;
        screen::row(config, panel, effects, condition)
    }
}
