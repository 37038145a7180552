//! How highly variable genes are chosen.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::GenesError;

/// How variability is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavour {
    /// Dispersion of counts per 10,000, standardised among genes of like mean (Satija et al. 2015).
    #[serde(rename = "seurat")]
    Seurat,
    /// Variance of clipped counts over the one that the mean predicts (Stuart et al. 2019).
    #[serde(rename = "seurat_v3")]
    SeuratV3,
    /// Variance of `ln(1 + counts per 10,000)`.
    #[serde(rename = "log-variance")]
    LogVariance,
}

/// Which genes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HvgOptions {
    /// How variability is measured.
    pub flavour: Flavour,
    /// Number of genes, targets of perturbations not counted.
    pub n: usize,
}

impl Default for HvgOptions {
    fn default() -> Self {
        Self { flavour: Flavour::Seurat, n: 5000 }
    }
}

impl Flavour {
    /// `seurat`, `seurat_v3` or `log-variance`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seurat => "seurat",
            Self::SeuratV3 => "seurat_v3",
            Self::LogVariance => "log-variance",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Flavour {
    type Err = GenesError;

    fn from_str(name: &str) -> Result<Self, GenesError> {
        let known = [Self::Seurat, Self::SeuratV3, Self::LogVariance];
        let found = known.into_iter().find(|flavour| flavour.name() == name);
        found.ok_or_else(|| GenesError::UnknownFlavour { name: name.to_owned() })
    }
}
