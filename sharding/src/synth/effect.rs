//! What every condition does to every gene, in natural log fold change: planted once, before any cell.
//!
//! Guarantee: conditions come in the order of the labels (control first, the rest by name). In W1 the log fold
//! change of a double is the sum of its singles; in W2 it departs from the sum as its [`Interaction`] says; in
//! W0 no condition tells of another.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::labels::Perturbation;
use crate::philox::Philox;

use super::config::{SynthConfig, World};
use super::panel::{Panel, Program};
use super::stream::{Part, choose, efficiency, normal, stream};

/// How the effect of a double departs from the sum of its singles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InteractionClass {
    /// The sum, stretched by a common scale.
    Additive,
    /// What both singles do alike counts less than twice.
    Buffering,
    /// Genes respond that respond to neither single.
    Neomorphic,
    /// Unrelated to its singles (W0).
    Independent,
}

/// The planted interaction of a double.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// Class.
    pub class: InteractionClass,
    /// Stretch of the sum of the two programs, minus one.
    pub scale: f32,
    /// Share of the overlap that is lost.
    pub buffering: f32,
    /// Strength of the effect that neither single has.
    pub novelty: f32,
}

/// One condition as planted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The perturbation.
    #[serde(flatten)]
    pub perturbation: Perturbation,
    /// Strength of the effect of every target; 0 for a perturbation without effect.
    pub strength: Vec<f32>,
    /// Home module of every target.
    pub module: Vec<u32>,
    /// Share of its transcripts that every target loses.
    pub knockdown: Vec<f32>,
    /// Interaction of a double.
    pub interaction: Option<Interaction>,
}

/// Conditions and their log fold changes, in the order of the labels.
pub(super) struct Effects {
    pub(super) conditions: Vec<Condition>,
    pub(super) log_fold: Vec<Vec<f64>>,
}

/// A single perturbation: its response without the fall of the target, and that fall.
struct Single {
    target: usize,
    strength: f64,
    knockdown: f64,
    response: Vec<f64>,
}

impl Effects {
    pub(super) fn plant(config: &SynthConfig, panel: &Panel) -> Self {
        let singles: Vec<Single> =
            targets(config, panel).into_iter().map(|target| single(config, panel, target as usize)).collect();
        let mut planted = vec![(control(), vec![0.0; config.genes])];
        planted.extend(singles.iter().map(|single| describe_single(panel, single)));
        let pairs = pairs(config, &singles);
        for (at, ((first, second), class)) in pairs.into_iter().zip(classes(config)).enumerate() {
            planted.push(double(config, panel, at, [&singles[first], &singles[second]], class));
        }
        planted[1..].sort_by(|a, b| a.0.perturbation.name.cmp(&b.0.perturbation.name));
        let (conditions, log_fold) = planted.into_iter().unzip();
        Self { conditions, log_fold }
    }

    /// Places of the two singles of every double: (double, first, second).
    pub(super) fn doubles(&self) -> Vec<(usize, usize, usize)> {
        let places: HashMap<&str, usize> =
            self.conditions.iter().enumerate().map(|(at, one)| (one.perturbation.name.as_str(), at)).collect();
        self.conditions
            .iter()
            .enumerate()
            .filter_map(|(at, one)| match one.perturbation.targets.as_slice() {
                [first, second] => Some((at, *places.get(first.as_str())?, *places.get(second.as_str())?)),
                _ => None,
            })
            .collect()
    }
}

fn control() -> Condition {
    let perturbation = Perturbation::control();
    Condition { perturbation, strength: Vec::new(), module: Vec::new(), knockdown: Vec::new(), interaction: None }
}

/// Targets from the better expressed half of the genes that may respond, as in a screen of essential genes.
fn targets(config: &SynthConfig, panel: &Panel) -> Vec<u32> {
    let mut pool = panel.responders.clone();
    pool.sort_by(|a, b| panel.log_share[0][*b as usize].total_cmp(&panel.log_share[0][*a as usize]));
    pool.truncate((config.genes / 2).min(pool.len()).max(config.singles));
    choose(&mut stream(config.seed, Part::Targets, 0), &pool, config.singles)
}

fn single(config: &SynthConfig, panel: &Panel, target: usize) -> Single {
    let mut random = stream(config.seed, Part::Single, target);
    let strength = strength(config, &mut random);
    let knockdown = if config.world == World::W0 { 0.0 } else { efficiency(&mut random) };
    let response = if config.world == World::W0 {
        independent(config, panel, &mut random, strength)
    } else {
        let mut response = vec![0.0; config.genes];
        panel.programs[panel.module[target] as usize].add_to(&mut response, strength * config.module_weight);
        panel.shared.add_to(&mut response, strength * config.shared_weight);
        let private = Program::random(&mut random, &panel.responders, config.program_size());
        private.add_to(&mut response, strength * config.private_weight);
        response
    };
    Single { target, strength, knockdown, response }
}

