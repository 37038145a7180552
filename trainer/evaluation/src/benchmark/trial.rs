//! The trial of all methods on the conditions of one context.
//!
//! Guarantee: conditions are tried on several threads and by several processes, each by itself, so that neither number changes
//! a value. Only one context is in memory at a time, and of its conditions only what the metrics over all conditions
//! need: memory is set by the number of conditions and the sizes of the samples.

use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use super::contrast::{Answer, Asked};
use super::draws::Scored;
use super::error::BenchmarkError;
use super::evaluation::{Evaluation, Item};
use super::figure::{Figure, Points};
use super::measured::{Measured, Truth};
use super::method::{Method, Query};
use super::predict::{Asker, Predicted};
use super::redraw::{Kept, Redraw};
use super::results::MethodInfo;
use super::score::{Frame, SetPair, Values};
use super::space::Viewer;
use super::threads;
use crate::metric::no_change;

/// Methods with their descriptions.
pub(super) struct Entrants<'a> {
    pub(super) methods: &'a [Box<dyn Method>],
    pub(super) infos: &'a [MethodInfo],
    /// The method whose cells the figure shows.
    pub(super) shown: usize,
    pub(super) figure: Figure,
}

/// What a trial finds, condition by condition.
pub(super) struct Findings {
    /// By method, then condition.
    pub(super) scored: Vec<Vec<Scored>>,
    /// By method, then condition.
    pub(super) flags: Vec<Vec<Vec<String>>>,
    /// By condition.
    pub(super) ceilings: Vec<Scored>,
    /// By condition.
    pub(super) chance: Vec<Values>,
    /// Cells a side of the distances between sets, by condition.
    pub(super) set_cells: Vec<usize>,
    pub(super) figure: Vec<Points>,
}

impl Findings {
    /// Of no condition yet.
    pub(super) fn new(methods: usize) -> Self {
        Self {
            scored: vec![Vec::new(); methods],
            flags: vec![Vec::new(); methods],
            ceilings: Vec::new(),
            chance: Vec::new(),
            set_cells: Vec::new(),
            figure: Vec::new(),
        }
    }

    /// Takes what was found on the next condition; gives back the answers of the methods.
    fn add(&mut self, found: Found) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(found.tried.len());
        for (method, tried) in found.tried.into_iter().enumerate() {
            self.scored[method].push(tried.scored);
            self.flags[method].push(tried.flags);
            answers.push(tried.answer);
        }
        self.ceilings.push(found.ceilings);
        self.set_cells.push(found.set_cells);
        self.figure.extend(found.figure);
        answers
    }
}

/// What is found on one condition.
#[derive(Serialize, Deserialize)]
struct Found {
    tried: Vec<Tried>,
    ceilings: Scored,
    set_cells: usize,
    figure: Vec<Points>,
}

/// What is found of one method on one condition.
#[derive(Serialize, Deserialize)]
struct Tried {
    scored: Scored,
    flags: Vec<String>,
    answer: Answer,
}

/// One context and how cells are drawn again in it.
pub(super) struct Trial<'a> {
    pub(super) evaluation: &'a Evaluation<'a>,
    pub(super) entrants: &'a Entrants<'a>,
    pub(super) viewer: Viewer<'a>,
    pub(super) redraw: Redraw<'a>,
}

