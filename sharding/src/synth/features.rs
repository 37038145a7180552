//! Sections of the configuration: what the worlds from W3 on add, optional designs, and the side channels.

use serde::{Deserialize, Serialize};

use super::SynthError;
use super::check::{require, require_scale, require_share};

/// Most combinations of dose and time.
const MOST_SETTINGS: usize = 1_000;

/// Guides and the cells that escape them (from W3 on). Every condition has two guides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuideConfig {
    /// Least share of a guide's cells that escape it and look like controls.
    pub escape_least: f64,
    /// Largest such share.
    pub escape_most: f64,
    /// Standard deviation of the log of the factor by which a guide's effect differs from its condition's.
    pub jitter_sd: f64,
}

/// The cell cycle (from W3 on): G1, S and G2/M are 0.55, 0.25 and 0.20 of a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CycleConfig {
    /// Share of the genes that follow the cycle.
    pub gene_share: f64,
    /// Least amplitude of such a gene in natural log expression.
    pub amplitude_least: f64,
    /// Largest amplitude.
    pub amplitude_most: f64,
}

/// The gene network (from W4 on).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Gain η of the propagation x ← k·e_t + tanh(η B x).
    pub gain: f64,
    /// Sum of the absolute weights of a gene's regulators: the L1 norm of a row of B.
    pub row_norm: f64,
    /// Fewest regulators of a gene.
    pub regulators_least: usize,
    /// Most regulators of a gene.
    pub regulators_most: usize,
    /// Groups of modules that mostly regulate themselves.
    pub groups: usize,
    /// Share of the regulators that come from a gene's own group.
    pub within: f64,
}

/// Effects of a cell line's own (W5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineConfig {
    /// Least weight κ of a line's own program of a module, against the module's common program.
    pub kappa_least: f64,
    /// Largest weight.
    pub kappa_most: f64,
    /// Share of the modules that only some of the lines have.
    pub selective_share: f64,
}

/// Dose levels and time points. Every perturbed cell has one of each; none means no such column in `obs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CourseConfig {
    /// Dose levels, above 0.
    pub doses: Vec<f64>,
    /// Exponent h of Hill's curve d^h / (ec50^h + d^h).
    pub hill: f64,
    /// Time points, above 0.
    pub times: Vec<f64>,
    /// Median time constant τ of a module in 1 − exp(−t/τ); the constants spread by a log sd of 0.4.
    pub tau: f64,
    /// How long the first module waits before it responds at all.
    pub delay: f64,
}

/// A panel of antibody tags, written as `obsm/protein`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProteinConfig {
    /// Number of proteins; 0 for none.
    pub count: usize,
    /// Slope of a protein's log abundance on the log expression of its gene.
    pub slope: f64,
    /// Share of a cell's protein counts that are background, not bound to what the cell expresses.
    pub background: f64,
    /// Median number of protein counts per cell.
    pub depth: f64,
    /// By how much time a protein lags behind its transcript.
    pub lag: f64,
}

/// Side channel: a graph that tells which genes belong together, stored beside the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphConfig {
    /// Share of the graph's edges that are true; 0 for a graph of decoys.
    pub precision: f64,
    /// Share of the true edges that the graph holds; 0 for no graph.
    pub recall: f64,
    /// True partners of a gene inside its module, on average.
    pub degree: f64,
    /// Share of the decoys that hang on one of few hubs.
    pub hub_share: f64,
}

/// Side channel: a second screen in a line that is not in the store, stored beside the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreenConfig {
    /// Share of the single perturbations that the second screen covers; 0 for no screen.
    pub coverage: f64,
    /// Weight κ of the other line's own programs.
    pub kappa: f64,
    /// Standard deviation of the measurement noise of a gene's log fold change.
    pub noise: f64,
}

impl Default for GuideConfig {
    fn default() -> Self {
        Self { escape_least: 0.05, escape_most: 0.3, jitter_sd: 0.1 }
    }
}

impl Default for CycleConfig {
    fn default() -> Self {
        Self { gene_share: 0.08, amplitude_least: 0.25, amplitude_most: 0.5 }
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { gain: 1.0, row_norm: 0.55, regulators_least: 2, regulators_most: 4, groups: 8, within: 0.9 }
    }
}

impl Default for LineConfig {
    fn default() -> Self {
        Self { kappa_least: 0.2, kappa_most: 0.5, selective_share: 0.2 }
    }
}

