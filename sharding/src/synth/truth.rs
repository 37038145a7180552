//! The planted truth beside the cells: what evaluation scores against when the answer is known.
//!
//! It lies in `uns/syncyte_truth` of the store, where Python's anndata shows it: `description`, a JSON text
//! ([`Planted`]), and arrays. Rows of `effects` are (setting, context, condition), those of `log_fold` (context,
//! condition), those of `baseline` contexts; all are as wide as the panel. `network` and `graph` are lists of edges
//! by place of the genes: all true ones, and those that the side channel tells. `second_screen` has a row for every
//! condition in `Planted::second_screen`. `escaped` says of every cell whether its guide failed (from W3 on).
//!
//! Guarantee: [`Truth::load`] names the node that is missing or damaged. Rows are read when they are asked for, so a
//! genome-wide truth needs no memory.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SynthError;
use super::condition::Condition;
use super::config::SynthConfig;
use super::course::{Curve, Setting};
use super::generator::Generator;
use super::lines::Line;
use super::protein::Protein;
use super::screen;
use crate::anndata::AnnDataError;
use crate::anndata::frame::encoding;
use crate::anndata::zarr::{ArrayReader, ZarrReader};

pub(super) const GROUP: &str = "uns/syncyte_truth";
pub(super) const DESCRIPTION: &str = "uns/syncyte_truth/description";
const FORMAT: u32 = 2;

/// What was planted. Conditions are in the order of the labels' perturbations, control first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planted {
    /// Version of the layout.
    format: u32,
    /// What was asked for.
    pub config: SynthConfig,
    /// Genes of the store.
    pub genes: Vec<String>,
    /// Home module of every gene.
    pub modules: Vec<u32>,
    /// Contexts of the store.
    pub lines: Vec<Line>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Combinations of dose and time; one where neither differs.
    pub settings: Vec<Setting>,
    /// How the parts of an effect grow with time: the fall of the target, the network, the shared axis, private
    /// effects, then every module. None where times do not differ.
    pub curves: Vec<Curve>,
    /// Proteins, in the order of the columns of `obsm/protein`.
    pub proteins: Vec<Protein>,
    /// Places of the conditions that the second screen covers.
    pub second_screen: Vec<u32>,
}

impl Generator {
    /// What was planted.
    pub fn planted(&self) -> Planted {
        let effects = &self.effects;
        Planted {
            format: FORMAT,
            config: self.config.clone(),
            genes: self.panel.genes.clone(),
            modules: self.panel.module.clone(),
            lines: effects.lines.in_store().to_vec(),
            conditions: effects.conditions.clone(),
            settings: effects.courses.settings.clone(),
            curves: effects.courses.curves.clone(),
            proteins: self.proteins.proteins.clone(),
            second_screen: screen::covered(&self.config, effects),
        }
    }
}

impl Planted {
    /// Place of a condition by its canonical name.
    pub fn condition(&self, name: &str) -> Option<usize> {
        self.conditions.iter().position(|condition| condition.perturbation.name == name)
    }
}

/// The truth of a store.
pub struct Truth {
    /// What was planted.
    pub planted: Planted,
    reader: ZarrReader,
}

impl Truth {
    /// Opens the truth of a planted store.
    ///
    /// # Errors
    /// When the store has none, or it is damaged.
    pub fn load(store: &Path) -> Result<Self, SynthError> {
        let reader = ZarrReader::open(store).map_err(AnnDataError::from)?;
        if reader.kind(DESCRIPTION).map_err(AnnDataError::from)?.is_none() {
            return Err(SynthError::NoTruth { store: store.into() });
        }
        let text = reader.array(DESCRIPTION).and_then(|node| node.read_text(&[])).map_err(AnnDataError::from)?.concat();
        let damaged = |problem: String| {
            AnnDataError::encoding(reader.name(), DESCRIPTION, format!("{problem}: generate the store again"))
        };
        let found: Value = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if found["format"] != FORMAT {
            return Err(damaged(format!("format {}, this program reads {FORMAT}", found["format"])).into());
        }
        let planted: Planted = serde_json::from_value(found).map_err(|error| damaged(error.to_string()))?;
        if planted.modules.len() != planted.genes.len() {
            return Err(damaged("it does not name the module of every gene".into()).into());
        }
        Ok(Self { planted, reader })
    }

