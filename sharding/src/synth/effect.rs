//! What every condition does to every gene, in natural log expression: planted once, before any cell.
//!
//! Guarantee: conditions come in the order of the labels (control first, the rest by name). In W1 the log fold
//! change of a double is the sum of its singles; from W2 on it departs from the sum as its
//! [`Interaction`](super::Interaction) says; in W0 no condition tells of another.

use std::collections::HashMap;

use super::condition::{Condition, Guide};
use super::config::SynthConfig;
use super::course::{Courses, Pace, ec50};
use super::lines::Lines;
use super::network::Network;
use super::panel::Panel;
use super::response::{Piece, add_pieces};
use super::stream::{Part, between, normal, stream};
use super::{double, single};

/// Guides of a condition, from W3 on.
pub(super) const GUIDES: usize = 2;

/// Conditions and what they do, in the order of the labels.
pub(super) struct Effects {
    pub(super) conditions: Vec<Condition>,
    pub(super) lines: Lines,
    pub(super) network: Network,
    pub(super) courses: Courses,
    pieces: Vec<Vec<Piece>>,
    /// Places of the two singles of a double.
    singles: Vec<Option<[usize; 2]>>,
}

impl Effects {
    pub(super) fn plant(config: &SynthConfig, panel: &Panel) -> Self {
        let (lines, network) = (Lines::plant(config, panel), Network::plant(config, panel));
        let singles = single::plant(config, panel);
        let mut planted = vec![(Condition::control(), Vec::new())];
        planted.extend(singles.iter().map(|single| single.describe(panel, &network)));
        planted.extend(double::plant(config, panel, &lines, &network, &singles));
        planted[1..].sort_by(|a, b| a.0.perturbation.name.cmp(&b.0.perturbation.name));
        let (mut conditions, pieces): (Vec<Condition>, Vec<Vec<Piece>>) = planted.into_iter().unzip();
        for (at, condition) in conditions.iter_mut().enumerate() {
            if config.world.has_guides() {
                condition.guides = guides(config, at, condition);
            }
            condition.ec50 = if at > 0 { ec50(config, at) } else { None };
        }
        let singles = places_of_singles(&conditions);
        Self { conditions, lines, network, courses: Courses::plant(config), pieces, singles }
    }

    /// Places of the two singles of a double.
    pub(super) fn singles_of(&self, condition: usize) -> Option<[usize; 2]> {
        self.singles[condition]
    }

    /// Share of its whole effect that a condition shows at a setting through a guide, if it is not escaped.
    pub(super) fn amplitude(&self, condition: usize, guide: usize, setting: usize) -> f32 {
        let condition = &self.conditions[condition];
        let factor = condition.guides.get(guide).map_or(1.0, |guide| guide.factor);
        factor * self.courses.dosed(setting, condition.ec50)
    }

    /// Share of the cells of a guide that escape it.
    pub(super) fn escape(&self, condition: usize, guide: usize) -> f32 {
        self.conditions[condition].guides.get(guide).map_or(0.0, |guide| guide.escape)
    }

