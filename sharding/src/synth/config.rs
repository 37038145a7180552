//! What is planted: sizes, strengths and noise of a planted-truth store.
//!
//! Guarantee: a [`SynthConfig`] that passes [`SynthConfig::validate`] can be generated, and the
//! configuration alone (its seed included) decides every byte of the store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SynthError;

/// How hard the planted truth is, and what honest answer it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum World {
    /// No information: every condition, doubles included, has an effect of its own that nothing else tells of,
    /// and targets do not fall. The honest answer for an unseen condition is the mean.
    W0,
    /// Linear-Gaussian: log-normalised expression is a mean plus Gaussian states and noise, and doubles are the
    /// exact sum of their singles. No library, lane or batch effects.
    W1,
    /// Negative-binomial counts with library, lane and batch effects; doubles are additive, buffering or
    /// neomorphic. The headline of the demo.
    W2,
}

impl fmt::Display for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::W0 => "W0",
            Self::W1 => "W1",
            Self::W2 => "W2",
        })
    }
}

impl FromStr for World {
    type Err = SynthError;

    fn from_str(name: &str) -> Result<Self, SynthError> {
        match name.to_ascii_uppercase().as_str() {
            "W0" => Ok(Self::W0),
            "W1" => Ok(Self::W1),
            "W2" => Ok(Self::W2),
            _ => Err(SynthError::UnknownWorld { name: name.into() }),
        }
    }
}

/// A named set of sizes and strengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// 20,000 cells × 2,000 genes, 100 single and 20 double perturbations, effects strong enough to learn in minutes.
    Demo,
}

impl FromStr for Preset {
    type Err = SynthError;

    fn from_str(name: &str) -> Result<Self, SynthError> {
        match name {
            "demo" => Ok(Self::Demo),
            _ => Err(SynthError::UnknownPreset { name: name.into() }),
        }
    }
}

/// Everything that decides a planted-truth store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthConfig {
    /// Which world.
    pub world: World,
    /// Number of cells.
    pub cells: usize,
    /// Number of genes.
    pub genes: usize,
    /// Number of single perturbations.
    pub singles: usize,
    /// Number of double perturbations, of genes that are also perturbed singly.
    pub doubles: usize,
    /// Share of control cells.
    pub control_share: f64,
    /// Number of contexts (cell lines), which differ in their baselines.
    pub contexts: usize,
    /// Number of batches (lanes).
    pub batches: usize,
    /// Number of gene modules; every gene has one home module.
    pub modules: usize,
    /// Share of the genes on which a module program, a private effect or the shared axis acts.
    pub program_density: f64,
    /// Weight of the program of the target's module in an effect.
    pub module_weight: f64,
    /// Weight of an effect private to the perturbation.
    pub private_weight: f64,
    /// Weight of the axis that all perturbations share (stress, growth).
    pub shared_weight: f64,
    /// Share of the perturbations without any effect but on their target.
    pub null_share: f64,
    /// Mean of the log of the strength of an effect.
    pub strength_log_mean: f64,
    /// Standard deviation of the log of the strength of an effect.
    pub strength_log_sd: f64,
    /// Largest strength.
    pub strength_max: f64,
    /// Mean over doubles of the scale by which the sum of the two programs is stretched, minus one.
    pub scale_mean: f64,
    /// Its standard deviation.
    pub scale_sd: f64,
    /// Share of the doubles that are buffering.
    pub buffering_share: f64,
    /// Share of the doubles that are neomorphic.
    pub neomorphic_share: f64,
    /// Standard deviation of the log of a gene's baseline expression.
    pub baseline_sd: f64,
    /// Mean of the log of a gene's negative-binomial dispersion φ (variance μ + φμ²).
    pub dispersion_log_mean: f64,
    /// Standard deviation of the log of the dispersion.
    pub dispersion_log_sd: f64,
    /// Mean number of counts per cell and gene: 1.62 gives the density of Replogle's K562 screen on any panel size.
    pub counts_per_gene: f64,
    /// Standard deviation of the log library size inside a lane.
    pub library_sd: f64,
    /// Standard deviation of the log lane factor of the library size.
    pub lane_sd: f64,
    /// Standard deviation of the log batch factor of a gene.
    pub batch_sd: f64,
    /// Amplitude (natural log) with which a cell's module activities move the genes of a module: co-expression.
    pub state_amplitude: f64,
    /// Standard deviation of the log baseline difference of a gene between a context and the first one.
    pub context_sd: f64,
    /// Seed of every draw.
    pub seed: u64,
}

