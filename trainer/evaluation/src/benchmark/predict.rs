//! Predictions of a method, brought to what is scored: the mean that it predicts from all controls of either half, and
//! the cells that distances between sets are taken of.
//!
//! Guarantee: all controls stand behind a predicted mean. A method that moves all cells alike, or makes one profile of
//! all, gives the exact mean; one that moves each cell for itself gives the mean over the kept controls of the change
//! that it makes, on top of the mean over all. From the controls of one half nothing of the other half is used.

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};

use super::admission::check_prediction;
use super::error::BenchmarkError;
use super::measured::{Bag, Context, ControlHalf, Sampling};
use super::method::{Method, MethodError, Outcome, Prediction, Query};
use super::resample::{Deviations, Drawn, weights};
use super::space::{Cells, Centre, Viewer, column_means};

/// Cells that a method which samples is asked for at once.
const AT_ONCE: usize = 512;

/// Parts that the samples of a method that samples are dealt into, to see how much the sampling moves its values.
pub(super) const PARTS: usize = 4;

/// What a method predicts for a condition.
#[derive(Clone, Debug)]
pub(super) struct Predicted {
    /// Mean predicted from the controls of each half.
    pub(super) halves: [Centre; 2],
    /// Whether the prediction stays where it is when the controls move.
    pub(super) constant: bool,
    /// How far the mean change of either half moves when its controls are drawn again, of a method that moves each cell for
    /// itself; others make the same change to all.
    pub(super) changes: Option<[Deviations; 2]>,
    /// Cells that distances are taken of, from the first bag of each half.
    pub(super) cells: Cells,
    /// The same means from a part of the samples, of a method that samples.
    pub(super) parts: Vec<[Centre; 2]>,
    /// Remarks of the method.
    pub(super) flags: Vec<String>,
}

impl Predicted {
    /// A prediction of these means, without cells.
    fn empty(halves: &[Centre; 2]) -> Self {
        Self {
            halves: halves.clone(),
            constant: false,
            changes: None,
            cells: all(&[]),
            parts: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// Where the prediction lies in a draw that moves the controls from `from` to `to`.
    pub(super) fn drawn(&self, draw: usize, from: &[Centre; 2], to: &[Centre; 2]) -> [Centre; 2] {
        if self.constant {
            return self.halves.clone();
        }
        std::array::from_fn(|half| {
            let moved = self.halves[half].plus(&to[half].minus(&from[half]));
            match &self.changes {
                Some(changes) => moved.plus(&changes[half].at(draw)),
                None => moved,
            }
        })
    }
}

/// Asks a method about a condition.
pub(super) struct Asker<'a> {
    pub(super) viewer: Viewer<'a>,
    pub(super) context: &'a Context,
    pub(super) sampling: Sampling,
    pub(super) genes: &'a [String],
    /// Dimensions of the embeddings.
    pub(super) widths: Vec<usize>,
    /// Samples that a method that samples is asked for at least.
    pub(super) samples: usize,
}

impl Asker<'_> {
    /// The prediction of a method; `query` holds all but the control cells.
    pub(super) fn ask(&self, method: &dyn Method, query: &Query<'_>) -> Result<Predicted, BenchmarkError> {
        let name = || (method.info().name, query.perturbation.name.clone());
        let first = self.context.halves.iter().find_map(|half| half.bags.first());
        let first = first.ok_or_else(|| Self::reason(name(), "the context has no held-out control cell".into()))?;
        let prediction = self.bag(method, query, first, self.turn(method, first, 0))?;
        let encoding = |source| BenchmarkError::Encode { perturbation: query.perturbation.name.clone(), source };
        let Prediction { outcome, flags } = prediction;
        let mut predicted = match &outcome {
            Outcome::Shift(delta) => self.shift(delta).map_err(encoding)?,
            Outcome::Profile(profile) => self.profile(profile).map_err(encoding)?,
            Outcome::Cells { .. } => self.cells(method, query, outcome)?,
        };
        predicted.flags = flags;
        Ok(predicted)
    }

    fn bag(
        &self,
        method: &dyn Method,
        query: &Query<'_>,
        bag: &Bag,
        draws: std::ops::Range<u64>,
    ) -> Result<Prediction, BenchmarkError> {
        let name = || (method.info().name, query.perturbation.name.clone());
        let times = draws.clone().count();
        let dense = concatenate(Axis(0), &vec![bag.dense.view(); times])
            .map_err(|error| Self::reason(name(), error.to_string()))?;
        let cells = bag.ids.repeat(times);
        let draws: Vec<u64> = draws.flat_map(|draw| std::iter::repeat_n(draw, bag.ids.len())).collect();
        let asked = Query { control: dense.view(), cells: &cells, draws: &draws, ..*query };
        let prediction = method.predict(&asked).map_err(|source: MethodError| {
            let (method, perturbation) = name();
            BenchmarkError::Method { method, perturbation, source: Box::new(source) }
        })?;
        let width = self.viewer.encoder_of(method).map(|encoder| self.widths[encoder]);
        check_prediction(&prediction, cells.len(), self.genes, width).map_err(|reason| Self::reason(name(), reason))?;
        Ok(prediction)
    }

