//! The gene network that carries the fall of a target on to other genes (from W4 on).
//!
//! Regulation is sparse, in groups of modules, and uneven: few genes regulate many. A target's change k spreads by
//! x ← k·e_t + tanh(η B x), three times, where a row of B holds the weights of a gene's regulators. After the model
//! of Aguirre et al., PLOS Computational Biology 2025: 2 to 4 regulators a gene, 5 to 10 groups.
//!
//! Guarantee: a change reaches genes at most three edges away, and none by more than 1.

use super::config::SynthConfig;
use super::panel::Panel;
use super::program::Program;
use super::stream::{Part, between, stream};

/// Steps of the propagation.
const STEPS: usize = 3;
/// Exponent of the distribution of the regulators' popularity: a few regulate hundreds of genes.
const POPULARITY: f64 = 0.6;

/// A sparse matrix of regulation.
pub(super) struct Network {
    gain: f64,
    /// Genes that a gene regulates, with weights.
    targets: Vec<Vec<(u32, f64)>>,
}

impl Network {
    /// The network of a panel; no edges below W4.
    pub(super) fn plant(config: &SynthConfig, panel: &Panel) -> Self {
        let mut network = Self { gain: config.network.gain, targets: vec![Vec::new(); config.genes] };
        if !config.world.has_network() {
            return network;
        }
        let groups = config.network.groups.min(config.modules);
        let group_of = |gene: usize| panel.module[gene] as usize % groups;
        let mut random = stream(config.seed, Part::Network, 0);
        // Popularity falls with rank as a power; ranks are at random places.
        let mut ranked: Vec<u32> = (0..config.genes as u32).collect();
        random.shuffle(&mut ranked);
        let mut pools: Vec<Pool> = (0..=groups).map(|_| Pool::default()).collect();
        for (rank, &gene) in ranked.iter().enumerate() {
            let popularity = (1.0 + rank as f64).powf(-POPULARITY);
            pools[group_of(gene as usize)].push(gene, popularity);
            pools[groups].push(gene, popularity);
        }
        for gene in 0..config.genes {
            let mut random = stream(config.seed, Part::Network, 1 + gene);
            let (least, most) = (config.network.regulators_least, config.network.regulators_most);
            let count = least + random.below((most - least) as u64 + 1) as usize;
            let mut regulators: Vec<(u32, f64)> = Vec::with_capacity(count);
            for _ in 0..count {
                let pool = if random.next_f64() < config.network.within { group_of(gene) } else { groups };
                let regulator = pools[pool].at(random.next_f64());
                let weight = between(&mut random, 0.5, 1.0) * if random.next_f64() < 0.6 { 1.0 } else { -1.0 };
                if regulator as usize != gene && regulators.iter().all(|&(other, _)| other != regulator) {
                    regulators.push((regulator, weight));
                }
            }
            let norm: f64 = regulators.iter().map(|(_, weight)| weight.abs()).sum();
            for (regulator, weight) in regulators {
                network.targets[regulator as usize].push((gene as u32, config.network.row_norm * weight / norm));
            }
        }
        network
    }

    /// Regulators and the genes they regulate.
    pub(super) fn edges(&self) -> impl Iterator<Item = [u32; 2]> + '_ {
        let of_gene = |(gene, targets): (usize, &'_ Vec<(u32, f64)>)| {
            let targets: Vec<u32> = targets.iter().map(|&(target, _)| target).collect();
            targets.into_iter().map(move |target| [gene as u32, target])
        };
        self.targets.iter().enumerate().flat_map(of_gene)
    }

    /// What the network adds to changes that are kept up at some genes.
    pub(super) fn propagate(&self, kept_up: &[(usize, f64)]) -> Program {
        let mut added: Vec<(u32, f64)> = Vec::new();
        let mut reached = vec![0.0; self.targets.len()];
        for _ in 0..STEPS {
            let mut sources = added;
            for &(gene, change) in kept_up {
                sources.push((gene as u32, change));
            }
            let mut touched: Vec<u32> = Vec::new();
            for (regulator, change) in sources {
                for &(gene, weight) in &self.targets[regulator as usize] {
                    reached[gene as usize] += weight * change;
                    touched.push(gene);
                }
            }
            touched.sort_unstable();
            touched.dedup();
            added = touched
                .into_iter()
                .map(|gene| (gene, (self.gain * std::mem::take(&mut reached[gene as usize])).tanh()))
                .collect();
        }
        Program::of_members(added.into_iter().map(|(gene, change)| (gene, change as f32)).collect())
    }
}