/// Fewest cells a condition may have: half of them must still give a mean.
const LEAST_CELLS_PER_CONDITION: usize = 4;

impl SynthConfig {
    /// The configuration of a preset.
    pub fn preset(preset: Preset, world: World, seed: u64) -> Self {
        match preset {
            Preset::Demo => Self::demo(world, seed),
        }
    }

    fn demo(world: World, seed: u64) -> Self {
        Self {
            world,
            cells: 20_000,
            genes: 2_000,
            singles: 100,
            doubles: 20,
            control_share: 0.10,
            contexts: 1,
            batches: 3,
            modules: 20,
            program_density: 0.08,
            module_weight: 1.1,
            private_weight: 0.4,
            shared_weight: 0.6,
            null_share: 0.1,
            strength_log_mean: -0.55,
            strength_log_sd: 0.5,
            strength_max: 1.0,
            scale_mean: -0.05,
            scale_sd: 0.08,
            buffering_share: 0.15,
            neomorphic_share: 0.05,
            baseline_sd: 1.58,
            dispersion_log_mean: 0.2_f64.ln(),
            dispersion_log_sd: 0.4,
            counts_per_gene: 1.62,
            library_sd: 0.35,
            lane_sd: 0.1,
            batch_sd: 0.1,
            state_amplitude: 0.4,
            context_sd: 0.55,
            seed,
        }
    }

    /// The same store with `total` perturbations: one in six a double, as in the demo preset, the rest singles.
    #[must_use]
    pub fn with_perturbations(mut self, total: usize) -> Self {
        self.doubles = total / 6;
        self.singles = total - self.doubles;
        self
    }

    /// Number of perturbations, the control aside.
    pub fn perturbations(&self) -> usize {
        self.singles + self.doubles
    }

    /// Mean library size.
    pub(crate) fn mean_library(&self) -> f64 {
        self.counts_per_gene * self.genes as f64
    }

    /// Genes in the support of one program.
    pub(crate) fn program_size(&self) -> usize {
        ((self.program_density * self.genes as f64).round() as usize).clamp(1, self.genes)
    }

    /// Says whether the store can be made.
    ///
    /// # Errors
    /// [`SynthError::Config`] with the field, its value and what would be right.
    pub fn validate(&self) -> Result<(), SynthError> {
        self.validate_sizes()?;
        for (name, share) in [
            ("control_share", self.control_share),
            ("program_density", self.program_density),
            ("null_share", self.null_share),
            ("buffering_share", self.buffering_share),
            ("neomorphic_share", self.neomorphic_share),
            ("buffering_share + neomorphic_share", self.buffering_share + self.neomorphic_share),
        ] {
            require((0.0..=1.0).contains(&share), || format!("{name} is {share}, a share lies in 0..=1"))?;
        }
        for (name, scale) in [
            ("module_weight", self.module_weight),
            ("private_weight", self.private_weight),
            ("shared_weight", self.shared_weight),
            ("strength_log_sd", self.strength_log_sd),
            ("strength_max", self.strength_max),
            ("scale_sd", self.scale_sd),
            ("baseline_sd", self.baseline_sd),
            ("dispersion_log_sd", self.dispersion_log_sd),
            ("library_sd", self.library_sd),
            ("lane_sd", self.lane_sd),
            ("batch_sd", self.batch_sd),
            ("state_amplitude", self.state_amplitude),
            ("context_sd", self.context_sd),
        ] {
            require(scale.is_finite() && scale >= 0.0, || {
                format!("{name} is {scale}, it must be finite and not negative")
            })?;
        }
        for (name, value) in [
            ("strength_log_mean", self.strength_log_mean),
            ("scale_mean", self.scale_mean),
            ("dispersion_log_mean", self.dispersion_log_mean),
        ] {
            require(value.is_finite(), || format!("{name} is {value}, it must be finite"))?;
        }
        require(self.counts_per_gene.is_finite() && self.counts_per_gene > 0.0, || {
            format!("counts_per_gene is {}, it must be above 0", self.counts_per_gene)
        })
    }