    /// Expected log1p(CP10k) expression of control cells of a context.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn baseline(&self, context: usize) -> Result<Vec<f32>, SynthError> {
        self.row("baseline", self.planted.lines.len(), context)
    }

    /// Expected log1p(CP10k) expression of a condition at one setting, less that of the control, without any noise;
    /// cells that escaped their guide count as they are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn effect_at(&self, setting: usize, context: usize, condition: usize) -> Result<Vec<f32>, SynthError> {
        let (contexts, conditions) = (self.planted.lines.len(), self.planted.conditions.len());
        let rows = self.planted.settings.len() * contexts * conditions;
        self.row("effects", rows, (setting * contexts + context) * conditions + condition)
    }

    /// As [`Truth::effect_at`], mean over the settings, which have equal shares of the cells.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn effect(&self, context: usize, condition: usize) -> Result<Vec<f32>, SynthError> {
        let mut mean = vec![0.0; self.planted.genes.len()];
        let settings = self.planted.settings.len();
        for setting in 0..settings {
            let effect = self.effect_at(setting, context, condition)?;
            mean.iter_mut().zip(effect).for_each(|(mean, effect)| *mean += effect / settings as f32);
        }
        Ok(mean)
    }

    /// Planted change of a condition in natural log expression: whole, at any dose and time, in a cell that did not
    /// escape.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log_fold(&self, context: usize, condition: usize) -> Result<Vec<f32>, SynthError> {
        let conditions = self.planted.conditions.len();
        self.row("log_fold", self.planted.lines.len() * conditions, context * conditions + condition)
    }

    /// Log fold changes of a condition in the second screen; none where that does not cover it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn second_screen(&self, condition: usize) -> Result<Option<Vec<f32>>, SynthError> {
        let covered = &self.planted.second_screen;
        match covered.binary_search(&(condition as u32)) {
            Ok(at) => self.row("second_screen", covered.len(), at).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The edges that the side channel tells, by place of the genes: some true, some decoys.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn graph(&self) -> Result<Vec<[u32; 2]>, SynthError> {
        self.edges("graph")
    }

    /// All true edges, by place of the genes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn network(&self) -> Result<Vec<[u32; 2]>, SynthError> {
        self.edges("network")
    }

    /// Whether a cell escaped its guide, for every cell; none where there are no guides.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn escaped(&self) -> Result<Vec<bool>, SynthError> {
        let array = self.array("escaped")?;
        Ok(array.read_bool(&array.all()).map_err(AnnDataError::from)?)
    }

    fn array(&self, name: &str) -> Result<ArrayReader, AnnDataError> {
        Ok(self.reader.array(&format!("{GROUP}/{name}"))?)
    }

    fn row(&self, name: &str, rows: usize, at: usize) -> Result<Vec<f32>, SynthError> {
        let array = self.array(name)?;
        let shape = [rows as u64, self.planted.genes.len() as u64];
        if array.shape() != shape {
            let problem = format!("shape {:?}, but {shape:?} is described: generate the store again", array.shape());
            return Err(AnnDataError::from(array.error(&problem)).into());
        }
        let at = at as u64;
        Ok(array.read_f32(&[at..at + 1, 0..shape[1]]).map_err(AnnDataError::from)?)
    }

    fn edges(&self, name: &str) -> Result<Vec<[u32; 2]>, SynthError> {
        let array = self.array(name)?;
        let values = array.read_u32(&array.all()).map_err(AnnDataError::from)?;
        Ok(values.as_chunks::<2>().0.to_vec())
    }
}

/// AnnData's attributes of the group and of the description.
pub(super) fn attributes(kind: &str) -> serde_json::Map<String, Value> {
    encoding(kind, if kind == "dict" { "0.1.0" } else { "0.2.0" }, Value::Null)
}