    fn reason((method, perturbation): (String, String), reason: String) -> BenchmarkError {
        BenchmarkError::Prediction { method, perturbation, reason }
    }

    /// Every control moves by `delta`. In the embedding the change differs from cell to cell: it is averaged over the
    /// first bag, on top of the mean over all.
    fn shift(&self, delta: &Array1<f64>) -> Result<Predicted, super::space::EncodeError> {
        let components = self.viewer.components.project_change(delta.view());
        let single = delta.mapv(|change| change as f32);
        let mut moved = Vec::with_capacity(2);
        let mut halves = self.context.means();
        for (half, mean) in self.context.halves.iter().zip(&mut halves) {
            mean.expression += delta;
            mean.components += &components;
            let Some(bag) = half.bags.first() else { continue };
            let cells = self.viewer.cells((&bag.dense + &single).view(), None)?;
            for ((embedding, to), from) in mean.embeddings.iter_mut().zip(&cells.embeddings).zip(&bag.cells.embeddings)
            {
                *embedding += &column_means(&(to - from));
            }
            moved.push(cells);
        }
        Ok(Predicted { halves, cells: all(&moved), ..Predicted::empty(&self.context.means()) })
    }

    /// Every control becomes `profile`.
    fn profile(&self, profile: &Array1<f64>) -> Result<Predicted, super::space::EncodeError> {
        let single = profile.mapv(|value| value as f32).insert_axis(Axis(0));
        let cell = self.viewer.cells(single.view(), None)?;
        let latents: Vec<Array1<f64>> = cell.embeddings.iter().map(column_means).collect();
        let mean = self.viewer.centre(profile, &latents)?;
        let n: usize = self.context.halves.iter().filter_map(|half| half.bags.first()).map(|bag| bag.ids.len()).sum();
        let cells = cell.select(&vec![0; n]);
        let halves = [mean.clone(), mean];
        Ok(Predicted { constant: true, cells, ..Predicted::empty(&halves) })
    }

    /// The draws of a bag that are asked for at once, from draw `start` on.
    fn turn(&self, method: &dyn Method, bag: &Bag, start: usize) -> std::ops::Range<u64> {
        let end = self.draws(method).min(start + (AT_ONCE / bag.ids.len().max(1)).max(1));
        start as u64..end as u64
    }

    /// Draws of a method: where it samples, enough samples, and some in every part.
    fn draws(&self, method: &dyn Method) -> usize {
        if !method.samples() {
            return 1;
        }
        let bags = self.context.halves.iter().flat_map(|half| &half.bags);
        let kept: usize = bags.map(|bag| bag.ids.len()).sum();
        let fewest = self.context.halves.iter().map(|half| half.bags.len()).filter(|&bags| bags > 0).min().unwrap_or(1);
        self.samples.div_ceil(kept.max(1)).max(PARTS.div_ceil(fewest))
    }

    /// Each control becomes a cell of its own; `answer` is that to the first turn of the first bag.
    fn cells(&self, method: &dyn Method, query: &Query<'_>, answer: Outcome) -> Result<Predicted, BenchmarkError> {
        let draws = self.draws(method);
        let mut answer = Some(answer);
        let mut first = Vec::with_capacity(2);
        let mut sums: [[Change; PARTS]; 2] = std::array::from_fn(|_| std::array::from_fn(|_| Change::default()));
        let mut changed = self.context.halves.each_ref().map(Changed::new);
        for ((half, sums), changed) in self.context.halves.iter().zip(&mut sums).zip(&mut changed) {
            for (at, bag) in half.bags.iter().enumerate() {
                let mut start = 0;
                while start < draws {
                    let asked = self.turn(method, bag, start);
                    let outcome = match answer.take() {
                        Some(answer) => answer,
                        None => self.bag(method, query, bag, asked.clone())?.outcome,
                    };
                    let Outcome::Cells { cells, latent } = outcome else {
                        let name = (method.info().name, query.perturbation.name.clone());
                        return Err(Self::reason(name, "moved one bag cell by cell and another one alike".into()));
                    };
                    let latent = self.viewer.encoder_of(method).zip(latent.as_ref());
                    let views = self.viewer.cells(cells.view(), latent).map_err(|source| BenchmarkError::Encode {
                        perturbation: query.perturbation.name.clone(),
                        source,
                    })?;
                    let n = bag.ids.len();
                    let own_draws = start..asked.end as usize;
                    start = own_draws.end;
                    for (turn, draw) in own_draws.enumerate() {
                        let rows: Vec<usize> = (turn * n..(turn + 1) * n).collect();
                        let own = views.select(&rows);
                        let dense = cells.slice(s![turn * n..(turn + 1) * n, ..]);
                        sums[(draw + at) % PARTS].add(dense, &own, bag);
                        changed.add(at, half.bags.len(), dense, &own, bag, 1.0 / draws as f64);
                        if draw == 0 && at == 0 {
                            first.push(own);
                        }
                    }
                }
            }
        }
        let means = |parts: std::ops::Range<usize>| -> [Centre; 2] {
            std::array::from_fn(|half| Change::mean(&sums[half][parts.clone()], &self.context.halves[half].mean))
        };
        let parts = if method.samples() { 0..PARTS } else { 0..0 };
        let parts = parts.map(|part| means(part..part + 1)).collect();
        let changes = std::array::from_fn(|half| {
            let n = changed[half].dense.nrows();
            let weights =
                weights(self.sampling.seed, Drawn::Controls(self.context.number, half), self.sampling.draws, n);
            let Changed { dense, cells } = &changed[half];
            Deviations::new(&weights, dense, cells, self.context.halves[half].n)
        });
        let halves = means(0..PARTS);
        Ok(Predicted { changes: Some(changes), cells: all(&first), parts, ..Predicted::empty(&halves) })
    }
}

