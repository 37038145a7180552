//! What was measured: the held-out controls of a context and the held-out cells of a condition, in every space.

use std::collections::BTreeSet;

use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate};

use super::resample::{Deviations, Drawn, weights};
use super::space::{Cells, Centre, EncodeError, Viewer};
use crate::fold::{Group, Half, TrainingMeans};
use crate::metric::role::Space;
use crate::metric::top_genes;

/// Kept control cells of one half that a method gets at once.
#[derive(Clone, Debug)]
pub(super) struct Bag {
    pub(super) dense: Array2<f32>,
    pub(super) ids: Vec<u64>,
    pub(super) cells: Cells,
}

/// One half of the controls of a context.
#[derive(Clone, Debug)]
pub(super) struct ControlHalf {
    pub(super) n: u64,
    /// Over all cells of the half.
    pub(super) mean: Centre,
    /// The kept cells, dealt in turn, so that the first bag is an even draw from them.
    pub(super) bags: Vec<Bag>,
    pub(super) deviations: Deviations,
}

/// The held-out controls of a context and what is derived from them.
pub(super) struct Context {
    pub(super) number: u32,
    pub(super) n: u64,
    pub(super) mean: Centre,
    pub(super) halves: [ControlHalf; 2],
    /// Genes of the expression metrics.
    pub(super) top: Vec<usize>,
    /// The places among them of genes that no held-out condition targets.
    pub(super) panel_free: Vec<usize>,
}

/// How cells are taken: at most so many in a bag, and drawn again so many times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampling {
    pub(super) bag: usize,
    pub(super) draws: usize,
    pub(super) seed: u64,
}

impl Context {
    pub(super) fn new(
        number: u32,
        group: &Group,
        viewer: Viewer<'_>,
        sampling: Sampling,
        top: Vec<usize>,
        panel: &BTreeSet<&String>,
        genes: &[String],
    ) -> Result<Self, EncodeError> {
        let half = |at: usize| ControlHalf::new(&group.halves[at], viewer, sampling, Drawn::Controls(number, at));
        let panel_free = (0..top.len()).filter(|&place| !panel.contains(&genes[top[place]])).collect();
        let mean = viewer.centre(&group.mean, &group.latents)?;
        Ok(Self { number, n: group.n, mean, halves: [half(0)?, half(1)?], top, panel_free })
    }

    /// Whether both halves have cells, so that truth and prediction can be referred to different ones.
    pub(super) fn halved(&self) -> bool {
        self.halves.iter().all(|half| half.n > 0)
    }

    /// The vector of a centre in a space; expression is that of all genes.
    pub(super) fn vector(&self, centre: &Centre, space: Space) -> Array1<f64> {
        match space {
            Space::All => centre.expression.clone(),
            Space::Top => centre.expression.select(Axis(0), &self.top),
            Space::Untargeted => {
                let genes: Vec<usize> = self.panel_free.iter().map(|&place| self.top[place]).collect();
                centre.expression.select(Axis(0), &genes)
            }
            Space::Components | Space::Embedding(_) => centre.of_cells(space).to_owned(),
        }
    }

    /// The means of the halves.
    pub(super) fn means(&self) -> [Centre; 2] {
        self.halves.each_ref().map(|half| half.mean.clone())
    }

    /// What stands for both halves where the halves are those given: their mean, weighted by their cells.
    pub(super) fn over_halves(&self, halves: &[Centre; 2]) -> Centre {
        let share = self.halves[0].n as f64 / self.n.max(1) as f64;
        halves[0].combine(share, &halves[1], 1.0 - share)
    }
}

impl ControlHalf {
    fn new(half: &Half, viewer: Viewer<'_>, sampling: Sampling, drawn: Drawn) -> Result<Self, EncodeError> {
        let dense = half.dense();
        let kept = dense.nrows();
        let mean = viewer.centre(&half.mean, &half.latents)?;
        let cells = if kept == 0 { no_cells(&mean) } else { viewer.cells(dense.view(), None)? };
        let n_bags = kept.div_ceil(sampling.bag.max(1));
        let bags = (0..n_bags).map(|first| {
            let places: Vec<usize> = (first..kept).step_by(n_bags).collect();
            let ids = places.iter().map(|&place| half.cells[place]).collect();
            Bag { dense: dense.select(Axis(0), &places), ids, cells: cells.select(&places) }
        });
        let bags = bags.collect();
        let deviations = Deviations::new(&weights(sampling.seed, drawn, sampling.draws, kept), &dense, &cells, half.n);
        Ok(Self { n: half.n, mean, bags, deviations })
    }
}