impl Trial<'_> {
    /// Tries all methods on the conditions `items`, the first of which is the condition number `first` of all.
    pub(super) fn run(&self, items: &[Item<'_>], first: usize, findings: &mut Findings) -> Result<(), BenchmarkError> {
        let share = self.evaluation.share;
        let own: Vec<usize> = (0..items.len()).filter(|at| share.is_own(first + at)).collect();
        let tried = threads::map(own.len(), |turn| {
            let at = own[turn];
            Ok((first + at, self.condition(&items[at], first + at)?))
        });
        let found = share.all(tried)?;
        let asked = threads::map(items.len(), |at| self.asked(&items[at], first + at))?;
        let kept = found.into_iter().zip(asked);
        let kept: Vec<Kept> =
            kept.map(|((_, found), (asked, drawn))| Kept { asked, drawn, answers: findings.add(found) }).collect();
        self.contrast(&kept, first, findings)
    }

    /// What was measured of a condition.
    fn truth(&self, item: &Item<'_>, at: usize) -> Result<Truth, BenchmarkError> {
        let perturbation = &self.evaluation.test.perturbation(&item.condition).name;
        Truth::new(at, item.group, self.viewer, self.redraw.sampling)
            .map_err(|source| BenchmarkError::Encode { perturbation: perturbation.clone(), source })
    }

    /// What the metrics over all conditions need of what was measured of one, and that in every draw.
    fn asked(&self, item: &Item<'_>, at: usize) -> Result<(Asked, Vec<Measured>), BenchmarkError> {
        let (means, drawn) = self.truth(item, at)?.of_genes(&self.redraw.context.top);
        Ok((Asked { kind: item.condition.kind, means }, drawn))
    }

    fn condition(&self, item: &Item<'_>, at: usize) -> Result<Found, BenchmarkError> {
        let (evaluation, context) = (self.evaluation, self.redraw.context);
        let perturbation = evaluation.test.perturbation(&item.condition);
        let name = perturbation.name.as_str();
        let truth = self.truth(item, at)?;
        let train_control = evaluation.train.control_or_average(context.number);
        let centroid = evaluation.train.perturbed_centroid(context.number, item.condition.kind);
        let columns = self.redraw.columns;
        let frame = Frame { columns, context, train_control: &train_control, centroid: centroid.as_ref() };
        let asker = Asker {
            viewer: self.viewer,
            context,
            sampling: self.redraw.sampling,
            genes: evaluation.test.genes(),
            widths: truth.measured.mean.embeddings.iter().map(Array1::len).collect(),
            samples: evaluation.config.samples,
        };
        let nothing = Array2::zeros((0, evaluation.test.genes().len()));
        let (kind, control) = (item.condition.kind, nothing.view());
        let query = Query { perturbation, context: context.number, kind, control, cells: &[], draws: &[] };
        let case = self.redraw.case(&truth, frame, at);
        let mut found = Found {
            tried: Vec::with_capacity(self.entrants.methods.len()),
            ceilings: self.redraw.ceilings(&case),
            set_cells: 0,
            figure: Vec::new(),
        };
        for (method, (entrant, info)) in self.entrants.methods.iter().zip(self.entrants.infos).enumerate() {
            let failed =
                |source| BenchmarkError::Metric { method: info.name.clone(), perturbation: name.into(), source };
            let predicted = asker.ask(entrant.as_ref(), &query)?;
            let sets = SetPair::all(&truth.cells, &predicted.cells).map_err(failed)?;
            for pair in &sets {
                found.ceilings.add(pair.ceiling(columns), &[]);
                found.set_cells = pair.n();
            }
            if method == self.entrants.shown {
                found.figure = self.entrants.figure.of(at, name, &truth.cells, &predicted.cells);
            }
            let halves = predicted.halves.each_ref().map(|half| half.of_genes(&context.top));
            found.tried.push(Tried {
                scored: self.redraw.score(&case, &predicted, &sets).map_err(failed)?,
                flags: self.flags(&predicted, item),
                answer: Answer { halves, constant: predicted.constant },
            });
        }
        Ok(found)
    }

    /// The metrics over all conditions of the context.
    fn contrast(&self, kept: &[Kept], first: usize, findings: &mut Findings) -> Result<(), BenchmarkError> {
        for (method, info) in self.entrants.infos.iter().enumerate() {
            let found = self.redraw.contrast(kept, method).map_err(|source| BenchmarkError::Metric {
                method: info.name.clone(),
                perturbation: "all conditions".into(),
                source,
            })?;
            for (at, (values, draws)) in found.into_iter().enumerate() {
                findings.scored[method][first + at].add(values, &draws);
            }
        }
        let ceilings = self.redraw.contrast_ceilings(kept);
        findings.ceilings[first..].iter_mut().zip(&ceilings).for_each(|(all, (v, draws))| all.add(v.clone(), draws));
        findings.chance.extend(self.redraw.measured(kept).by_chance());
        Ok(())
    }

    /// The remarks of the method and of the harness.
    fn flags(&self, predicted: &Predicted, item: &Item<'_>) -> Vec<String> {
        let mut flags = predicted.flags.clone();
        let context = self.redraw.context;
        let mean = context.over_halves(&predicted.halves);
        if no_change(mean.expression.view(), context.mean.expression.view()) {
            flags.push("no_predicted_change".into());
        }
        if item.both_seen {
            flags.push("both_singles_seen".into());
        }
        if item.marked_seen {
            flags.push("seen_in_training".into());
        }
        flags
    }
}