fn strength(config: &SynthConfig, random: &mut Philox) -> f64 {
    let null = random.next_f64() < config.null_share;
    let strength = (config.strength_log_mean + config.strength_log_sd * normal(random)).exp().min(config.strength_max);
    if null { 0.0 } else { strength }
}

/// An effect nothing else tells of, as large as the planted programs together would be.
fn independent(config: &SynthConfig, panel: &Panel, random: &mut Philox, strength: f64) -> Vec<f64> {
    let weight = [config.module_weight, config.private_weight, config.shared_weight]
        .iter()
        .map(|weight| weight * weight)
        .sum::<f64>()
        .sqrt();
    let mut response = vec![0.0; config.genes];
    Program::random(random, &panel.responders, config.program_size()).add_to(&mut response, strength * weight);
    response
}

fn describe_single(panel: &Panel, single: &Single) -> (Condition, Vec<f64>) {
    let condition = Condition {
        perturbation: Perturbation::of([panel.genes[single.target].clone()]),
        strength: vec![single.strength as f32],
        module: vec![panel.module[single.target]],
        knockdown: vec![single.knockdown as f32],
        interaction: None,
    };
    let mut log_fold = single.response.clone();
    log_fold[single.target] += (1.0 - single.knockdown).ln();
    (condition, log_fold)
}

/// Pairs of singles for the doubles: of two active singles while there are such.
fn pairs(config: &SynthConfig, singles: &[Single]) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(usize, usize)> =
        (0..singles.len()).flat_map(|second| (0..second).map(move |first| (first, second))).collect();
    stream(config.seed, Part::Pairs, 0).shuffle(&mut pairs);
    pairs.sort_by_key(|&(first, second)| singles[first].strength == 0.0 || singles[second].strength == 0.0);
    pairs.truncate(config.doubles);
    pairs
}

/// Classes of the doubles, by quota.
fn classes(config: &SynthConfig) -> Vec<InteractionClass> {
    let quota = |share: f64| (share * config.doubles as f64).round() as usize;
    let (buffering, neomorphic) = match config.world {
        World::W0 => return vec![InteractionClass::Independent; config.doubles],
        World::W1 => (0, 0),
        World::W2 => (quota(config.buffering_share), quota(config.neomorphic_share)),
    };
    let mut classes = vec![InteractionClass::Buffering; buffering];
    classes.resize(buffering + neomorphic, InteractionClass::Neomorphic);
    classes.resize(config.doubles, InteractionClass::Additive);
    stream(config.seed, Part::Pairs, 1).shuffle(&mut classes);
    classes
}

fn double(
    config: &SynthConfig,
    panel: &Panel,
    at: usize,
    mut singles: [&Single; 2],
    class: InteractionClass,
) -> (Condition, Vec<f64>) {
    singles.sort_by_key(|single| single.target);
    let mut random = stream(config.seed, Part::Double, at);
    let interaction = interaction(config, class, &mut random);
    let mut log_fold = if class == InteractionClass::Independent {
        let size = strength(config, &mut random).max(singles[0].strength).max(singles[1].strength);
        independent(config, panel, &mut random, size)
    } else {
        combine(&singles[0].response, &singles[1].response, interaction)
    };
    if interaction.novelty > 0.0 {
        // 2 to 5 % of the genes.
        let share = 0.02 + 0.03 * random.next_f64();
        let size = ((share * config.genes as f64).round() as usize).max(1);
        Program::random(&mut random, &panel.responders, size).add_to(&mut log_fold, f64::from(interaction.novelty));
    }
    for single in singles {
        log_fold[single.target] += (1.0 - single.knockdown).ln();
    }
    let condition = Condition {
        perturbation: Perturbation::of(singles.map(|single| panel.genes[single.target].clone())),
        strength: singles.map(|single| single.strength as f32).to_vec(),
        module: singles.map(|single| panel.module[single.target]).to_vec(),
        knockdown: singles.map(|single| single.knockdown as f32).to_vec(),
        interaction: Some(interaction),
    };
    (condition, log_fold)
}

fn interaction(config: &SynthConfig, class: InteractionClass, random: &mut Philox) -> Interaction {
    let scale = if config.world == World::W2 { config.scale_mean + config.scale_sd * normal(random) } else { 0.0 };
    let (share, size) = (random.next_f64(), random.next_f64());
    let buffering = if class == InteractionClass::Buffering { 0.3 + 0.5 * share } else { 0.0 };
    let novelty = if class == InteractionClass::Neomorphic { 0.5 + 0.5 * size } else { 0.0 };
    Interaction { class, scale: scale as f32, buffering: buffering as f32, novelty: novelty as f32 }
}

