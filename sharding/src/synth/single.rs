//! Single perturbations: targets, strengths, and the parts of their effects.
//!
//! Guarantee: a perturbation's draws come from a stream of its target's own, so other perturbations leave it alone.

use crate::labels::Perturbation;
use crate::philox::Philox;

use super::condition::Condition;
use super::config::SynthConfig;
use super::course::Clock;
use super::network::Network;
use super::panel::Panel;
use super::program::Program;
use super::response::{Piece, Source};
use super::stream::{Part, between, choose, efficiency, normal, stream};

/// Fold by which an activated target rises, least and most.
const ACTIVATION: [f64; 2] = [2.0, 10.0];

/// A single perturbation: its response without the change of the target, and that change.
pub(super) struct Single {
    pub(super) target: usize,
    pub(super) strength: f64,
    /// Natural log of what is left of the target's transcripts.
    pub(super) kick: f64,
    pub(super) response: Vec<Piece>,
}

impl Single {
    fn plant(config: &SynthConfig, panel: &Panel, target: usize) -> Self {
        let mut random = stream(config.seed, Part::Single, target);
        let strength = strength(config, &mut random);
        if !config.world.has_information() {
            let response = vec![independent(config, panel, &mut random, strength)];
            return Self { target, strength, kick: 0.0, response };
        }
        let kick = if config.activation {
            between(&mut random, ACTIVATION[0], ACTIVATION[1]).ln()
        } else {
            (1.0 - efficiency(&mut random)).ln()
        };
        let module = panel.module[target];
        let private = Program::random(&mut random, &panel.responders, config.program_size());
        let part = |source, weight: f64, clock| Piece { source, weight: (strength * weight) as f32, clock };
        let response = if strength > 0.0 {
            vec![
                part(Source::Module(module as usize), config.module_weight, Clock::Module(module)),
                part(Source::Shared, config.shared_weight, Clock::Shared),
                Piece::own(private, strength * config.private_weight, Clock::Private),
            ]
        } else {
            Vec::new()
        };
        Self { target, strength, kick, response }
    }

    /// Share of its transcripts that the target loses.
    pub(super) fn knockdown(&self) -> f64 {
        -self.kick.exp_m1()
    }

    /// The condition and all its parts.
    pub(super) fn describe(&self, panel: &Panel, network: &Network) -> (Condition, Vec<Piece>) {
        let mut pieces = self.response.clone();
        pieces.extend(kicks(network, &[self]));
        let condition = Condition {
            perturbation: Perturbation::of([panel.genes[self.target].clone()]),
            strength: vec![self.strength as f32],
            module: vec![panel.module[self.target]],
            knockdown: vec![self.knockdown() as f32],
            ..Condition::control()
        };
        (condition, pieces)
    }
}

/// All single perturbations, in the order in which their targets were drawn.
pub(super) fn plant(config: &SynthConfig, panel: &Panel) -> Vec<Single> {
    targets(config, panel).into_iter().map(|target| Single::plant(config, panel, target as usize)).collect()
}

/// Targets from the better expressed of the genes that may respond.
fn targets(config: &SynthConfig, panel: &Panel) -> Vec<u32> {
    let mut pool = panel.responders.clone();
    pool.sort_by(|a, b| panel.log_share[0][*b as usize].total_cmp(&panel.log_share[0][*a as usize]));
    pool.truncate(config.target_pool().min(pool.len()).max(config.singles));
    choose(&mut stream(config.seed, Part::Targets, 0), &pool, config.singles)
}

pub(super) fn strength(config: &SynthConfig, random: &mut Philox) -> f64 {
    let null = random.next_f64() < config.null_share;
    let strength = (config.strength_log_mean + config.strength_log_sd * normal(random)).exp().min(config.strength_max);
    if null { 0.0 } else { strength }
}

/// An effect nothing else tells of, as large as the planted programs together would be.
pub(super) fn independent(config: &SynthConfig, panel: &Panel, random: &mut Philox, strength: f64) -> Piece {
    let weight = config.module_weight.hypot(config.private_weight).hypot(config.shared_weight);
    let program = Program::random(random, &panel.responders, config.program_size());
    Piece::own(program, strength * weight, Clock::Private)
}

/// What happens to the targets of a condition, and what the network makes of it.
pub(super) fn kicks(network: &Network, singles: &[&Single]) -> Vec<Piece> {
    let kept_up: Vec<(usize, f64)> = singles.iter().map(|single| (single.target, single.kick)).collect();
    let hit = kept_up.iter().filter(|(_, kick)| *kick != 0.0);
    let mut pieces: Vec<Piece> =
        hit.map(|&(target, kick)| Piece::own(Program::of_gene(target, kick), 1.0, Clock::Target)).collect();
    let carried = network.propagate(&kept_up);
    if !carried.genes.is_empty() {
        pieces.push(Piece::own(carried, 1.0, Clock::Network));
    }
    pieces
}
