//! Everything planted, and the cells that follow from it.
//!
//! Guarantee: [`Generator::rows`] gives the same bytes for a cell whichever range it is asked for in and on however
//! many threads: every cell has a stream of its own.

use std::ops::Range;

use rayon::prelude::*;

use crate::csr::Csr;
use crate::frame::{Column, ColumnData};
use crate::labels::Labels;
use crate::philox::Philox;

use super::SynthError;
use super::config::SynthConfig;
use super::counts::{CountBuffers, CountModel, Rows};
use super::course::Pace;
use super::design::{Design, Place};
use super::effect::Effects;
use super::graph::Graph;
use super::linear::{LinearModel, Shown};
use super::negbin::Scratch;
use super::panel::Panel;
use super::protein::ProteinPanel;
use super::state::{PHASE_NAMES, State, StateModel};
use super::stream::{Part, stream};

/// Cells that a thread draws in one go.
const CELLS_PER_TASK: usize = 32;

enum Model {
    Counts(CountModel),
    Linear(LinearModel),
}

/// A planted world from which cells are drawn.
pub struct Generator {
    pub(super) config: SynthConfig,
    pub(super) panel: Panel,
    pub(super) effects: Effects,
    pub(super) states: StateModel,
    pub(super) proteins: ProteinPanel,
    pub(super) graph: Graph,
    design: Design,
    model: Model,
    /// Log share and batch factor together: context × batch × gene.
    resting: Vec<Vec<Vec<f32>>>,
    /// How far the parts of an effect were one protein lag ago, setting by setting.
    lagged: Vec<Vec<f32>>,
}

/// Cells of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Counts of genes.
    pub genes: Csr,
    /// Counts of proteins, cell by cell; empty where there are none.
    pub proteins: Vec<f32>,
}