    fn validate_sizes(&self) -> Result<(), SynthError> {
        require(self.modules > 0 && 2 * self.modules <= self.genes, || {
            format!("modules is {}, it must lie in 1..={} (half the genes)", self.modules, self.genes / 2)
        })?;
        // Targets are drawn from the better expressed half, less the ballast of W1.
        require(self.singles > 0 && 3 * self.singles <= self.genes, || {
            format!(
                "{} single perturbations need {} genes, there are {}: lower the perturbations or raise the genes",
                self.singles,
                3 * self.singles,
                self.genes
            )
        })?;
        let pairs = self.singles * (self.singles - 1) / 2;
        require(self.doubles <= pairs, || {
            format!("{} doubles, but {} singles make only {pairs} pairs", self.doubles, self.singles)
        })?;
        require(self.contexts > 0 && self.batches > 0, || "contexts and batches must be at least 1".into())?;
        require(self.control_share > 0.0 && self.control_share < 1.0, || {
            format!("control_share is {}, there must be controls and perturbed cells", self.control_share)
        })?;
        let controls = self.control_cells();
        let fewest = controls.min(self.cells.saturating_sub(controls) / self.perturbations());
        require(fewest >= LEAST_CELLS_PER_CONDITION, || {
            format!(
                "{} cells leave {fewest} for some of the {} perturbations and the control, {LEAST_CELLS_PER_CONDITION} \
                 are needed: raise the cells or lower the perturbations",
                self.cells,
                self.perturbations()
            )
        })
    }

    /// Number of control cells.
    pub(crate) fn control_cells(&self) -> usize {
        (self.control_share * self.cells as f64).round() as usize
    }
}

fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), SynthError> {
    if holds { Ok(()) } else { Err(SynthError::Config { message: message() }) }
}

#[cfg(test)]
mod tests {
    use super::{Preset, SynthConfig, World};

    #[test]
    fn the_demo_has_the_promised_sizes() {
        let config = SynthConfig::preset(Preset::Demo, World::W2, 0);
        assert_eq!((config.cells, config.genes, config.singles, config.doubles), (20_000, 2_000, 100, 20));
        assert!(config.validate().is_ok());
        assert_eq!(config.clone().with_perturbations(120), config);
    }

    #[test]
    fn a_preset_or_world_that_is_not_there_is_named_with_those_that_are() {
        let error = "replogle".parse::<Preset>().unwrap_err().to_string();
        assert!(error.contains("replogle") && error.contains("demo"), "{error}");
        let error = "W7".parse::<World>().unwrap_err().to_string();
        assert!(error.contains("W7") && error.contains("W2"), "{error}");
        assert_eq!("w1".parse::<World>().unwrap(), World::W1);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused_with_the_fix() {
        let demo = SynthConfig::preset(Preset::Demo, World::W2, 0);
        let too_few_cells = SynthConfig { cells: 300, ..demo.clone() }.validate().unwrap_err().to_string();
        assert!(too_few_cells.contains("300") && too_few_cells.contains("raise the cells"), "{too_few_cells}");
        let too_few_genes = SynthConfig { genes: 200, ..demo.clone() }.validate().unwrap_err().to_string();
        assert!(too_few_genes.contains("raise the genes"), "{too_few_genes}");
        let share = SynthConfig { null_share: 1.5, ..demo }.validate().unwrap_err().to_string();
        assert!(share.contains("null_share"), "{share}");
    }

    #[test]
    fn a_configuration_survives_json() {
        let config = SynthConfig::preset(Preset::Demo, World::W1, 9);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SynthConfig>(&text).unwrap(), config);
    }
}
