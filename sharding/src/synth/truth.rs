//! The planted truth beside the cells: what evaluation scores against when the answer is known.
//!
//! Layout, inside the store's folder: `truth/truth.json` (configuration, genes with their modules, conditions with
//! strengths and interactions, shapes) and little-endian `f32` arrays `truth/{baseline,effects,log_fold}.f32`.
//!
//! Guarantee: [`Truth::load`] returns what was saved, or says which file is missing or of the wrong size.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SynthError;
use super::config::SynthConfig;
use super::effect::Condition;

const FOLDER: &str = "truth";
const DESCRIPTION: &str = "truth.json";
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

/// What `truth.json` holds.
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    config: SynthConfig,
    genes: Vec<String>,
    contexts: Vec<String>,
    modules: Vec<u32>,
    conditions: Vec<Condition>,
    arrays: Vec<Array>,
}

/// One array beside the description.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Array {
    name: String,
    file: String,
    dtype: String,
    axes: Vec<String>,
    shape: Vec<usize>,
}

impl Array {
    fn new(name: &str, axes: &[(&str, usize)]) -> Self {
        Self {
            name: name.into(),
            file: format!("{name}.f32"),
            dtype: "<f4".into(),
            axes: axes.iter().map(|(axis, _)| (*axis).into()).collect(),
            shape: axes.iter().map(|(_, length)| *length).collect(),
        }
    }

    fn read(&self, folder: &Path) -> Result<Vec<f32>, SynthError> {
        let path = folder.join(&self.file);
        let bytes = fs::read(&path).map_err(|source| SynthError::Io { path: path.clone(), source })?;
        let expected = 4 * self.shape.iter().product::<usize>();
        if bytes.len() != expected {
            return Err(SynthError::Truth {
                path,
                message: format!(
                    "{} bytes, shape {:?} needs {expected}: generate the store again",
                    bytes.len(),
                    self.shape
                ),
            });
        }
        Ok(bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect())
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
        let folder = store.join(FOLDER);
        let path = folder.join(DESCRIPTION);
        let text = match fs::read_to_string(&path) {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(SynthError::NoTruth { store: store.into() });
            }
            other => other.map_err(|source| SynthError::Io { path: path.clone(), source })?,
        };
        let found: Description = serde_json::from_str(&text)
            .map_err(|error| SynthError::Truth { path: path.clone(), message: error.to_string() })?;
        if found.format != FORMAT {
            let message = format!("format {}, this program reads {FORMAT}: generate the store again", found.format);
            return Err(SynthError::Truth { path, message });
        }
        let arrays = arrays(found.genes.len(), found.contexts.len(), found.conditions.len());
        if found.arrays != arrays || found.modules.len() != found.genes.len() {
            let message = "shapes do not agree with the genes and conditions listed: generate the store again";
            return Err(SynthError::Truth { path, message: message.into() });
        }
        let [baseline, effects, log_fold] = arrays;
        Ok(Self {
            baseline: baseline.read(&folder)?,
            effects: effects.read(&folder)?,
            log_fold: log_fold.read(&folder)?,
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
    /// When a file cannot be written.
    pub(super) fn save(&self, store: &Path) -> Result<(), SynthError> {
        let folder = store.join(FOLDER);
        fs::create_dir_all(&folder).map_err(|source| SynthError::Io { path: folder.clone(), source })?;
        let arrays = arrays(self.genes.len(), self.contexts.len(), self.conditions.len());
        for (array, values) in arrays.iter().zip([&self.baseline, &self.effects, &self.log_fold]) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            write(folder.join(&array.file), &bytes)?;
        }
        let description = Description {
            format: FORMAT,
            config: self.config.clone(),
            genes: self.genes.clone(),
            contexts: self.contexts.clone(),
            modules: self.modules.clone(),
            conditions: self.conditions.clone(),
            arrays: arrays.into(),
        };
        let path = folder.join(DESCRIPTION);
        let text = serde_json::to_string_pretty(&description)
            .map_err(|error| SynthError::Truth { path: path.clone(), message: error.to_string() })?;
        write(path, text.as_bytes())
    }
}

fn arrays(genes: usize, contexts: usize, conditions: usize) -> [Array; 3] {
    let (context, condition, gene) = (("context", contexts), ("condition", conditions), ("gene", genes));
    [
        Array::new("baseline", &[context, gene]),
        Array::new("effects", &[context, condition, gene]),
        Array::new("log_fold", &[condition, gene]),
    ]
}

fn row(values: &[f32], width: usize, at: usize) -> &[f32] {
    &values[at * width..(at + 1) * width]
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<(), SynthError> {
    fs::write(&path, bytes).map_err(|source| SynthError::Io { path, source })
}