/// Buffers of one thread.
#[derive(Default)]
struct Buffers {
    state: State,
    log_rate: Vec<f32>,
    counts: CountBuffers,
    proteins: Scratch,
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
        let states = StateModel::plant(config, &panel)?;
        let model = if config.world.has_counts() {
            Model::Counts(CountModel::new(config, &panel))
        } else {
            Model::Linear(LinearModel::new(config, &panel, &states))
        };
        let in_batch = |share: &[f64], batch: &[f64]| share.iter().zip(batch).map(|(a, b)| (a + b) as f32).collect();
        let in_batches = |share: &Vec<f64>| panel.batch.iter().map(|batch| in_batch(share, batch)).collect();
        Ok(Self {
            config: config.clone(),
            design: Design::plant(config, &effects.courses.settings),
            proteins: ProteinPanel::plant(config, &panel),
            graph: Graph::plant(config, &panel, &effects.network)?,
            resting: panel.log_share.iter().map(in_batches).collect(),
            lagged: effects.courses.lagged(config.protein.lag),
            panel,
            effects,
            states,
            model,
        })
    }

    /// Names of the genes.
    pub fn genes(&self) -> &[String] {
        &self.panel.genes
    }

    /// Number of proteins.
    pub fn n_proteins(&self) -> usize {
        self.proteins.proteins.len()
    }

    /// Counts of the genes of a range of cells.
    ///
    /// # Panics
    /// When the range reaches beyond the last cell.
    pub fn rows(&self, cells: Range<usize>) -> Csr {
        self.block(cells).genes
    }

    /// Counts of a range of cells.
    ///
    /// # Panics
    /// When the range reaches beyond the last cell.
    pub fn block(&self, cells: Range<usize>) -> Block {
        let starts: Vec<usize> = cells.clone().step_by(CELLS_PER_TASK).collect();
        let parts: Vec<(Rows, Vec<f32>)> = starts
            .into_par_iter()
            .map_init(Buffers::default, |buffers, start| {
                let (mut rows, mut proteins) = (Rows::default(), Vec::new());
                for cell in start..(start + CELLS_PER_TASK).min(cells.end) {
                    self.draw(cell, buffers, &mut rows, &mut proteins);
                }
                (rows, proteins)
            })
            .collect();
        let stored = parts.iter().map(|(rows, _)| rows.genes.len()).sum();
        let mut genes = Csr::empty(self.panel.genes.len());
        genes.indices.reserve_exact(stored);
        genes.values.reserve_exact(stored);
        let mut proteins = Vec::with_capacity(cells.len() * self.n_proteins());
        for (rows, of_cells) in parts {
            let before = genes.nnz();
            genes.indices.extend_from_slice(&rows.genes);
            genes.values.extend_from_slice(&rows.counts);
            genes.indptr.extend(rows.ends.iter().map(|end| before + end));
            proteins.extend_from_slice(&of_cells);
        }
        Block { genes, proteins }
    }

    /// Where a cell stands in the design.
    pub(super) fn place(&self, cell: usize) -> Place {
        self.design.place(cell)
    }

    /// Where a cell stands, its state, and the rest of its stream.
    pub(super) fn state_of(&self, cell: usize, state: &mut State) -> (Place, Philox) {
        let place = self.place(cell);
        let mut random = stream(self.config.seed, Part::Cell, cell);
        state.draw(self.config.modules, self.effects.escape(place.condition, place.guide), &mut random);
        (place, random)
    }

    fn draw(&self, cell: usize, buffers: &mut Buffers, rows: &mut Rows, proteins: &mut Vec<f32>) {
        let Buffers { state, log_rate, counts, proteins: scratch } = buffers;
        let (place, mut random) = self.state_of(cell, state);
        let Place { condition, context, batch, guide, setting } = place;
        let amplitude = if state.escaped { 0.0 } else { self.effects.amplitude(condition, guide, setting) };
        let pace = self.effects.courses.pace(setting);
        log_rate.clear();
        log_rate.extend_from_slice(&self.resting[context][batch]);
        self.states.add_to(&self.panel, state, log_rate);
        self.effects.add_to(&self.panel, context, condition, (amplitude, pace), log_rate);
        match &self.model {
            Model::Counts(model) => {
                model.draw(log_rate, (state, self.panel.lane[batch]), &mut random, counts, rows);
            }
            Model::Linear(model) => {
                let shown = Shown { context, condition, amplitude, pace };
                model.draw((&self.panel, &self.states, &self.effects), shown, state, &mut random, rows);
            }
        }
        if self.n_proteins() > 0 {
            if !self.lagged[setting].is_empty() {
                let then = Pace(&self.lagged[setting]);
                self.effects.add_to(&self.panel, context, condition, (-amplitude, pace), log_rate);
                self.effects.add_to(&self.panel, context, condition, (amplitude, then), log_rate);
            }
            self.proteins.draw(log_rate, &mut random, scratch, proteins);
        }
    }

    /// What is known of the cells beside their labels: guide, phase of the cycle, dose and time, where they differ.
    pub(super) fn obs(&self) -> Vec<Column> {
        let places = || (0..self.design.cells()).map(|cell| self.place(cell));
        let mut columns = Vec::new();
        let mut add = |name: &str, data: ColumnData| columns.push(Column { name: name.into(), data });
        let coded =
            |codes: Vec<i32>, categories: Vec<String>| ColumnData::Categorical { codes, categories, ordered: false };
        let guides = self.effects.conditions.iter().flat_map(|condition| &condition.guides);
        let guides: Vec<String> = guides.map(|guide| guide.name.clone()).collect();
        if !guides.is_empty() {
            let per_condition = guides.len() / self.effects.conditions.len();
            let codes = places().map(|place| (place.condition * per_condition + place.guide) as i32).collect();
            add("guide", coded(codes, guides));
        }
        if self.config.world.has_cycle() {
            let codes = self.over_states(|state| state.phase() as i32);
            add("phase", coded(codes, PHASE_NAMES.map(str::to_owned).to_vec()));
        }
        let settings = &self.effects.courses.settings;
        if !self.config.course.doses.is_empty() {
            let dose = |place: Place| if place.condition == 0 { Some(0.0) } else { settings[place.setting].dose };
            add("dose", ColumnData::Float(places().map(|place| dose(place).unwrap_or(f64::NAN)).collect()));
        }
        if !self.config.course.times.is_empty() {
            let time = |place: Place| settings[place.setting].time.unwrap_or(f64::NAN);
            add("time", ColumnData::Float(places().map(time).collect()));
        }
        columns
    }

    /// Whether every cell escaped its guide; empty where there are no guides.
    pub(super) fn escaped(&self) -> Vec<bool> {
        if self.config.world.has_guides() { self.over_states(|state| state.escaped) } else { Vec::new() }
    }

    fn over_states<T: Send>(&self, of: impl Fn(&State) -> T + Sync) -> Vec<T> {
        (0..self.design.cells())
            .into_par_iter()
            .map_init(State::default, |state, cell| {
                self.state_of(cell, state);
                of(state)
            })
            .collect()
    }

    /// Labels of all cells.
    pub fn labels(self) -> Labels {
        let perturbations = self.effects.conditions.into_iter().map(|one| one.perturbation).collect();
        self.design.labels(&self.config, self.effects.lines.in_store(), perturbations)
    }

    /// The linear model of W1.
    pub(super) fn linear(&self) -> Option<&LinearModel> {
        match &self.model {
            Model::Linear(model) => Some(model),
            Model::Counts(_) => None,
        }
    }
}
