//! Named sets of sizes and strengths.

use std::fmt;
use std::str::FromStr;

use super::SynthError;
use super::config::SynthConfig;
use super::features::{
    CourseConfig, CycleConfig, GraphConfig, GuideConfig, LineConfig, NetworkConfig, ProteinConfig, ScreenConfig,
};
use super::world::World;

/// A named set of sizes and strengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// 20,000 cells × 2,000 genes, 100 single and 20 double perturbations, effects strong enough to learn in minutes.
    Demo,
    /// 60,000 cells × 2,000 genes, 320 single and 40 double perturbations, effects as weak as in Replogle's screen of
    /// essential genes in K562.
    Medium,
    /// 2,500,000 cells × 8,192 genes in two cell lines, 8,000 single and 1,866 double perturbations: the size of
    /// Replogle's genome-wide screen.
    Replogle,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 3] = [Self::Demo, Self::Medium, Self::Replogle];

    /// The world that a preset is meant for.
    pub fn world(self) -> World {
        match self {
            Self::Demo => World::W2,
            Self::Medium => World::W4,
            Self::Replogle => World::W5,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Demo => "demo",
            Self::Medium => "medium",
            Self::Replogle => "replogle",
        })
    }
}

impl FromStr for Preset {
    type Err = SynthError;

    fn from_str(name: &str) -> Result<Self, SynthError> {
        let named = Self::ALL.into_iter().find(|preset| preset.to_string() == name);
        named.ok_or_else(|| SynthError::UnknownPreset { name: name.into() })
    }
}

impl SynthConfig {
    /// The configuration of a preset.
    pub fn preset(preset: Preset, world: World, seed: u64) -> Self {
        match preset {
            Preset::Demo => Self::demo(world, seed),
            Preset::Medium => Self::medium(world, seed),
            Preset::Replogle => Self::replogle(world, seed),
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
            contexts: if world.has_specific_effects() { 3 } else { 1 },
            batches: 3,
            confounding: 0.0,
            modules: 20,
            program_density: 0.08,
            module_weight: 1.1,
            private_weight: 0.4,
            shared_weight: 0.6,
            target_share: 0.5,
            activation: false,
            null_share: 0.1,
            strength_log_mean: -0.55,
            strength_log_sd: 0.5,
            strength_max: 1.0,
            doubled_share: 0.9,
            scale_mean: -0.05,
            scale_sd: 0.08,
            buffering_share: 0.15,
            neomorphic_share: 0.05,
            novelty: 1.0,
            baseline_sd: 1.58,
            dispersion_log_mean: 0.2_f64.ln(),
            dispersion_log_sd: 0.4,
            counts_per_gene: 1.62,
            library_sd: 0.35,
            lane_sd: 0.1,
            batch_sd: 0.1,
            coexpression: 0.3,
            context_sd: 0.55,
            guides: GuideConfig::default(),
            cycle: CycleConfig::default(),
            network: NetworkConfig::default(),
            lines: LineConfig::default(),
            course: CourseConfig::default(),
            protein: ProteinConfig::default(),
            graph: GraphConfig::default(),
            screen: ScreenConfig::default(),
            seed,
        }
    }

    /// Strengths were set so that the gates of the generator hold at 147 cells a condition. The spread of the
    /// baselines is a little below the 1.55 to 1.6 that fit real densities alone, for modules and cycle add to it; the
    /// targets are the better expressed genes, as those of a screen of essential genes are.
    fn medium(world: World, seed: u64) -> Self {
        Self {
            cells: 60_000,
            singles: 320,
            doubles: 40,
            control_share: 0.12,
            batches: 4,
            modules: 30,
            shared_weight: 0.9,
            target_share: 0.6,
            null_share: 0.2,
            strength_log_mean: -2.05,
            strength_log_sd: 1.18,
            strength_max: 1.0,
            doubled_share: 0.15,
            novelty: 0.7,
            baseline_sd: 1.45,
            coexpression: 0.2,
            ..Self::demo(world, seed)
        }
    }

    /// Weaker than [`SynthConfig::medium`]: targets are nearly all genes, most of which are not essential.
    fn replogle(world: World, seed: u64) -> Self {
        Self {
            cells: 2_500_000,
            genes: 8_192,
            singles: 8_000,
            doubles: 1_866,
            control_share: 0.04,
            contexts: 2,
            batches: 16,
            shared_weight: 1.0,
            target_share: 1.0,
            strength_log_mean: -2.2,
            strength_log_sd: 1.1,
            strength_max: 0.7,
            doubled_share: 0.2,
            baseline_sd: 1.62,
            ..Self::medium(world, seed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Preset, SynthConfig, World};

    #[test]
    fn presets_have_the_promised_sizes_in_every_world_that_they_can() {
        for (preset, cells, genes, singles, doubles) in [
            (Preset::Demo, 20_000, 2_000, 100, 20),
            (Preset::Medium, 60_000, 2_000, 320, 40),
            (Preset::Replogle, 2_500_000, 8_192, 8_000, 1_866),
        ] {
            assert_eq!(preset.to_string().parse::<Preset>().unwrap(), preset);
            let config = SynthConfig::preset(preset, preset.world(), 0);
            assert_eq!((config.cells, config.genes, config.singles, config.doubles), (cells, genes, singles, doubles));
            for world in World::ALL {
                let fits = SynthConfig::preset(preset, world, 0).validate().is_ok();
                assert_eq!(fits, world != World::W1 || preset != Preset::Replogle, "{preset} {world}");
            }
        }
        let demo = SynthConfig::preset(Preset::Demo, World::W2, 0);
        assert_eq!(demo.clone().with_perturbations(120), demo);
    }

    #[test]
    fn a_preset_that_is_not_there_is_named_with_those_that_are() {
        let error = "norman".parse::<Preset>().unwrap_err().to_string();
        assert!(Preset::ALL.iter().all(|preset| error.contains(&preset.to_string())), "{error}");
        assert!(error.contains("norman"), "{error}");
    }
}
