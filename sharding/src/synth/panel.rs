//! The genes: baseline expression in every context, dispersion, modules, and what batches do to them.
//!
//! Guarantee: shares of a context sum to one; every gene has a home module and lies in its program.

use super::config::SynthConfig;
use super::negbin::LEAST_DISPERSION;
use super::program::Program;
use super::stream::{Part, normal, stream};

/// Share of the transcripts that the best expressed genes, on which nothing is planted in W1, must hold.
const BALLAST_SHARE: f64 = 0.5;

/// The planted properties of the genes.
pub(super) struct Panel {
    /// Names, in sorted order.
    pub(super) genes: Vec<String>,
    /// Natural log of a gene's share of the transcripts of a control cell at rest: context × gene.
    pub(super) log_share: Vec<Vec<f64>>,
    /// Negative-binomial dispersion.
    pub(super) dispersion: Vec<f64>,
    /// Home module of every gene.
    pub(super) module: Vec<u32>,
    /// Program of every module.
    pub(super) programs: Vec<Program>,
    /// The axis that all perturbations share.
    pub(super) shared: Program,
    /// Natural log batch factor: batch × gene.
    pub(super) batch: Vec<Vec<f64>>,
    /// Natural log lane factor of the library size, per batch.
    pub(super) lane: Vec<f64>,
    /// Genes that absorb what is left of a library (W1 only): the best expressed ones.
    pub(super) ballast: Vec<u32>,
    /// Genes that may respond: all but the ballast.
    pub(super) responders: Vec<u32>,
}

impl Panel {
    pub(super) fn plant(config: &SynthConfig) -> Self {
        let log_share = baselines(config);
        let ballast = if config.world.has_counts() { Vec::new() } else { best_expressed(&log_share[0]) };
        let responders: Vec<u32> =
            (0..config.genes as u32).filter(|gene| ballast.binary_search(gene).is_err()).collect();
        let module = modules(config);
        let programs = (0..config.modules).map(|at| program(config, at, &module, &responders)).collect();
        let mut random = stream(config.seed, Part::SharedAxis, 0);
        let shared = Program::random(&mut random, &responders, config.program_size());
        let (batch, lane) = batches(config);
        Self {
            genes: names(config.genes),
            dispersion: dispersions(config),
            log_share,
            module,
            programs,
            shared,
            batch,
            lane,
            ballast,
            responders,
        }
    }
}

fn names(genes: usize) -> Vec<String> {
    let width = genes.to_string().len().max(4);
    (1..=genes).map(|gene| format!("SYN{gene:0width$}")).collect()
}

fn baselines(config: &SynthConfig) -> Vec<Vec<f64>> {
    let mut random = stream(config.seed, Part::Baseline, 0);
    let first: Vec<f64> = (0..config.genes).map(|_| config.baseline_sd * normal(&mut random)).collect();
    (0..config.contexts)
        .map(|context| {
            let mut random = stream(config.seed, Part::Baseline, context);
            let mut log_rate = first.clone();
            if context > 0 {
                for rate in &mut log_rate {
                    *rate += config.context_sd * normal(&mut random);
                }
            }
            let total: f64 = log_rate.iter().map(|rate| rate.exp()).sum();
            for rate in &mut log_rate {
                *rate -= total.ln();
            }
            log_rate
        })
        .collect()
}

fn best_expressed(log_share: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..log_share.len() as u32).collect();
    order.sort_by(|a, b| log_share[*b as usize].total_cmp(&log_share[*a as usize]));
    let mut held = 0.0;
    let mut best: Vec<u32> = order
        .into_iter()
        .take_while(|&gene| {
            let short = held < BALLAST_SHARE;
            held += log_share[gene as usize].exp();
            short
        })
        .collect();
    best.sort_unstable();
    best
}

fn dispersions(config: &SynthConfig) -> Vec<f64> {
    let mut random = stream(config.seed, Part::Dispersion, 0);
    (0..config.genes)
        .map(|_| config.dispersion_log_mean + config.dispersion_log_sd * normal(&mut random))
        .map(|log| log.exp().max(LEAST_DISPERSION))
        .collect()
}

/// Modules of equal size (but for one gene), in random places.
fn modules(config: &SynthConfig) -> Vec<u32> {
    let mut module: Vec<u32> = (0..config.genes).map(|gene| (gene % config.modules) as u32).collect();
    stream(config.seed, Part::Modules, 0).shuffle(&mut module);
    module
}

/// The program of a module: its home genes first, with weights away from zero so that membership shows in
/// co-expression, then other genes up to the density.
fn program(config: &SynthConfig, at: usize, module: &[u32], responders: &[u32]) -> Program {
    let mut random = stream(config.seed, Part::Program, at);
    let (home, away): (Vec<u32>, Vec<u32>) = responders.iter().partition(|&&gene| module[gene as usize] as usize == at);
    let mut members: Vec<(u32, f32)> = home
        .iter()
        .map(|&gene| {
            let weight = normal(&mut random) as f32;
            (gene, weight.signum() * (0.5 + 0.5 * weight.abs()))
        })
        .collect();
    let guests = Program::random(&mut random, &away, config.program_size().saturating_sub(home.len()));
    members.extend(guests.genes.into_iter().zip(guests.weights));
    Program::of_members(members)
}

fn batches(config: &SynthConfig) -> (Vec<Vec<f64>>, Vec<f64>) {
    if !config.world.has_counts() {
        return (vec![vec![0.0; config.genes]; config.batches], vec![0.0; config.batches]);
    }
    (0..config.batches)
        .map(|at| {
            let mut random = stream(config.seed, Part::Batch, at);
            let lane = config.lane_sd * normal(&mut random);
            ((0..config.genes).map(|_| config.batch_sd * normal(&mut random)).collect(), lane)
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::Panel;
    use crate::synth::{Preset, SynthConfig, World};

    fn config(world: World) -> SynthConfig {
        SynthConfig { genes: 600, contexts: 2, ..SynthConfig::preset(Preset::Demo, world, 3) }
    }

    #[test]
    fn shares_sum_to_one_and_contexts_resemble_each_other() {
        let panel = Panel::plant(&config(World::W2));
        for shares in &panel.log_share {
            assert!((shares.iter().map(|log| log.exp()).sum::<f64>() - 1.0).abs() < 1e-9);
        }
        let similarity = crate::synth::pearson(&panel.log_share[0], &panel.log_share[1]);
        assert!((0.85..0.99).contains(&similarity), "{similarity}");
        assert!(panel.ballast.is_empty());
    }

    #[test]
    fn every_gene_is_in_the_program_of_its_home_module() {
        let panel = Panel::plant(&config(World::W2));
        for (gene, &home) in panel.module.iter().enumerate() {
            assert!(panel.programs[home as usize].genes.binary_search(&(gene as u32)).is_ok());
        }
        assert!(panel.programs.iter().all(|program| program.genes.len() == 48));
    }

    #[test]
    fn the_ballast_of_the_linear_world_takes_no_part_in_any_program() {
        let panel = Panel::plant(&config(World::W1));
        let share: f64 = panel.ballast.iter().map(|&gene| panel.log_share[0][gene as usize].exp()).sum();
        assert!((0.5..0.65).contains(&share), "{share}");
        let touched = panel.programs.iter().chain([&panel.shared]).flat_map(|program| &program.genes);
        assert!(touched.into_iter().all(|gene| panel.ballast.binary_search(gene).is_err()));
        assert_eq!(panel.ballast.len() + panel.responders.len(), 600);
    }
}