/// (1 + scale)(a + b) − buffering · overlap(a, b), where the overlap of two responses of one sign is the smaller.
fn combine(first: &[f64], second: &[f64], interaction: Interaction) -> Vec<f64> {
    let (stretch, buffering) = (1.0 + f64::from(interaction.scale), f64::from(interaction.buffering));
    first
        .iter()
        .zip(second)
        .map(|(&a, &b)| {
            let overlap = if a * b > 0.0 { a.signum() * a.abs().min(b.abs()) } else { 0.0 };
            stretch * (a + b) - buffering * overlap
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Effects, Interaction, InteractionClass, combine};
    use crate::synth::config::{Preset, SynthConfig, World};
    use crate::synth::panel::Panel;
    use crate::synth::pearson;

    fn plant(world: World) -> (SynthConfig, Panel, Effects) {
        let config = SynthConfig { genes: 900, ..SynthConfig::preset(Preset::Demo, world, 5) };
        let panel = Panel::plant(&config);
        let effects = Effects::plant(&config, &panel);
        (config, panel, effects)
    }

    #[test]
    fn conditions_are_in_the_order_of_the_labels_and_targets_are_genes() {
        let (config, panel, effects) = plant(World::W2);
        let names: Vec<&str> = effects.conditions.iter().map(|one| one.perturbation.name.as_str()).collect();
        assert_eq!(names[0], crate::labels::CONTROL);
        assert!(names[1..].is_sorted() && names.len() == 1 + config.perturbations());
        assert!(
            effects
                .conditions
                .iter()
                .flat_map(|one| &one.perturbation.targets)
                .all(|target| panel.genes.contains(target))
        );
        assert_eq!(effects.doubles().len(), config.doubles);
        assert!(effects.log_fold[0].iter().all(|&fold| fold == 0.0));
    }

    #[test]
    fn classes_of_doubles_have_their_planted_shares() {
        let (_, _, effects) = plant(World::W2);
        let count = |class| {
            effects.conditions.iter().filter(|one| one.interaction.is_some_and(|found| found.class == class)).count()
        };
        let counts = [InteractionClass::Additive, InteractionClass::Buffering, InteractionClass::Neomorphic].map(count);
        assert_eq!(counts, [16, 3, 1]);
    }

    #[test]
    fn a_double_of_the_linear_world_is_the_sum_of_its_singles() {
        let (_, _, effects) = plant(World::W1);
        for (double, first, second) in effects.doubles() {
            for gene in 0..900 {
                let sum = effects.log_fold[first][gene] + effects.log_fold[second][gene];
                assert!((effects.log_fold[double][gene] - sum).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn effects_without_information_are_uncorrelated() {
        let (_, _, effects) = plant(World::W0);
        let active: Vec<&Vec<f64>> =
            effects.log_fold.iter().filter(|fold| fold.iter().any(|&value| value != 0.0)).collect();
        let mut sum = 0.0;
        let mut pairs = 0.0;
        for (at, first) in active.iter().enumerate() {
            for second in &active[..at] {
                sum += pearson(first, second);
                pairs += 1.0;
            }
        }
        assert!((sum / pairs).abs() < 0.005, "mean correlation {}", sum / pairs);
    }

    #[test]
    fn perturbations_of_one_module_resemble_each_other_more() {
        let (_, _, effects) = plant(World::W2);
        let (mut same, mut other) = (Vec::new(), Vec::new());
        let singles: Vec<usize> = (1..effects.conditions.len())
            .filter(|&at| matches!(effects.conditions[at].strength[..], [s] if s > 0.0))
            .collect();
        for (at, &first) in singles.iter().enumerate() {
            for &second in &singles[..at] {
                let value = pearson(&effects.log_fold[first], &effects.log_fold[second]);
                let alike = effects.conditions[first].module == effects.conditions[second].module;
                if alike { same.push(value) } else { other.push(value) }
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!(mean(&same) > mean(&other) + 0.3, "{} {}", mean(&same), mean(&other));
    }

    #[test]
    fn buffering_takes_from_the_overlap_only() {
        let interaction = Interaction { class: InteractionClass::Buffering, scale: 0.0, buffering: 0.5, novelty: 0.0 };
        assert_eq!(combine(&[1.0, 1.0, -2.0], &[3.0, -3.0, -1.0], interaction), vec![3.5, -2.0, -2.5]);
    }
}