impl Default for CourseConfig {
    fn default() -> Self {
        Self { doses: Vec::new(), hill: 1.5, times: Vec::new(), tau: 12.0, delay: 6.0 }
    }
}

impl Default for ProteinConfig {
    fn default() -> Self {
        Self { count: 0, slope: 0.8, background: 0.15, depth: 2_500.0, lag: 6.0 }
    }
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self { precision: 0.3, recall: 0.3, degree: 10.0, hub_share: 0.3 }
    }
}

impl Default for ScreenConfig {
    fn default() -> Self {
        Self { coverage: 0.5, kappa: 0.35, noise: 0.05 }
    }
}

impl GuideConfig {
    pub(super) fn validate(&self) -> Result<(), SynthError> {
        require_range("guides.escape", self.escape_least, self.escape_most)?;
        require_share("guides.escape_most", self.escape_most)?;
        require_scale("guides.jitter_sd", self.jitter_sd)
    }
}

impl CycleConfig {
    pub(super) fn validate(&self) -> Result<(), SynthError> {
        require_share("cycle.gene_share", self.gene_share)?;
        require_range("cycle.amplitude", self.amplitude_least, self.amplitude_most)
    }
}

impl NetworkConfig {
    pub(super) fn validate(&self) -> Result<(), SynthError> {
        require_scale("network.gain", self.gain)?;
        require_scale("network.row_norm", self.row_norm)?;
        require_share("network.within", self.within)?;
        require(self.groups > 0, || "network.groups must be at least 1".into())?;
        require(self.regulators_least <= self.regulators_most, || {
            format!(
                "network.regulators_least is {}, above network.regulators_most ({})",
                self.regulators_least, self.regulators_most
            )
        })
    }
}

impl LineConfig {
    pub(super) fn validate(&self) -> Result<(), SynthError> {
        require_range("lines.kappa", self.kappa_least, self.kappa_most)?;
        require_share("lines.selective_share", self.selective_share)
    }
}

impl CourseConfig {
    pub(super) fn validate(&self) -> Result<(), SynthError> {
        for (name, levels) in [("course.doses", &self.doses), ("course.times", &self.times)] {
            require(levels.iter().all(|level| level.is_finite() && *level > 0.0), || {
                format!("{name} is {levels:?}, levels must be finite and above 0")
            })?;
            require(levels.windows(2).all(|pair| pair[0] < pair[1]), || {
                format!("{name} is {levels:?}, levels must rise")
            })?;
        }
        let settings = self.doses.len().max(1) * self.times.len().max(1);
        require(settings <= MOST_SETTINGS, || {
            format!("course has {settings} combinations of dose and time, at most {MOST_SETTINGS} are possible")
        })?;
        require(self.hill.is_finite() && self.hill > 0.0, || {
            format!("course.hill is {}, it must be above 0", self.hill)
        })?;
        require(self.tau.is_finite() && self.tau > 0.0, || format!("course.tau is {}, it must be above 0", self.tau))?;
        require_scale("course.delay", self.delay)
    }
}

impl ProteinConfig {
    pub(super) fn validate(&self, genes: usize) -> Result<(), SynthError> {
        require(self.count <= genes / 2, || {
            format!("protein.count is {}, but only the {} best expressed genes have one", self.count, genes / 2)
        })?;
        require(self.slope.is_finite(), || format!("protein.slope is {}, it must be finite", self.slope))?;
        require_share("protein.background", self.background)?;
        require(self.depth.is_finite() && self.depth > 0.0, || {
            format!("protein.depth is {}, it must be above 0", self.depth)
        })?;
        require_scale("protein.lag", self.lag)
    }
}

impl GraphConfig {
    pub(super) fn validate(&self) -> Result<(), SynthError> {
        require_share("graph.precision", self.precision)?;
        require_share("graph.recall", self.recall)?;
        require_share("graph.hub_share", self.hub_share)?;
        require_scale("graph.degree", self.degree)
    }
}

impl ScreenConfig {
    pub(super) fn validate(&self) -> Result<(), SynthError> {
        require_share("screen.coverage", self.coverage)?;
        require_scale("screen.kappa", self.kappa)?;
        require_scale("screen.noise", self.noise)
    }
}

fn require_range(name: &str, least: f64, most: f64) -> Result<(), SynthError> {
    require_scale(&format!("{name}_least"), least)?;
    require_scale(&format!("{name}_most"), most)?;
    require(least <= most, || format!("{name}_least is {least}, above {name}_most ({most})"))
}
