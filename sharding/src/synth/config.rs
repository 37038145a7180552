//! What is planted: sizes, strengths and noise of a planted-truth store.
//!
//! Guarantee: a [`SynthConfig`] that passes [`SynthConfig::validate`] can be generated, and the
//! configuration alone (its seed included) decides every byte of the store.

use serde::{Deserialize, Serialize};

use super::SynthError;
use super::check::{require, require_scale, require_share};
use super::features::{
    CourseConfig, CycleConfig, GraphConfig, GuideConfig, LineConfig, NetworkConfig, ProteinConfig, ScreenConfig,
};
use super::world::World;

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
    /// Share of a perturbation's cells that lie in one batch of its own; 0 deals them evenly, as a pooled screen
    /// does.
    pub confounding: f64,
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
    /// Share of the genes, best expressed first, from which targets are drawn.
    pub target_share: f64,
    /// Whether targets are activated (by 2 to 10 times) instead of knocked down.
    pub activation: bool,
    /// Share of the perturbations without any effect but on their target.
    pub null_share: f64,
    /// Mean of the log of the strength of an effect.
    pub strength_log_mean: f64,
    /// Standard deviation of the log of the strength of an effect.
    pub strength_log_sd: f64,
    /// Largest strength.
    pub strength_max: f64,
    /// Share of the singles, strongest first, that are combined into doubles.
    pub doubled_share: f64,
    /// Mean over doubles of the scale by which the sum of the two programs is stretched, minus one.
    pub scale_mean: f64,
    /// Its standard deviation.
    pub scale_sd: f64,
    /// Share of the doubles that are buffering.
    pub buffering_share: f64,
    /// Share of the doubles that are neomorphic.
    pub neomorphic_share: f64,
    /// Largest strength of an effect that neither single has; the least is half of it.
    pub novelty: f64,
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
    /// Co-expression: share of the variance of a gene's log expression between control cells, counting noise and
    /// library aside, that the activity of its home module explains (R², mean over genes).
    pub coexpression: f64,
    /// Standard deviation of the log baseline difference of a gene between a context and the first one.
    pub context_sd: f64,
    /// Guides and penetrance.
    pub guides: GuideConfig,
    /// The cell cycle.
    pub cycle: CycleConfig,
    /// The gene network.
    pub network: NetworkConfig,
    /// Effects of a cell line's own.
    pub lines: LineConfig,
    /// Dose levels and time points.
    pub course: CourseConfig,
    /// Antibody tags.
    pub protein: ProteinConfig,
    /// Side channel: a graph of the genes.
    pub graph: GraphConfig,
    /// Side channel: a second screen.
    pub screen: ScreenConfig,
    /// Seed of every draw.
    pub seed: u64,
}

/// Fewest cells a condition may have: half of them must still give a mean.
const LEAST_CELLS_PER_CONDITION: usize = 4;

impl SynthConfig {
    /// The same store with `total` perturbations, as many of them doubles in proportion.
    #[must_use]
    pub fn with_perturbations(mut self, total: usize) -> Self {
        self.doubles = total * self.doubles / self.perturbations();
        self.singles = total - self.doubles;
        self
    }

    /// Number of perturbations, the control aside.
    pub fn perturbations(&self) -> usize {
        self.singles + self.doubles
    }

    /// Mean library size.
    pub(super) fn mean_library(&self) -> f64 {
        self.counts_per_gene * self.genes as f64
    }

    /// Genes in the support of one program.
    pub(super) fn program_size(&self) -> usize {
        ((self.program_density * self.genes as f64).round() as usize).clamp(1, self.genes)
    }

    /// Genes from which targets are drawn.
    pub(super) fn target_pool(&self) -> usize {
        (self.target_share * self.genes as f64).round() as usize
    }

    /// Number of control cells.
    pub(super) fn control_cells(&self) -> usize {
        (self.control_share * self.cells as f64).round() as usize
    }

    /// Says whether the store can be made.
    ///
    /// # Errors
    /// [`SynthError::Config`] with the field, its value and what would be right.
    pub fn validate(&self) -> Result<(), SynthError> {
        self.validate_sizes()?;
        self.validate_strengths()?;
        self.guides.validate()?;
        self.cycle.validate()?;
        self.network.validate()?;
        self.lines.validate()?;
        self.course.validate()?;
        self.protein.validate(self.genes)?;
        self.graph.validate()?;
        self.screen.validate()
    }

    fn validate_strengths(&self) -> Result<(), SynthError> {
        for (name, share) in [
            ("control_share", self.control_share),
            ("confounding", self.confounding),
            ("program_density", self.program_density),
            ("target_share", self.target_share),
            ("null_share", self.null_share),
            ("doubled_share", self.doubled_share),
            ("buffering_share", self.buffering_share),
            ("neomorphic_share", self.neomorphic_share),
            ("coexpression", self.coexpression),
            ("buffering_share + neomorphic_share", self.buffering_share + self.neomorphic_share),
        ] {
            require_share(name, share)?;
        }
        for (name, scale) in [
            ("module_weight", self.module_weight),
            ("private_weight", self.private_weight),
            ("shared_weight", self.shared_weight),
            ("strength_log_sd", self.strength_log_sd),
            ("strength_max", self.strength_max),
            ("scale_sd", self.scale_sd),
            ("novelty", self.novelty),
            ("baseline_sd", self.baseline_sd),
            ("dispersion_log_sd", self.dispersion_log_sd),
            ("library_sd", self.library_sd),
            ("lane_sd", self.lane_sd),
            ("batch_sd", self.batch_sd),
            ("context_sd", self.context_sd),
        ] {
            require_scale(name, scale)?;
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
        // In W1 the best expressed genes, its ballast, are no targets; they are well below a third.
        let room = if self.world.has_counts() { self.target_pool() } else { self.target_pool().min(self.genes / 3) };
        require(self.singles > 0 && self.singles <= room, || {
            format!(
                "{} single perturbations, but there are only {room} genes to target: lower the perturbations or raise \
                 the genes or target_share ({})",
                self.singles, self.target_share
            )
        })?;
        let pairs = self.singles * (self.singles - 1) / 2;
        require(self.doubles <= pairs, || {
            format!("{} doubles, but {} singles make only {pairs} pairs", self.doubles, self.singles)
        })?;
        require(self.contexts > 0 && self.batches > 0, || "contexts and batches must be at least 1".into())?;
        require(self.contexts > 1 || !self.world.has_specific_effects(), || {
            format!("{} needs at least 2 contexts, for its effects differ between them", self.world)
        })?;
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
}

#[cfg(test)]
mod tests {
    use crate::synth::{Preset, SynthConfig, World};

    #[test]
    fn sizes_that_do_not_fit_are_refused_with_the_fix() {
        let demo = SynthConfig::preset(Preset::Demo, World::W2, 0);
        let refused = |config: SynthConfig, words: [&str; 2]| {
            let error = config.validate().unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        refused(SynthConfig { cells: 300, ..demo.clone() }, ["300", "raise the cells"]);
        refused(SynthConfig { genes: 150, ..demo.clone() }, ["75 genes", "raise the genes"]);
        refused(SynthConfig { genes: 250, world: World::W1, ..demo.clone() }, ["83 genes", "raise the genes"]);
        refused(SynthConfig { null_share: 1.5, ..demo.clone() }, ["null_share", "1.5"]);
        refused(SynthConfig { world: World::W5, ..demo.clone() }, ["W5", "2 contexts"]);
        let mut falling = demo;
        falling.course.doses = vec![2.0, 1.0];
        refused(falling, ["course.doses", "must rise"]);
    }
}
