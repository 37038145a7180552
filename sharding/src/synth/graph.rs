//! Side channel: which genes belong together, and a graph that tells of it with planted precision and recall.
//!
//! The true edges join partners inside a module and, from W4 on, regulators with the genes they regulate. The graph
//! holds a share of them (recall) among decoys, so many that true edges are a share of it (precision). Some decoys
//! hang on hubs, as in curated databases where well-studied genes have edges with everything.
//!
//! Guarantee: precision and recall are exact to within one edge; no edge comes twice; the smaller gene is first.

use std::collections::HashSet;

use crate::philox::Philox;

use super::SynthError;
use super::check::require;
use super::config::SynthConfig;
use super::network::Network;
use super::panel::Panel;
use super::stream::{Part, choose, distinct_pairs, stream};

/// Genes to a decoy hub.
const GENES_PER_HUB: usize = 200;

/// An undirected edge, the smaller gene first.
pub(super) type Edge = [u32; 2];

/// The true edges and the graph that tells of them, both in rising order.
pub(super) struct Graph {
    pub(super) truth: Vec<Edge>,
    pub(super) told: Vec<Edge>,
}

impl Graph {
    pub(super) fn plant(config: &SynthConfig, panel: &Panel, network: &Network) -> Result<Self, SynthError> {
        let truth = true_edges(config, panel, network);
        let mut random = stream(config.seed, Part::Graph, config.modules);
        let (precision, size) = (config.graph.precision, config.graph.recall * truth.len() as f64);
        let (kept, decoys) = if precision > 0.0 { (size, size * (1.0 - precision) / precision) } else { (0.0, size) };
        let (kept, decoys) = (kept.round() as usize, decoys.round() as usize);
        let free = config.genes * (config.genes - 1) / 2 - truth.len();
        require(decoys <= free / 2, || {
            format!(
                "graph.precision is {precision}, which takes {decoys} decoys, but only {free} pairs of genes are free \
                 and at most half of them can be decoys: raise it, or lower graph.recall"
            )
        })?;
        let mut told = choose(&mut random, &truth, kept);
        let mut taken: HashSet<Edge> = truth.iter().copied().collect();
        decoy(config, decoys, &mut random, &mut taken, &mut told);
        told.sort_unstable();
        Ok(Self { truth, told })
    }
}

fn edge(a: u32, b: u32) -> Edge {
    [a.min(b), a.max(b)]
}

fn true_edges(config: &SynthConfig, panel: &Panel, network: &Network) -> Vec<Edge> {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); config.modules];
    for (gene, &module) in (0..).zip(&panel.module) {
        members[module as usize].push(gene);
    }
    let mut edges: Vec<Edge> = network.edges().map(|[regulator, gene]| edge(regulator, gene)).collect();
    for (module, members) in members.iter().enumerate() {
        let mut random = stream(config.seed, Part::Graph, module);
        let partners = (0.5 * config.graph.degree * members.len() as f64).round() as usize;
        edges.extend(distinct_pairs(&mut random, members.len(), partners).map(|pair| pair.map(|place| members[place])));
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Adds edges that are not true: some on hubs, the rest anywhere.
fn decoy(config: &SynthConfig, count: usize, random: &mut Philox, taken: &mut HashSet<Edge>, told: &mut Vec<Edge>) {
    let genes = config.genes as u64;
    let on_hubs = (config.graph.hub_share * count as f64).round() as usize;
    // A hub has edges with half of all genes at most.
    let hubs = (config.genes / GENES_PER_HUB).max(1 + 2 * on_hubs / config.genes).min(config.genes);
    let all: Vec<u32> = (0..config.genes as u32).collect();
    let hubs = choose(random, &all, hubs);
    let mut added = 0;
    while added < count {
        let other = random.below(genes) as u32;
        let one = if added < on_hubs { hubs[added % hubs.len()] } else { random.below(genes) as u32 };
        if one != other && taken.insert(edge(one, other)) {
            told.push(edge(one, other));
            added += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Graph;
    use crate::synth::network::Network;
    use crate::synth::panel::Panel;
    use crate::synth::{Preset, SynthConfig, SynthError, World};

    fn plant(world: World, precision: f64, recall: f64) -> Result<(Panel, Graph), SynthError> {
        let mut config = SynthConfig::preset(Preset::Medium, world, 3);
        (config.graph.precision, config.graph.recall) = (precision, recall);
        let panel = Panel::plant(&config);
        let network = Network::plant(&config, &panel);
        let graph = Graph::plant(&config, &panel, &network)?;
        Ok((panel, graph))
    }

    #[test]
    fn precision_and_recall_are_as_planted() {
        for (precision, recall) in [(0.3, 0.3), (0.8, 0.1), (1.0, 1.0), (0.1, 0.5)] {
            let (_, graph) = plant(World::W4, precision, recall).unwrap();
            let truth: HashSet<_> = graph.truth.iter().collect();
            assert_eq!(graph.told.iter().collect::<HashSet<_>>().len(), graph.told.len());
            assert!(graph.told.iter().all(|[a, b]| a < b && *b < 2_000));
            let right = graph.told.iter().filter(|edge| truth.contains(edge)).count() as f64;
            assert!((right / graph.told.len() as f64 - precision).abs() < 1e-3);
            assert!((right / truth.len() as f64 - recall).abs() < 1e-3);
        }
        let (_, decoys) = plant(World::W4, 0.0, 0.3).unwrap();
        assert!(!decoys.told.is_empty() && decoys.told.iter().all(|edge| decoys.truth.binary_search(edge).is_err()));
        assert!(plant(World::W4, 0.3, 0.0).unwrap().1.told.is_empty());
    }

    #[test]
    fn true_edges_join_modules_and_from_w4_on_regulators_with_their_genes() {
        let (panel, graph) = plant(World::W2, 0.3, 0.3).unwrap();
        assert!(graph.truth.iter().all(|[a, b]| panel.module[*a as usize] == panel.module[*b as usize]));
        assert!((9_900..=10_100).contains(&graph.truth.len()), "{}", graph.truth.len());
        let (_, regulated) = plant(World::W4, 0.3, 0.3).unwrap();
        assert!((13_000..17_000).contains(&regulated.truth.len()), "{}", regulated.truth.len());
    }

    #[test]
    fn hubs_are_decoys_and_a_graph_that_cannot_be_is_refused() {
        let (_, graph) = plant(World::W2, 0.3, 0.3).unwrap();
        let mut degree = vec![0; 2_000];
        graph.told.iter().flatten().for_each(|&gene| degree[gene as usize] += 1);
        degree.sort_unstable();
        assert!(degree[1_990] > 150 && degree[1_989] < 40, "{:?}", &degree[1_985..]);
        let error = plant(World::W2, 0.001, 1.0).err().unwrap().to_string();
        assert!(error.contains("graph.precision is 0.001") && error.contains("raise it"), "{error}");
    }
}
