//! The trial of all methods on the conditions of one context.
//!
//! Guarantee: only one context is in memory at a time, and of its conditions only what the metrics over all conditions
//! need: memory is set by the number of conditions and the sizes of the samples.

use ndarray::{Array1, Array2};

use super::contrast::{Answer, Asked};
use super::draws::Scored;
use super::error::BenchmarkError;
use super::evaluation::{Evaluation, Item};
use super::figure::Figure;
use super::measured::Truth;
use super::method::{Method, Query};
use super::predict::{Asker, Predicted};
use super::redraw::{Kept, Redraw};
use super::results::MethodInfo;
use super::score::{Frame, SetPair, Values};
use super::space::Viewer;
use crate::metric::no_change;

/// Methods with their descriptions.
pub(super) struct Entrants<'a> {
    pub(super) methods: &'a [Box<dyn Method>],
    pub(super) infos: &'a [MethodInfo],
    /// The method whose cells the figure shows.
    pub(super) shown: usize,
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
    pub(super) figure: Figure,
}

impl Findings {
    /// Of no condition yet.
    pub(super) fn new(methods: usize, figure: Figure) -> Self {
        Self {
            scored: vec![Vec::new(); methods],
            flags: vec![Vec::new(); methods],
            ceilings: Vec::new(),
            chance: Vec::new(),
            set_cells: Vec::new(),
            figure,
        }
    }
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
        let mut kept = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            kept.push(self.condition(item, first + at, findings)?);
        }
        self.contrast(&kept, first, findings)
    }

    fn condition(&self, item: &Item<'_>, at: usize, findings: &mut Findings) -> Result<Kept, BenchmarkError> {
        let (evaluation, context) = (self.evaluation, self.redraw.context);
        let perturbation = evaluation.test.perturbation(&item.condition);
        let name = perturbation.name.as_str();
        let encoding = |source| BenchmarkError::Encode { perturbation: name.into(), source };
        let truth = Truth::new(at, item.group, self.viewer, self.redraw.sampling).map_err(encoding)?;
        let train_control = evaluation.train.control_or_average(context.number);
        let centroid = evaluation.train.perturbed_centroid(context.number, item.condition.kind);
        let frame = Frame { context, train_control: &train_control, centroid: centroid.as_ref() };
        let asker = Asker {
            viewer: self.viewer,
            context,
            sampling: self.redraw.sampling,
            genes: evaluation.test.genes(),
            width: truth.measured.mean.embedding.as_ref().map(Array1::len),
            samples: evaluation.config.samples,
        };
        let nothing = Array2::zeros((0, evaluation.test.genes().len()));
        let (kind, control) = (item.condition.kind, nothing.view());
        let query = Query { perturbation, context: context.number, kind, control, cells: &[], draws: &[] };
        let case = self.redraw.case(&truth, frame, at);
        let mut ceilings = self.redraw.ceilings(&case);
        let mut answers = Vec::with_capacity(self.entrants.methods.len());
        let mut set_cells = 0;
        for (method, (entrant, info)) in self.entrants.methods.iter().zip(self.entrants.infos).enumerate() {
            let failed =
                |source| BenchmarkError::Metric { method: info.name.clone(), perturbation: name.into(), source };
            let predicted = asker.ask(entrant.as_ref(), &query)?;
            let sets = SetPair::all(&truth.cells, &predicted.cells).map_err(failed)?;
            for pair in &sets {
                ceilings.add(pair.ceiling(), &[]);
                set_cells = pair.n;
            }
            findings.scored[method].push(self.redraw.score(&case, &predicted, &sets).map_err(failed)?);
            findings.flags[method].push(self.flags(&predicted, item));
            if method == self.entrants.shown {
                findings.figure.add(name, &truth.cells, &predicted.cells);
            }
            let halves = predicted.halves.each_ref().map(|half| half.of_genes(&context.top));
            answers.push(Answer { halves, constant: predicted.constant });
        }
        findings.ceilings.push(ceilings);
        findings.set_cells.push(set_cells);
        let (means, drawn) = truth.of_genes(&context.top);
        Ok(Kept { asked: Asked { kind, means }, drawn, answers })
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