fn no_cells(like: &Centre) -> Cells {
    let rows = |like: &Array1<f64>| Array2::zeros((0, like.len()));
    Cells { components: rows(&like.components), embeddings: like.embeddings.iter().map(rows).collect() }
}

/// The held-out cells of a condition.
pub(super) struct Truth {
    pub(super) n: u64,
    pub(super) measured: Measured,
    /// Sampling variance of the mean in every space: the variance of a cell over the number of cells.
    pub(super) sampling: Centre,
    /// The kept cells.
    pub(super) cells: Cells,
    /// Share of the first half in the cells.
    share: f64,
    /// Of either half.
    deviations: [Deviations; 2],
}

/// Means of a condition, all cells and halves: as measured, or in a draw.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) mean: Centre,
    pub(super) halves: [Centre; 2],
}

impl Measured {
    /// The same with some of the genes.
    pub(super) fn of_genes(&self, genes: &[usize]) -> Self {
        Self { mean: self.mean.of_genes(genes), halves: self.halves.each_ref().map(|half| half.of_genes(genes)) }
    }

    /// The means in a draw in which the halves deviate so.
    pub(super) fn moved(&self, share: f64, deviations: &[Deviations; 2], draw: usize) -> Self {
        let by = deviations.each_ref().map(|deviations| deviations.at(draw));
        Self {
            mean: self.mean.plus(&by[0].combine(share, &by[1], 1.0 - share)),
            halves: std::array::from_fn(|half| self.halves[half].plus(&by[half])),
        }
    }
}

impl Truth {
    pub(super) fn new(at: usize, group: &Group, viewer: Viewer<'_>, sampling: Sampling) -> Result<Self, EncodeError> {
        let parts = group.halves.each_ref().map(Half::dense);
        let dense = concatenate(Axis(0), &[parts[0].view(), parts[1].view()])?;
        let cells = viewer.cells(dense.view(), None)?;
        let kept = [0..parts[0].nrows(), parts[0].nrows()..dense.nrows()];
        let deviations = |half: usize| {
            let own = cells.select(&kept[half].clone().collect::<Vec<_>>());
            let weights = weights(sampling.seed, Drawn::Condition(at, half), sampling.draws, own.n());
            Deviations::new(&weights, &parts[half], &own, group.halves[half].n)
        };
        let half = |half: &Half| viewer.centre(&half.mean, &half.latents);
        let over = |variance: ArrayView1<'_, f64>| &variance / group.n as f64;
        let components = &cells.components;
        let spread = if cells.n() > 1 { components.var_axis(Axis(0), 1.0) } else { Array1::zeros(components.ncols()) };
        Ok(Self {
            n: group.n,
            measured: Measured {
                mean: viewer.centre(&group.mean, &group.latents)?,
                halves: [half(&group.halves[0])?, half(&group.halves[1])?],
            },
            sampling: Centre {
                expression: over(group.variance.view()),
                components: over(spread.view()),
                embeddings: group.latent_variances.iter().map(|variance| over(variance.view())).collect(),
            },
            share: group.halves[0].n as f64 / group.n.max(1) as f64,
            deviations: [deviations(0), deviations(1)],
            cells,
        })
    }

    /// The means in a draw.
    pub(super) fn drawn(&self, draw: usize) -> Measured {
        self.measured.moved(self.share, &self.deviations, draw)
    }

    /// What is kept for the metrics over all conditions: the means of some genes, and their draws.
    pub(super) fn of_genes(&self, genes: &[usize]) -> (Measured, Vec<Measured>) {
        let measured = self.measured.of_genes(genes);
        let deviations = self.deviations.each_ref().map(|deviations| deviations.of_genes(genes));
        let draws = deviations[0].draws();
        let drawn = (0..draws).map(|draw| measured.moved(self.share, &deviations, draw)).collect();
        (measured, drawn)
    }
}

/// Genes of the expression metrics of a context: those with the highest training control mean.
pub(super) fn top(train: &TrainingMeans, context: u32, n: usize) -> Vec<usize> {
    top_genes(train.control_or_average(context).view(), n)
}
