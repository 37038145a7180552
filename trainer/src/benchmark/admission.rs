//! What is refused before anything is scored: fits of another split, other genes, names twice, broken predictions.

use std::collections::BTreeSet;

use super::error::BenchmarkError;
use super::harness::Evaluation;
use super::method::{Method, Prediction};
use super::view::View;

/// Checks that everything belongs to the split and the genes of the held-out cells.
pub(super) fn admit(evaluation: &Evaluation<'_>, methods: &[Box<dyn Method>]) -> Result<(), BenchmarkError> {
    let Evaluation { train, test, components, .. } = evaluation;
    let split = test.split_id();
    train.require_split(split)?;
    components.require_split(split)?;
    let expected = test.genes().len();
    if train.genes() != test.genes() {
        return Err(BenchmarkError::Genes { what: "training fold", expected, found: train.genes().len() });
    }
    if components.n_genes() != expected {
        let found = components.n_genes();
        return Err(BenchmarkError::Genes { what: "set of principal components", expected, found });
    }
    let mut names = BTreeSet::new();
    for method in methods {
        let name = method.info().name;
        if let Some(fitted_on) = method.fitted_on().filter(|fitted_on| *fitted_on != split) {
            return Err(BenchmarkError::OtherSplit { method: name, fitted_on: fitted_on.into(), split: split.into() });
        }
        if !names.insert(name.clone()) {
            return Err(BenchmarkError::DuplicateMethod(name));
        }
    }
    Ok(())
}

/// Says what is wrong with a prediction, if anything.
pub(super) fn check_prediction(prediction: &Prediction, truth: &View, genes: &[String]) -> Result<(), String> {
    let (rows, columns) = prediction.cells.dim();
    if rows == 0 || columns != genes.len() {
        return Err(format!("predicted {rows} cells × {columns} genes, but the cells have {} genes", genes.len()));
    }
    if let Some(((cell, gene), value)) = prediction.cells.indexed_iter().find(|(_, value)| !value.is_finite()) {
        return Err(format!("predicted {value} for gene `{}` of cell {cell}", genes[gene]));
    }
    let (Some(latent), Some(space)) = (&prediction.latent, &truth.embedding) else { return Ok(()) };
    if latent.nrows() == 0 || latent.ncols() != space.cells.ncols() {
        let dimensions = space.cells.ncols();
        return Err(format!(
            "predicted a latent of shape {:?}, but the encoder has {dimensions} dimensions",
            latent.dim()
        ));
    }
    if latent.iter().any(|value| !value.is_finite()) {
        return Err("predicted a latent that is not finite".into());
    }
    Ok(())
}
