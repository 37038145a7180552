//! A choice of genes on disk and in use.
//!
//! Guarantee: the columns of a choice are handed out only under the split that it was fitted on.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::GenesError;
use super::options::{Flavour, HvgOptions};
use crate::split::{FittedOn, Split};
use crate::store::CellStore;
use crate::whole_file;

const FORMAT: u32 = 1;

/// One gene of a choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectedGene {
    /// Column in the store.
    pub column: u32,
    /// Name in the store.
    pub name: String,
    /// Place among the variable genes, from 0; none where only a perturbation brought it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Score under the flavour; none for a gene that has no variance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Whether a perturbation targets it.
    pub target: bool,
}

/// The chosen genes, with the fold they were fitted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneSelection {
    format: u32,
    flavour: Flavour,
    n: usize,
    fitted_on: FittedOn,
    absent_targets: Vec<String>,
    genes: Vec<SelectedGene>,
}

impl GeneSelection {
    pub(super) fn new(
        options: HvgOptions,
        fitted_on: FittedOn,
        genes: Vec<SelectedGene>,
        absent_targets: Vec<String>,
    ) -> Self {
        let HvgOptions { flavour, n } = options;
        Self { format: FORMAT, flavour, n, fitted_on, absent_targets, genes }
    }

    /// How variability was measured, and how many genes were asked for.
    pub fn options(&self) -> HvgOptions {
        HvgOptions { flavour: self.flavour, n: self.n }
    }

    /// The fold it was fitted on.
    pub fn fitted_on(&self) -> &FittedOn {
        &self.fitted_on
    }

    /// Targets of perturbations that are no gene of the store, in rising order.
    pub fn absent_targets(&self) -> &[String] {
        &self.absent_targets
    }

    /// Chosen genes that only a perturbation brought in.
    pub fn n_forced(&self) -> usize {
        self.genes.iter().filter(|gene| gene.rank.is_none()).count()
    }

    /// The chosen genes, in the order of their columns.
    ///
    /// # Errors
    /// When `split` is not the one they were fitted on.
    pub fn genes(&self, split: &Split) -> Result<&[SelectedGene], GenesError> {
        self.fitted_on.check("the list of variable genes", split)?;
        Ok(&self.genes)
    }

    /// Their columns in the store, rising.
    ///
    /// # Errors
    /// When `split` is not the one they were fitted on.
    pub fn columns(&self, split: &Split) -> Result<Vec<u32>, GenesError> {
        Ok(self.genes(split)?.iter().map(|gene| gene.column).collect())
    }

    /// Writes the choice as JSON, beside `path` first and renamed when whole.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn save(&self, path: &Path) -> Result<(), GenesError> {
        let io = |source| GenesError::Io { path: path.to_owned(), source };
        let mut text = serde_json::to_string_pretty(self).map_err(|error| io(error.into()))?;
        text.push('\n');
        whole_file::write(path, text.as_bytes()).map_err(io)
    }

    /// Reads a choice for a store under a split.
    ///
    /// # Errors
    /// When the file is no choice, was fitted on another fold, or does not name the genes of the store.
    pub fn load(path: &Path, store: &CellStore, split: &Split) -> Result<Self, GenesError> {
        let malformed = |what: String| GenesError::Malformed { path: path.to_owned(), what };
        let text = fs::read_to_string(path).map_err(|source| GenesError::Io { path: path.to_owned(), source })?;
        let found: Self = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if found.format != FORMAT {
            return Err(malformed(format!("format {}, and this version reads format {FORMAT}", found.format)));
        }
        found.fitted_on.check(&path.display().to_string(), split)?;
        found.check_names(store.genes()).map_err(malformed)?;
        Ok(found)
    }

    fn check_names(&self, names: &[String]) -> Result<(), String> {
        if self.genes.is_empty() {
            return Err("it has no genes".into());
        }
        if let Some(pair) = self.genes.windows(2).find(|pair| pair[0].column >= pair[1].column) {
            return Err(format!("column {} does not rise above {}", pair[1].column, pair[0].column));
        }
        match self.genes.iter().find(|gene| names.get(gene.column as usize) != Some(&gene.name)) {
            Some(gene) => Err(format!("column {} of the store is not `{}`", gene.column, gene.name)),
            None => Ok(()),
        }
    }
}
