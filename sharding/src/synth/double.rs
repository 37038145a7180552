//! Double perturbations: which singles meet, and how the effect of both departs from the sum.
//!
//! A double is (1 + scale)(a + b) − buffering · overlap(a, b) + novelty · v, with a and b the programs of its singles
//! and v a direction of its own. The targets fall as they do singly, and the network carries both falls at once.
//!
//! Guarantee: classes have their planted shares to within one double.

use crate::labels::Perturbation;
use crate::philox::Philox;

use super::condition::{Condition, Interaction, InteractionClass};
use super::config::SynthConfig;
use super::course::{Clock, Pace};
use super::lines::Lines;
use super::network::Network;
use super::panel::Panel;
use super::program::Program;
use super::response::{Piece, Source, add_pieces};
use super::single::{Single, independent, kicks, strength};
use super::stream::{Part, between, distinct_pairs, normal, stream};

/// All doubles.
pub(super) fn plant(
    config: &SynthConfig,
    panel: &Panel,
    lines: &Lines,
    network: &Network,
    singles: &[Single],
) -> Vec<(Condition, Vec<Piece>)> {
    pairs(config, singles)
        .into_iter()
        .zip(classes(config))
        .enumerate()
        .map(|(at, (pair, class))| {
            let mut pair = pair.map(|place| &singles[place]);
            pair.sort_by_key(|single| single.target);
            let mut random = stream(config.seed, Part::Double, at);
            let interaction = interaction(config, class, &mut random);
            let mut pieces = if class == InteractionClass::Independent {
                let size = strength(config, &mut random).max(pair[0].strength).max(pair[1].strength);
                vec![independent(config, panel, &mut random, size)]
            } else {
                let stretch = 1.0 + f64::from(interaction.scale);
                pair.iter().flat_map(|single| &single.response).map(|piece| piece.stretched(stretch)).collect()
            };
            if interaction.buffering > 0.0 {
                let weight = -interaction.buffering;
                pieces.push(Piece { source: overlap(config, panel, lines, pair), weight, clock: Clock::Shared });
            }
            if interaction.novelty > 0.0 {
                // 2 to 5 % of the genes.
                let size = ((between(&mut random, 0.02, 0.05) * config.genes as f64).round() as usize).max(1);
                let novel = Program::random(&mut random, &panel.responders, size);
                pieces.push(Piece::own(novel, f64::from(interaction.novelty), Clock::Private));
            }
            pieces.extend(kicks(network, &pair));
            (describe(panel, pair, interaction), pieces)
        })
        .collect()
}

fn describe(panel: &Panel, pair: [&Single; 2], interaction: Interaction) -> Condition {
    Condition {
        perturbation: Perturbation::of(pair.map(|single| panel.genes[single.target].clone())),
        strength: pair.map(|single| single.strength as f32).to_vec(),
        module: pair.map(|single| panel.module[single.target]).to_vec(),
        knockdown: pair.map(|single| single.knockdown() as f32).to_vec(),
        interaction: Some(interaction),
        ..Condition::control()
    }
}

/// Distinct pairs of places among the strongest singles.
fn pairs(config: &SynthConfig, singles: &[Single]) -> Vec<[usize; 2]> {
    let mut order: Vec<usize> = (0..singles.len()).collect();
    order.sort_by(|&a, &b| singles[b].strength.total_cmp(&singles[a].strength));
    let wanted = (config.doubled_share * singles.len() as f64).round() as usize;
    let enough = (2..=singles.len()).find(|n| n * (n - 1) / 2 >= config.doubles).unwrap_or(singles.len());
    order.truncate(wanted.max(enough));
    let mut random = stream(config.seed, Part::Pairs, 0);
    let pairs = distinct_pairs(&mut random, order.len(), config.doubles);
    pairs.map(|pair| pair.map(|place| order[place])).collect()
}

/// Classes of the doubles, by quota.
fn classes(config: &SynthConfig) -> Vec<InteractionClass> {
    if !config.world.has_information() {
        return vec![InteractionClass::Independent; config.doubles];
    }
    let interacting = config.world.has_interactions();
    let quota = |share: f64| if interacting { (share * config.doubles as f64).round() as usize } else { 0 };
    let (buffering, neomorphic) = (quota(config.buffering_share), quota(config.neomorphic_share));
    let mut classes = vec![InteractionClass::Buffering; buffering];
    classes.resize(buffering + neomorphic, InteractionClass::Neomorphic);
    classes.resize(config.doubles, InteractionClass::Additive);
    stream(config.seed, Part::Pairs, 1).shuffle(&mut classes);
    classes
}

fn interaction(config: &SynthConfig, class: InteractionClass, random: &mut Philox) -> Interaction {
    let stretched = config.world.has_interactions();
    let scale = if stretched { config.scale_mean + config.scale_sd * normal(random) } else { 0.0 };
    let (share, size) = (random.next_f64(), random.next_f64());
    let buffering = if class == InteractionClass::Buffering { 0.3 + 0.5 * share } else { 0.0 };
    let novelty = if class == InteractionClass::Neomorphic { (0.5 + 0.5 * size) * config.novelty } else { 0.0 };
    Interaction { class, scale: scale as f32, buffering: buffering as f32, novelty: novelty as f32 }
}

/// What both singles do alike: the smaller of two changes of one sign.
fn overlap(config: &SynthConfig, panel: &Panel, lines: &Lines, pair: [&Single; 2]) -> Source {
    let in_line = |line: usize| {
        let [first, second] = pair.map(|single| {
            let mut dense = vec![0.0; config.genes];
            add_pieces(&single.response, (panel, lines), line, (1.0, Pace::WHOLE), &mut dense);
            dense
        });
        Program::of_dense(&first.iter().zip(&second).map(|(&a, &b)| common(a, b)).collect::<Vec<f32>>())
    };
    if config.world.has_specific_effects() {
        Source::PerLine((0..config.contexts).map(in_line).collect::<Vec<_>>().into())
    } else {
        Source::Own(in_line(0).into())
    }
}

fn common(a: f32, b: f32) -> f32 {
    if a * b > 0.0 { a.signum() * a.abs().min(b.abs()) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::common;

    #[test]
    fn two_changes_have_in_common_the_smaller_one_of_their_sign() {
        assert_eq!([common(1.0, 3.0), common(1.0, -3.0), common(-2.0, -1.0), common(0.0, 1.0)], [1.0, 0.0, -1.0, 0.0]);
    }
}
