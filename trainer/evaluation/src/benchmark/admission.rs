//! What is refused before anything is scored: fits of another split, other genes, names twice, broken predictions.

use std::collections::BTreeSet;

use super::error::BenchmarkError;
use super::evaluation::Evaluation;
use super::method::{Method, Outcome, Prediction};

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
    let known: BTreeSet<&str> = evaluation.encoders.iter().map(|encoder| encoder.id.as_str()).collect();
    let mut names = BTreeSet::new();
    for method in methods {
        let name = method.info().name;
        if let Some(fitted_on) = method.fitted_on().filter(|fitted_on| *fitted_on != split) {
            return Err(BenchmarkError::OtherSplit { method: name, fitted_on: fitted_on.into(), split: split.into() });
        }
        if let Some(encoder) = method.encoder().filter(|encoder| !known.contains(encoder)) {
            return Err(BenchmarkError::Encoder { method: name, encoder: encoder.into() });
        }
        if !names.insert(name.clone()) {
            return Err(BenchmarkError::DuplicateMethod(name));
        }
    }
    Ok(())
}

/// Says what is wrong with the prediction for a bag of `bag` cells, if anything; `width` is that of the embedding of the
/// method's encoder, where it has one.
pub(super) fn check_prediction(
    prediction: &Prediction,
    bag: usize,
    genes: &[String],
    width: Option<usize>,
) -> Result<(), String> {
    let (cells, latent) = match &prediction.outcome {
        Outcome::Shift(vector) | Outcome::Profile(vector) => {
            if vector.len() != genes.len() {
                return Err(format!("predicted {} genes, but the cells have {}", vector.len(), genes.len()));
            }
            return match vector.iter().position(|value| !value.is_finite()) {
                Some(gene) => Err(format!("predicted {} for gene `{}`", vector[gene], genes[gene])),
                None => Ok(()),
            };
        }
        Outcome::Cells { cells, latent } => (cells, latent),
    };
    let (rows, columns) = cells.dim();
    if rows != bag || columns != genes.len() {
        return Err(format!(
            "predicted {rows} cells × {columns} genes for {bag} control cells, and the cells have {} genes",
            genes.len()
        ));
    }
    if let Some(((cell, gene), value)) = cells.indexed_iter().find(|(_, value)| !value.is_finite()) {
        return Err(format!("predicted {value} for gene `{}` of cell {cell}", genes[gene]));
    }
    let Some(latent) = latent else { return Ok(()) };
    let Some(width) = width else { return Err("predicted a latent, but names no encoder that it lies in".into()) };
    if latent.dim() != (bag, width) {
        return Err(format!("predicted a latent of shape {:?}, but the encoder has {width} dimensions", latent.dim()));
    }
    if latent.iter().any(|value| !value.is_finite()) {
        return Err("predicted a latent that is not finite".into());
    }
    Ok(())
}