/// The change that a method makes to each kept control of a half, on average over the draws.
struct Changed {
    dense: Array2<f32>,
    cells: Cells,
}

impl Changed {
    fn new(half: &ControlHalf) -> Self {
        let n: usize = half.bags.iter().map(|bag| bag.ids.len()).sum();
        let zeros = |like: &Array1<f64>| Array2::zeros((n, like.len()));
        let embeddings = half.mean.embeddings.iter().map(zeros).collect();
        let cells = Cells { components: zeros(&half.mean.components), embeddings };
        Self { dense: Array2::zeros((n, half.mean.expression.len())), cells }
    }

    /// Adds a share of the change of bag number `at` of `bags`; controls are dealt to the bags in turn.
    fn add(&mut self, at: usize, bags: usize, dense: ArrayView2<'_, f32>, to: &Cells, bag: &Bag, share: f64) {
        for row in 0..bag.ids.len() {
            let place = at + row * bags;
            let change = &dense.row(row) - &bag.dense.row(row);
            self.dense.row_mut(place).scaled_add(share as f32, &change);
            let change = &to.components.row(row) - &bag.cells.components.row(row);
            self.cells.components.row_mut(place).scaled_add(share, &change);
            let embeddings = to.embeddings.iter().zip(&bag.cells.embeddings).zip(&mut self.cells.embeddings);
            for ((to, from), sum) in embeddings {
                sum.row_mut(place).scaled_add(share, &(&to.row(row) - &from.row(row)));
            }
        }
    }
}

/// Sum of the changes that a method makes to cells.
#[derive(Clone, Debug, Default)]
struct Change {
    cells: usize,
    sum: Option<Centre>,
}

impl Change {
    fn add(&mut self, dense: ArrayView2<'_, f32>, predicted: &Cells, bag: &Bag) {
        let total = |rows: ArrayView2<'_, f32>| rows.axis_iter(Axis(0)).fold(Array1::zeros(rows.ncols()), add_row);
        let difference = |to: &Array2<f64>, from: &Array2<f64>| (to - from).sum_axis(Axis(0));
        let embeddings = predicted.embeddings.iter().zip(&bag.cells.embeddings);
        let change = Centre {
            expression: total(dense) - total(bag.dense.view()),
            components: difference(&predicted.components, &bag.cells.components),
            embeddings: embeddings.map(|(to, from)| difference(to, from)).collect(),
        };
        self.cells += bag.ids.len();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum.plus(&change),
            None => change,
        });
    }

    /// The mean change over some parts, on top of `mean`.
    fn mean(parts: &[Self], mean: &Centre) -> Centre {
        let cells: usize = parts.iter().map(|part| part.cells).sum();
        let sums = parts.iter().filter_map(|part| part.sum.as_ref());
        sums.fold(mean.clone(), |mean, sum| mean.combine(1.0, sum, 1.0 / cells as f64))
    }
}

fn add_row(mut sum: Array1<f64>, row: ndarray::ArrayView1<'_, f32>) -> Array1<f64> {
    sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    sum
}

/// The cells of both halves.
fn all(halves: &[Cells]) -> Cells {
    match halves {
        [first, second] => first.and(second),
        [only] => only.clone(),
        _ => Cells { components: Array2::zeros((0, 0)), embeddings: vec![] },
    }
}