    /// Adds the effect of a condition in a line: `amplitude` of every part, as far as its pace.
    pub(super) fn add_to(
        &self,
        panel: &Panel,
        line: usize,
        condition: usize,
        shown: (f32, Pace<'_>),
        target: &mut [f32],
    ) {
        add_pieces(&self.pieces[condition], (panel, &self.lines), line, shown, target);
    }

    /// The whole effect of a condition in a line.
    pub(super) fn whole(&self, panel: &Panel, line: usize, condition: usize) -> Vec<f32> {
        let mut log_fold = vec![0.0; panel.genes.len()];
        self.add_to(panel, line, condition, (1.0, Pace::WHOLE), &mut log_fold);
        log_fold
    }
}

fn places_of_singles(conditions: &[Condition]) -> Vec<Option<[usize; 2]>> {
    let places: HashMap<&str, usize> =
        conditions.iter().enumerate().map(|(at, one)| (one.perturbation.name.as_str(), at)).collect();
    let of_double = |one: &Condition| match one.perturbation.targets.as_slice() {
        [first, second] => Some([*places.get(first.as_str())?, *places.get(second.as_str())?]),
        _ => None,
    };
    conditions.iter().map(of_double).collect()
}

/// The guides of a condition; those of the control do nothing.
fn guides(config: &SynthConfig, at: usize, condition: &Condition) -> Vec<Guide> {
    let mut random = stream(config.seed, Part::Guide, at);
    (1..=GUIDES)
        .map(|number| {
            let factor = (config.guides.jitter_sd * normal(&mut random)).exp();
            let escape = between(&mut random, config.guides.escape_least, config.guides.escape_most);
            let left = condition.knockdown.iter().map(|&lost| (1.0 - f64::from(lost)).powf(factor));
            Guide {
                name: format!("{}_g{number}", condition.perturbation.name),
                factor: factor as f32,
                knockdown: left.map(|left| (1.0 - left) as f32).collect(),
                escape: if at == 0 { 0.0 } else { escape as f32 },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Effects;
    use crate::synth::condition::InteractionClass;
    use crate::synth::panel::Panel;
    use crate::synth::{Preset, SynthConfig, World};

    struct Planted {
        config: SynthConfig,
        panel: Panel,
        effects: Effects,
    }

    impl Planted {
        fn new(world: World) -> Self {
            let config = SynthConfig { genes: 900, ..SynthConfig::preset(Preset::Demo, world, 5) };
            let panel = Panel::plant(&config);
            let effects = Effects::plant(&config, &panel);
            Self { config, panel, effects }
        }

        fn log_fold(&self, condition: usize) -> Vec<f64> {
            self.effects.whole(&self.panel, 0, condition).into_iter().map(f64::from).collect()
        }

        fn doubles(&self) -> Vec<(usize, [usize; 2])> {
            (0..self.effects.conditions.len()).filter_map(|at| Some((at, self.effects.singles_of(at)?))).collect()
        }
    }

    fn pearson(a: &[f64], b: &[f64]) -> f64 {
        crate::synth::pearson(a, b)
    }

    #[test]
    fn conditions_are_in_the_order_of_the_labels_and_targets_are_genes() {
        let planted = Planted::new(World::W4);
        let conditions = &planted.effects.conditions;
        let names: Vec<&str> = conditions.iter().map(|one| one.perturbation.name.as_str()).collect();
        assert_eq!(names[0], crate::labels::CONTROL);
        assert!(names[1..].is_sorted() && names.len() == 1 + planted.config.perturbations());
        let mut targets = conditions.iter().flat_map(|one| &one.perturbation.targets);
        assert!(targets.all(|target| planted.panel.genes.contains(target)));
        assert_eq!(planted.doubles().len(), planted.config.doubles);
        assert!(planted.log_fold(0).iter().all(|&fold| fold == 0.0));
    }

    #[test]
    fn classes_of_doubles_have_their_planted_shares() {
        let conditions = Planted::new(World::W2).effects.conditions;
        let count =
            |class| conditions.iter().filter(|one| one.interaction.is_some_and(|found| found.class == class)).count();
        let counts = [InteractionClass::Additive, InteractionClass::Buffering, InteractionClass::Neomorphic].map(count);
        assert_eq!(counts, [16, 3, 1]);
    }

    #[test]
    fn a_double_of_the_linear_world_is_the_sum_of_its_singles() {
        let planted = Planted::new(World::W1);
        for (double, singles) in planted.doubles() {
            let [first, second] = singles.map(|single| planted.log_fold(single));
            for (gene, both) in planted.log_fold(double).into_iter().enumerate() {
                assert!((both - first[gene] - second[gene]).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn every_class_departs_from_the_sum_in_its_own_way() {
        let planted = Planted::new(World::W3);
        for (double, singles) in planted.doubles() {
            let interaction = planted.effects.conditions[double].interaction.unwrap();
            let targets = planted.effects.conditions[double].perturbation.targets.clone();
            let [first, second] = singles.map(|single| planted.log_fold(single));
            let mut novel = 0;
            for (gene, both) in planted.log_fold(double).into_iter().enumerate() {
                if targets.contains(&planted.panel.genes[gene]) {
                    continue;
                }
                let (a, b) = (first[gene], second[gene]);
                let overlap = if a * b > 0.0 { a.signum() * a.abs().min(b.abs()) } else { 0.0 };
                let rest =
                    both - (1.0 + f64::from(interaction.scale)) * (a + b) + f64::from(interaction.buffering) * overlap;
                novel += usize::from(rest.abs() > 1e-5);
            }
            let class = interaction.class;
            assert_eq!(class == InteractionClass::Buffering, (0.3..=0.8).contains(&interaction.buffering));
            assert_eq!(class == InteractionClass::Neomorphic, (17..=45).contains(&novel), "{class:?}: {novel}");
        }
    }

    #[test]
    fn effects_without_information_are_uncorrelated() {
        let planted = Planted::new(World::W0);
        let folds = (0..planted.effects.conditions.len()).map(|at| planted.log_fold(at));
        let active: Vec<Vec<f64>> = folds.filter(|fold| fold.iter().any(|&value| value != 0.0)).collect();
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (at, first) in active.iter().enumerate() {
            for second in &active[..at] {
                sum += pearson(first, second);
                pairs += 1.0;
            }
        }
        assert!(f64::abs(sum / pairs) < 0.005, "mean correlation {}", sum / pairs);
    }

    #[test]
    fn perturbations_of_one_module_resemble_each_other_more() {
        for world in [World::W2, World::W4] {
            let planted = Planted::new(world);
            let conditions = &planted.effects.conditions;
            let singles: Vec<(u32, Vec<f64>)> = (1..conditions.len())
                .filter(|&at| matches!(conditions[at].strength[..], [s] if s > 0.0))
                .map(|at| (conditions[at].module[0], planted.log_fold(at)))
                .collect();
            let (mut same, mut other) = (Vec::new(), Vec::new());
            for (at, (module, first)) in singles.iter().enumerate() {
                for (home, second) in &singles[..at] {
                    let alike = if module == home { &mut same } else { &mut other };
                    alike.push(pearson(first, second));
                }
            }
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            assert!(mean(&same) > mean(&other) + 0.25, "{world}: {} {}", mean(&same), mean(&other));
        }
    }

    #[test]
    fn targets_fall_or_rise_and_guides_differ() {
        let mut config = SynthConfig::preset(Preset::Demo, World::W3, 5);
        for activation in [false, true] {
            config.activation = activation;
            let panel = Panel::plant(&config);
            let effects = Effects::plant(&config, &panel);
            for (at, condition) in effects.conditions.iter().enumerate().skip(1) {
                assert_eq!(condition.knockdown.iter().any(|&lost| lost < 0.0), activation);
                let [first, second] = &condition.guides[..] else { panic!("two guides") };
                assert!(first.escape != second.escape && first.factor != second.factor);
                assert!((0.05..=0.3).contains(&first.escape) && first.name.ends_with("_g1"));
                for (lost, whole) in first.knockdown.iter().zip(&condition.knockdown) {
                    let left = (1.0 - whole).powf(effects.amplitude(at, 0, 0));
                    assert!((1.0 - lost - left).abs() < 1e-4 * left.max(1.0));
                }
            }
        }
    }
}
