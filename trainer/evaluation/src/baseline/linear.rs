//! The bilinear low-rank baseline of the linear-baseline literature: `Y ≈ G W Pᵀ + b`.
//!
//! Columns of `Y` are the changes of the training conditions of one context and kind, among them the control with its
//! change of zero; `b` is the row mean; `G` holds the scores of the genes on the first `K` principal components of the
//! training means (genes are the observations); `P` has one row of features a condition. Then
//!
//! ```text
//! W = (GᵀG + λI)⁻¹ Gᵀ (Y − b) P (PᵀP + λI)⁻¹        ŷ = control + G W p + b
//! ```
//!
//! Two choices of `P`: [`Features::GeneScores`] is the published one, a target's row of `G`; so a target must be a
//! measured gene. [`Features::Targets`] has one column a gene that is targeted in training. A combination has the sum of
//! the rows of its targets. A training condition with a target that has no features is left out of the
//! fit, as in the published code; a query for one gets the mean change over all training conditions and a flag, and
//! so does every query where fewer than two training conditions have features, which the published code refuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::{borrowed, check_genes, info, shifted, untrained};
use crate::benchmark::method::{Method, MethodError, Prediction, Query};
use crate::benchmark::results::MethodInfo;
use crate::fold::{Condition, ConditionMean, Origin, TrainingMeans};
use crate::linalg::{LinalgError, principal_axes, solve};

/// Features of a perturbation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// Scores of the target genes.
    GeneScores,
    /// One column a gene that is targeted in training.
    Targets,
}

/// Settings of the linear model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearConfig {
    /// Number of principal components `K`.
    pub rank: usize,
    /// Ridge penalty `λ` of both sides.
    pub ridge: f64,
    /// Features of a perturbation.
    pub features: Features,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self { rank: 10, ridge: 0.1, features: Features::GeneScores }
    }
}

/// The fitted coefficients of `Y ≈ G W Pᵀ + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bilinear {
    /// `W`: components × features.
    pub weights: Array2<f64>,
    /// `b`: mean of the columns of `Y`.
    pub centre: Array1<f64>,
}

impl Bilinear {
    /// Solves for `W`, with genes × conditions `y`, genes × components `g` and conditions × features `p`.
    ///
    /// # Errors
    /// When shapes do not fit, or the penalty is 0 and features are collinear.
    pub fn fit(
        y: ArrayView2<'_, f64>,
        g: ArrayView2<'_, f64>,
        p: ArrayView2<'_, f64>,
        ridge: f64,
    ) -> Result<Self, LinalgError> {
        if y.dim() != (g.nrows(), p.nrows()) {
            return Err(LinalgError::Shape { operation: "bilinear fit", left: y.dim(), right: (g.nrows(), p.nrows()) });
        }
        let centre = y.sum_axis(Axis(1)) / y.ncols().max(1) as f64;
        let centred = &y - &centre.view().insert_axis(Axis(1));
        let penalised =
            |design: ArrayView2<'_, f64>| design.t().dot(&design) + Array2::<f64>::eye(design.ncols()) * ridge;
        let left = solve(penalised(g).view(), g.t().dot(&centred).dot(&p).view())?;
        // X R⁻¹ = (R⁻¹ Xᵀ)ᵀ for the symmetric R.
        let weights = solve(penalised(p).view(), left.t())?.reversed_axes();
        Ok(Self { weights, centre })
    }
}

/// Scores of the genes (rows) on the first `k` principal components of genes × conditions `profiles`.
///
/// # Errors
/// When the decomposition fails.
pub fn gene_scores(profiles: ArrayView2<'_, f64>, k: usize) -> Result<Array2<f64>, LinalgError> {
    let mean = profiles.sum_axis(Axis(0)) / profiles.nrows().max(1) as f64;
    let centred = &profiles - &mean;
    let (axes, _) = principal_axes(centred.view(), k)?;
    Ok(centred.dot(&axes.t()))
}

/// One fit a context and kind.
#[derive(Clone, Debug)]
pub struct Linear {
    train: Arc<TrainingMeans>,
    features: Features,
    fits: BTreeMap<(u32, u32), Fit>,
}

#[derive(Clone, Debug)]
struct Fit {
    scores: Array2<f64>,
    /// Features of a target gene.
    rows: BTreeMap<String, Array1<f64>>,
    /// Mean change of all training conditions.
    mean: Array1<f64>,
    /// `None` where fewer than two training conditions have features.
    model: Option<Bilinear>,
}

impl Linear {
    /// Fits every context and kind of the training fold.
    ///
    /// # Errors
    /// When a decomposition or a solution fails.
    pub fn fit(train: &Arc<TrainingMeans>, config: &LinearConfig) -> Result<Self, MethodError> {
        let groups: std::collections::BTreeSet<(u32, u32)> =
            train.conditions().map(|(condition, _)| (condition.context, condition.kind)).collect();
        let mut fits = BTreeMap::new();
        for (context, kind) in groups {
            if let Some((pool, Origin::Context)) = train.of_kind(context, kind) {
                fits.insert((context, kind), Fit::new(train, &pool, context, config)?);
            }
        }
        Ok(Self { train: Arc::clone(train), features: config.features, fits })
    }

