//! What a store says of itself: kind of values, origin, and the record beside the data.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Version of the layout written here.
pub(crate) const FORMAT: u32 = 1;
/// Node of the record, a JSON text, so that AnnData shows it in `uns`.
pub(crate) const RECORD: &str = "uns/syncyte";
/// Node of the SHA-256 of every block of rows.
pub(crate) const DIGESTS: &str = "uns/syncyte_block_sha256";

/// What the values of X are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueKind {
    /// Raw counts: non-negative whole numbers.
    Counts,
    /// `ln(1 + 10⁴·count/total)` of every cell.
    Log1p,
}

/// How a fractional count becomes a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// Up with the probability of its fraction, so that sums keep their expectation.
    Stochastic,
    /// To the nearest, halves to the even one.
    Nearest,
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stochastic => "stochastic",
            Self::Nearest => "nearest",
        })
    }
}

/// What a store says of its content and origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// Version of the layout.
    pub format: u32,
    /// What the values of X are.
    pub value_kind: ValueKind,
    /// The files the cells came from.
    pub source: Vec<String>,
    /// Seed of the order in which the cells were shuffled when they were imported, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffled: Option<u64>,
    /// Scales that normalised values were converted from, by source, where they were not in the store's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub converted_from: BTreeMap<String, String>,
    /// How fractional counts were made whole, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// How the controls were labelled in the inputs, with their numbers of cells; empty where nobody noted it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub control_labels: BTreeMap<String, u64>,
    /// Report of the quality control, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qc: Option<serde_json::Value>,
    /// Parameters of the generator, if the cells are synthetic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<serde_json::Value>,
}

impl StoreInfo {
    /// An information without origin, in the present format.
    pub fn new(value_kind: ValueKind) -> Self {
        Self {
            format: FORMAT,
            value_kind,
            source: Vec::new(),
            shuffled: None,
            converted_from: BTreeMap::new(),
            rounding: None,
            control_labels: BTreeMap::new(),
            qc: None,
            synthetic: None,
        }
    }
}

/// The record of a whole store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) info: StoreInfo,
    /// Rows of a block with a digest of its own.
    pub(crate) chunk_rows: usize,
    /// Names of the targets of every perturbation, in the order of the categories.
    pub(crate) targets: Vec<Vec<String>>,
    pub(crate) data_hash: String,
    pub(crate) written_by: String,
}