/// Genes from which one is drawn with a chance proportional to its popularity.
#[derive(Default)]
struct Pool {
    genes: Vec<u32>,
    /// Running sum of the popularities.
    running: Vec<f64>,
}

impl Pool {
    fn push(&mut self, gene: u32, popularity: f64) {
        self.genes.push(gene);
        self.running.push(self.running.last().unwrap_or(&0.0) + popularity);
    }

    /// The gene at a share of the popularity.
    fn at(&self, share: f64) -> u32 {
        let sought = share * self.running.last().unwrap_or(&0.0);
        let at = self.running.partition_point(|&running| running <= sought);
        self.genes[at.min(self.genes.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::Network;
    use crate::synth::panel::Panel;
    use crate::synth::{Preset, SynthConfig, World};

    #[test]
    fn a_change_runs_down_a_chain_as_the_closed_form_says() {
        let chain = |gain: f64| Network { gain, targets: vec![vec![(1, 0.55)], vec![(2, -0.55)], vec![]] };
        let kick = 0.15_f64.ln();
        for gain in [0.5, 1.0, 2.0] {
            let found = chain(gain).propagate(&[(0, kick)]);
            let second = (gain * 0.55 * kick).tanh();
            let third = (gain * -0.55 * second).tanh();
            assert_eq!(found.genes, [1, 2]);
            assert!((f64::from(found.weights[0]) - second).abs() < 1e-6);
            assert!((f64::from(found.weights[1]) - third).abs() < 1e-6);
        }
    }

    #[test]
    fn a_loop_feeds_back_and_two_kicks_add_up_before_they_saturate() {
        let ring = Network { gain: 1.0, targets: vec![vec![(1, 0.5)], vec![(0, 0.5)]] };
        let mut x = [-1.0_f64, 0.0];
        for _ in 0..3 {
            x = [-1.0 + (0.5 * x[1]).tanh(), (0.5 * x[0]).tanh()];
        }
        let found = ring.propagate(&[(0, -1.0)]);
        assert!((f64::from(found.weights[0]) - (x[0] + 1.0)).abs() < 1e-6);
        assert!((f64::from(found.weights[1]) - x[1]).abs() < 1e-6);
        let fork = Network { gain: 1.0, targets: vec![vec![(2, 0.5)], vec![(2, 0.5)], vec![]] };
        let both = fork.propagate(&[(0, -2.0), (1, -2.0)]);
        assert!((f64::from(both.weights[0]) - (-2.0_f64).tanh()).abs() < 1e-6);
    }

    #[test]
    fn the_planted_network_is_sparse_grouped_and_uneven() {
        let config = SynthConfig::preset(Preset::Medium, World::W4, 1);
        let panel = Panel::plant(&config);
        let network = Network::plant(&config, &panel);
        let mut regulators = vec![0; config.genes];
        let mut norms = vec![0.0; config.genes];
        let (mut within, mut edges) = (0.0, 0.0);
        for (regulator, targets) in network.targets.iter().enumerate() {
            for &(gene, weight) in targets {
                regulators[gene as usize] += 1;
                norms[gene as usize] += weight.abs();
                edges += 1.0;
                within += f64::from(u8::from(panel.module[regulator] % 8 == panel.module[gene as usize] % 8));
            }
        }
        assert!(regulators.iter().all(|&count| count <= 4));
        assert!(norms.iter().all(|&norm| norm == 0.0 || (norm - 0.55_f64).abs() < 1e-9));
        assert!((2.5..3.1).contains(&(edges / 2_000.0)), "{edges} edges");
        assert!(within / edges > 0.85, "{} of the edges are within a group", within / edges);
        assert_eq!(network.edges().count() as f64, edges);
        let hub = network.targets.iter().map(Vec::len).max().unwrap_or(0);
        assert!(hub > 60, "the largest hub regulates {hub}");
        assert!(Network::plant(&SynthConfig { world: World::W3, ..config }, &panel).edges().next().is_none());
    }
}