    /// The change of a perturbation under one fit, and what its features lack.
    fn change(&self, fit: &Fit, targets: &[String]) -> (Array1<f64>, Vec<String>) {
        let what = match self.features {
            Features::GeneScores => "target_not_measured",
            Features::Targets => "target_unseen",
        };
        let missing = targets.iter().filter(|target| !fit.rows.contains_key(*target));
        let mut flags: Vec<String> = missing.map(|target| format!("{what}:{target}")).collect();
        match (&fit.model, fit.features(targets)) {
            (Some(model), Some(features)) => (fit.scores.dot(&model.weights.dot(&features)) + &model.centre, flags),
            (Some(_), None) => (fit.mean.clone(), flags),
            (None, _) => {
                flags.push("too_few_features".into());
                (fit.mean.clone(), flags)
            }
        }
    }
}

impl Fit {
    fn new(
        train: &TrainingMeans,
        pool: &[(&Condition, &ConditionMean)],
        context: u32,
        config: &LinearConfig,
    ) -> Result<Self, LinalgError> {
        let control = train.control_or_average(context);
        let means: Vec<_> = std::iter::once(control.view()).chain(pool.iter().map(|(_, at)| at.mean.view())).collect();
        let profiles = columns(&means, control.len());
        let scores = gene_scores(profiles.view(), config.rank)?;
        let targets = |condition: &Condition| &train.perturbations()[condition.perturbation as usize].targets;
        let rows = match config.features {
            Features::GeneScores => {
                train.genes().iter().cloned().zip(scores.rows().into_iter().map(|row| row.to_owned())).collect()
            }
            Features::Targets => indicators(pool.iter().flat_map(|(condition, _)| targets(condition))),
        };

        let mut mean = Array1::zeros(control.len());
        for (condition, profile) in pool {
            mean.scaled_add(1.0 / pool.len() as f64, &train.delta(condition, profile));
        }
        let mut fit = Self { scores, rows, mean, model: None };
        let dimensions = fit.rows.values().next().map_or(0, Array1::len);
        // The control is a training condition too: no change, no target.
        let (mut y, mut p) = (vec![Array1::zeros(control.len())], vec![Array1::zeros(dimensions)]);
        for (condition, profile) in pool {
            if let Some(features) = fit.features(targets(condition)) {
                y.push(train.delta(condition, profile));
                p.push(features);
            }
        }
        if y.len() < 3 {
            return Ok(fit);
        }
        let views = |vectors: &[Array1<f64>], length| {
            columns(&vectors.iter().map(|vector| vector.view()).collect::<Vec<_>>(), length)
        };
        let (y, p) = (views(&y, control.len()), views(&p, dimensions).reversed_axes());
        fit.model = Some(Bilinear::fit(y.view(), fit.scores.view(), p.view(), config.ridge)?);
        Ok(fit)
    }

    /// The sum of the rows of all targets; `None` where one has none.
    fn features(&self, targets: &[String]) -> Option<Array1<f64>> {
        let mut rows = targets.iter().map(|target| self.rows.get(target));
        let first = rows.next()??.clone();
        rows.try_fold(first, |sum, row| row.map(|row| sum + row))
    }
}

impl Method for Linear {
    fn info(&self) -> MethodInfo {
        match self.features {
            Features::GeneScores => info(
                "linear",
                "Linear (gene scores)",
                "Bilinear low-rank model of the training changes, a perturbation described by the principal-component scores \
                 of its target genes; the mean change where a target is not measured.",
            ),
            Features::Targets => info(
                "linear_targets",
                "Linear (targets)",
                "The same low-rank model, a perturbation described by which genes it targets; the mean change where a target \
                 was never perturbed in training.",
            ),
        }
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(self.train.split_id())
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        let n_genes = self.train.genes().len();
        check_genes(query, n_genes)?;
        let targets = &query.perturbation.targets;
        let own = self.fits.get(&(query.context, query.kind));
        let (fits, origin): (Vec<&Fit>, _) = if let Some(fit) = own {
            (vec![fit], Origin::Context)
        } else {
            let others = self.fits.iter().filter(|((_, kind), _)| *kind == query.kind);
            (others.map(|(_, fit)| fit).collect(), Origin::OtherContexts)
        };
        if fits.is_empty() {
            return Ok(untrained(n_genes));
        }
        let (mut delta, mut flags) = (Array1::zeros(n_genes), Vec::from_iter(borrowed(origin)));
        for fit in &fits {
            let (change, lacking) = self.change(fit, targets);
            delta.scaled_add(1.0 / fits.len() as f64, &change);
            flags.extend(lacking);
        }
        flags.sort_unstable();
        flags.dedup();
        Ok(shifted(delta, flags))
    }
}

/// Vectors of equal length as the columns of a matrix.
fn columns(vectors: &[ndarray::ArrayView1<'_, f64>], length: usize) -> Array2<f64> {
    let mut matrix = Array2::zeros((length, vectors.len()));
    matrix.columns_mut().into_iter().zip(vectors).for_each(|(mut column, vector)| column.assign(vector));
    matrix
}

/// One column a distinct target, in order of name.
fn indicators<'a>(targets: impl Iterator<Item = &'a String>) -> BTreeMap<String, Array1<f64>> {
    let names: std::collections::BTreeSet<&String> = targets.collect();
    let identity = Array2::eye(names.len());
    names.into_iter().zip(identity.rows()).map(|(name, row)| (name.clone(), row.to_owned())).collect()
}

#[cfg(test)]
mod tests;
