//! The planted truth beside the cells: what evaluation scores against when the answer is known.
//!
//! It lies in `uns/syncyte_truth` of the store, where Python's anndata shows it: `description`, a JSON text
//! (configuration, genes with their modules, conditions with strengths and interactions), and the arrays
//! `baseline` (context × gene), `effects` (context × condition × gene) and `log_fold` (condition × gene).
//!
//! Guarantee: [`Truth::load`] returns what was saved, or names the node that is missing or damaged.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SynthError;
use super::config::SynthConfig;
use super::effect::Condition;
use crate::anndata::AnnDataError;
use crate::anndata::frame::{array_encoding, encoding};
use crate::anndata::zarr::{ZarrReader, ZarrWriter};

const GROUP: &str = "uns/syncyte_truth";
const DESCRIPTION: &str = "uns/syncyte_truth/description";
const FORMAT: u32 = 1;

/// Noise-free truth of a planted store. Conditions are in the order of the labels' perturbations.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// What was asked for.
    pub config: SynthConfig,
    /// Genes of the store.
    pub genes: Vec<String>,
    /// Contexts of the store.
    pub contexts: Vec<String>,
    /// Home module of every gene.
    pub modules: Vec<u32>,
    /// Conditions, control first.
    pub conditions: Vec<Condition>,
    pub(super) baseline: Vec<f32>,
    pub(super) effects: Vec<f32>,
    pub(super) log_fold: Vec<f32>,
}

/// What the description holds.
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    config: SynthConfig,
    genes: Vec<String>,
    contexts: Vec<String>,
    modules: Vec<u32>,
    conditions: Vec<Condition>,
}

impl Description {
    /// Names and shapes of the arrays beside the description.
    fn arrays(&self) -> [(&'static str, Vec<u64>); 3] {
        let [genes, contexts, conditions] =
            [self.genes.len(), self.contexts.len(), self.conditions.len()].map(|extent| extent as u64);
        [
            ("baseline", vec![contexts, genes]),
            ("effects", vec![contexts, conditions, genes]),
            ("log_fold", vec![conditions, genes]),
        ]
    }
}

impl Truth {
    /// Place of a condition by its canonical name.
    pub fn condition(&self, name: &str) -> Option<usize> {
        self.conditions.iter().position(|condition| condition.perturbation.name == name)
    }

    /// Expected log1p(CP10k) expression of control cells of a context.
    ///
    /// # Panics
    /// When there is no such context.
    pub fn baseline(&self, context: usize) -> &[f32] {
        row(&self.baseline, self.genes.len(), context)
    }

    /// Expected log1p(CP10k) expression of a condition less that of the control, without any noise.
    ///
    /// # Panics
    /// When there is no such context or condition.
    pub fn effect(&self, context: usize, condition: usize) -> &[f32] {
        assert!(condition < self.conditions.len(), "condition {condition} of {}", self.conditions.len());
        row(&self.effects, self.genes.len(), context * self.conditions.len() + condition)
    }

    /// Planted change of a condition in natural log expression.
    ///
    /// # Panics
    /// When there is no such condition.
    pub fn log_fold(&self, condition: usize) -> &[f32] {
        row(&self.log_fold, self.genes.len(), condition)
    }

    /// Reads the truth of a planted store.
    ///
    /// # Errors
    /// When the store has none, or it is damaged.
    pub fn load(store: &Path) -> Result<Self, SynthError> {
        let reader = ZarrReader::open(store).map_err(AnnDataError::from)?;
        if reader.kind(DESCRIPTION).map_err(AnnDataError::from)?.is_none() {
            return Err(SynthError::NoTruth { store: store.into() });
        }
        let text = reader.array(DESCRIPTION).and_then(|node| node.read_text(&[])).map_err(AnnDataError::from)?.concat();
        let found: Description = serde_json::from_str(&text).map_err(|error| damaged(&reader, &error.to_string()))?;
        if found.format != FORMAT {
            return Err(damaged(&reader, &format!("format {}, this program reads {FORMAT}", found.format)));
        }
        if found.modules.len() != found.genes.len() {
            return Err(damaged(&reader, "it does not name the module of every gene"));
        }
        let [baseline, effects, log_fold] = found.arrays().map(|(name, shape)| read(&reader, name, &shape));
        Ok(Self {
            baseline: baseline?,
            effects: effects?,
            log_fold: log_fold?,
            config: found.config,
            genes: found.genes,
            contexts: found.contexts,
            modules: found.modules,
            conditions: found.conditions,
        })
    }

    /// Writes the truth into the folder of a store.
    ///
    /// # Errors
    /// When a node cannot be written.
    pub(super) fn save(&self, store: &Path) -> Result<(), AnnDataError> {
        let name = store.display().to_string();
        let writer = ZarrWriter::new(store, &name)?;
        let description = Description {
            format: FORMAT,
            config: self.config.clone(),
            genes: self.genes.clone(),
            contexts: self.contexts.clone(),
            modules: self.modules.clone(),
            conditions: self.conditions.clone(),
        };
        let text = serde_json::to_string(&description)
            .map_err(|error| AnnDataError::encoding(&name, DESCRIPTION, error.to_string()))?;
        writer.group(GROUP, encoding("dict", "0.1.0", Value::Null))?;
        let values = [&self.baseline, &self.effects, &self.log_fold];
        for ((array, shape), values) in description.arrays().into_iter().zip(values) {
            writer.array(&format!("{GROUP}/{array}"), &shape, values, array_encoding())?;
        }
        writer.scalar(DESCRIPTION, &text, encoding("string", "0.2.0", Value::Null))?;
        Ok(())
    }
}

fn read(reader: &ZarrReader, name: &str, shape: &[u64]) -> Result<Vec<f32>, AnnDataError> {
    let array = reader.array(&format!("{GROUP}/{name}"))?;
    if array.shape() != shape {
        let problem = format!("shape {:?}, but {shape:?} is described: generate the store again", array.shape());
        return Err(array.error(&problem).into());
    }
    Ok(array.read_f32(&array.all())?)
}

fn damaged(reader: &ZarrReader, problem: &str) -> SynthError {
    AnnDataError::encoding(reader.name(), DESCRIPTION, format!("{problem}: generate the store again")).into()
}

fn row(values: &[f32], width: usize, at: usize) -> &[f32] {
    &values[at * width..(at + 1) * width]
}
