//! Labels as columns of `obs`, and back.
//!
//! Guarantee: labels written and read back are equal. Columns of the source that bear a label's name are kept
//! as `source_<name>`.

use std::collections::HashSet;

use super::error::StoreError;
use super::info::Record;
use crate::anndata::AnnDataError;
use crate::anndata::frame::read_column;
use crate::anndata::zarr::ZarrReader;
use crate::frame::{Column, ColumnData, Frame};
use crate::labels::{Labels, Perturbation};

/// Column of the sum of counts of a cell.
pub(crate) const LIBRARY_SIZE: &str = "library_size";
/// Columns that the store itself writes.
pub(crate) const OWN: [&str; 7] =
    ["perturbation", "context", "batch", "perturbation_kind", "is_control", LIBRARY_SIZE, "n_genes"];

/// Says what is wrong with labels of `cells` cells, if anything.
pub(crate) fn check(labels: &Labels, cells: usize) -> Result<(), String> {
    if labels.perturbations.first().is_none_or(|first| !first.is_control()) {
        return Err("the first perturbation is not the control".into());
    }
    if let Some(second) = labels.perturbations.iter().skip(1).find(|other| other.is_control()) {
        return Err(format!("perturbation {:?} has no targets, but is not the control", second.name));
    }
    let perturbations: Vec<&String> = labels.perturbations.iter().map(|perturbation| &perturbation.name).collect();
    let coded: [(&str, Vec<&String>, &[u32]); 4] = [
        ("perturbation", perturbations, &labels.perturbation),
        ("context", labels.contexts.iter().collect(), &labels.context),
        ("batch", labels.batches.iter().collect(), &labels.batch),
        ("perturbation_kind", labels.kinds.iter().collect(), &labels.kind),
    ];
    for (name, categories, codes) in coded {
        if codes.len() != cells {
            return Err(format!("label {name} has {} values for {cells} cells", codes.len()));
        }
        let distinct: HashSet<&&String> = categories.iter().collect();
        if distinct.len() != categories.len() {
            return Err(format!("label {name} has a category twice"));
        }
        if let Some(cell) = codes.iter().position(|&code| code as usize >= categories.len()) {
            return Err(format!("cell {cell} has {name} {}, but there are {}", codes[cell], categories.len()));
        }
    }
    Ok(())
}

/// `obs` with the store's own columns in front.
pub(crate) fn with_labels(obs: Frame, labels: &Labels, library_size: &[f32], n_genes: &[u32]) -> Frame {
    let coded = |name: &str, categories: Vec<String>, codes: &[u32]| Column {
        name: name.into(),
        data: ColumnData::Categorical {
            codes: codes.iter().map(|&code| code as i32).collect(),
            categories,
            ordered: false,
        },
    };
    let plain = |name: &str, data: ColumnData| Column { name: name.into(), data };
    let perturbations = labels.perturbations.iter().map(|perturbation| perturbation.name.clone()).collect();
    let mut columns = vec![
        coded("perturbation", perturbations, &labels.perturbation),
        coded("context", labels.contexts.clone(), &labels.context),
        coded("batch", labels.batches.clone(), &labels.batch),
        coded("perturbation_kind", labels.kinds.clone(), &labels.kind),
        plain("is_control", ColumnData::Bool(labels.perturbation.iter().map(|&code| code == 0).collect())),
        plain(LIBRARY_SIZE, ColumnData::Float(library_size.iter().map(|&size| f64::from(size)).collect())),
        plain("n_genes", ColumnData::Int(n_genes.iter().map(|&genes| i64::from(genes)).collect())),
    ];
    let mut taken: HashSet<String> = obs.columns.iter().map(|column| column.name.clone()).collect();
    for mut column in obs.columns {
        if OWN.contains(&column.name.as_str()) {
            while taken.contains(&column.name) {
                column.name.insert_str(0, "source_");
            }
            taken.insert(column.name.clone());
        }
        columns.push(column);
    }
    Frame { index: obs.index, columns }
}

/// Reads the labels of a store of `cells` cells.
pub(crate) fn read(reader: &ZarrReader, record: &Record, cells: usize) -> Result<Labels, StoreError> {
    let fail = |node: &str, problem: String| AnnDataError::encoding(reader.name(), node, problem);
    let coded = |name: &str| -> Result<(Vec<String>, Vec<u32>), StoreError> {
        let node = format!("obs/{name}");
        match read_column(reader, "obs", &node)? {
            ColumnData::Categorical { codes, categories, .. } if codes.iter().all(|&code| code >= 0) => {
                Ok((categories, codes.into_iter().map(|code| code as u32).collect()))
            }
            _ => Err(fail(&node, "a label is a categorical without missing values".into()).into()),
        }
    };
    let (names, perturbation) = coded("perturbation")?;
    if names.len() != record.targets.len() {
        let problem = format!("{} perturbations, but targets of {}", names.len(), record.targets.len());
        return Err(fail("obs/perturbation", problem).into());
    }
    let perturbations =
        names.into_iter().zip(&record.targets).map(|(name, targets)| Perturbation { name, targets: targets.clone() });
    let perturbations = perturbations.collect();
    let (contexts, context) = coded("context")?;
    let (batches, batch) = coded("batch")?;
    let (kinds, kind) = coded("perturbation_kind")?;
    let labels = Labels { perturbations, perturbation, contexts, context, batches, batch, kinds, kind };
    check(&labels, cells).map_err(|problem| fail("obs", problem))?;
    Ok(labels)
}
