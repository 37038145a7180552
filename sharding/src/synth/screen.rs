//! Side channel: a second screen, of some of the single perturbations in a line that is not in the store.
//!
//! Its line shares the modules, the private effects and the network with the lines of the store, and has programs of
//! its own beside the modules' with weight κ. What it tells of a gene's log fold change is noisy.
//!
//! Guarantee: a row is a pure function of configuration and condition; in W0 it tells nothing of the store.

use super::config::SynthConfig;
use super::course::Pace;
use super::effect::Effects;
use super::panel::Panel;
use super::response::add_pieces;
use super::single::{independent, strength};
use super::stream::{Part, choose, normal, stream};

/// Which conditions the second screen covers, in the order of the labels.
pub(super) fn covered(config: &SynthConfig, effects: &Effects) -> Vec<u32> {
    let singles: Vec<u32> = (0..)
        .zip(&effects.conditions)
        .filter(|(_, condition)| condition.perturbation.targets.len() == 1)
        .map(|(at, _)| at)
        .collect();
    let count = (config.screen.coverage * singles.len() as f64).round() as usize;
    let mut covered = choose(&mut stream(config.seed, Part::Screen, 0), &singles, count);
    covered.sort_unstable();
    covered
}

/// Log fold change of every gene in the second screen.
pub(super) fn row(config: &SynthConfig, panel: &Panel, effects: &Effects, condition: usize) -> Vec<f32> {
    let mut random = stream(config.seed, Part::Screen, condition);
    let mut row = vec![0.0; config.genes];
    if config.world.has_information() {
        let whole = (1.0, Pace::WHOLE);
        effects.add_to(panel, effects.lines.of_screen(), condition, whole, &mut row);
    } else {
        let size = strength(config, &mut random);
        let own = [independent(config, panel, &mut random, size)];
        add_pieces(&own, (panel, &effects.lines), 0, (1.0, Pace::WHOLE), &mut row);
    }
    for value in &mut row {
        *value += (config.screen.noise * normal(&mut random)) as f32;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::{covered, row};
    use crate::synth::effect::Effects;
    use crate::synth::panel::Panel;
    use crate::synth::{Preset, SynthConfig, World, pearson};

    /// Mean correlation of the rows of the second screen with the first screen, over active singles.
    fn agreement(world: World, kappa: f64, noise: f64) -> f64 {
        let mut config = SynthConfig::preset(Preset::Demo, world, 8);
        (config.screen.coverage, config.screen.kappa, config.screen.noise) = (1.0, kappa, noise);
        let panel = Panel::plant(&config);
        let effects = Effects::plant(&config, &panel);
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        let covered = covered(&config, &effects);
        assert_eq!(covered.len(), config.singles);
        let active = covered.iter().map(|&at| at as usize).filter(|&at| effects.conditions[at].strength[0] > 0.0);
        let found: Vec<f64> = active
            .map(|at| pearson(&wide(row(&config, &panel, &effects, at)), &wide(effects.whole(&panel, 0, at))))
            .collect();
        found.iter().sum::<f64>() / found.len() as f64
    }

    #[test]
    fn the_second_screen_agrees_with_the_first_as_kappa_and_noise_allow() {
        assert!((agreement(World::W2, 0.0, 0.0) - 1.0).abs() < 1e-5);
        let (near, far) = (agreement(World::W2, 0.35, 0.0), agreement(World::W2, 1.0, 0.0));
        assert!(near > far + 0.1 && near < 0.99, "{near} {far}");
        // Module, shared and private parts have weights 1.1, 0.6 and 0.4 on 8 % of the genes each; the line's own
        // programs have κ · 1.1, so the squared correlation is S / (S + κ² · 1.21) with S about 1.21 + 0.36 + 0.16,
        // a little more where the fall of the target counts.
        for (kappa, found) in [(0.35, near), (1.0, far)] {
            let expected = (1.73_f64 / (1.73 + kappa * kappa * 1.21)).sqrt();
            assert!((found - expected).abs() < 0.06, "{found} for {expected}");
        }
        assert!(agreement(World::W2, 0.0, 0.2) < 0.85);
        assert!(agreement(World::W0, 0.0, 0.01).abs() < 0.02, "in W0 it tells nothing");
    }

    #[test]
    fn coverage_is_as_asked_and_may_be_none() {
        let mut config = SynthConfig::preset(Preset::Demo, World::W2, 8);
        let effects = Effects::plant(&config, &Panel::plant(&config));
        for (coverage, count) in [(0.0, 0), (0.25, 25), (1.0, 100)] {
            config.screen.coverage = coverage;
            assert_eq!(covered(&config, &effects).len(), count);
        }
    }
}
