//! A panel of antibody tags: counts that follow the expression of one gene each, over a background.
//!
//! The log abundance of a protein is linear in the log expression of its gene in the cell (as much of it as there was
//! one lag earlier). A cell's counts are negative-binomial of size 10 around
//! depth · ((1 − background) · share · exp(slope · (l − l₀)) + background · share), with l₀ the baseline of the first
//! context.
//!
//! Guarantee: proteins never change the counts of genes.

use serde::{Deserialize, Serialize};

use crate::philox::Philox;

use super::config::SynthConfig;
use super::elementary::exp;
use super::negbin::{NegativeBinomial, Scratch};
use super::panel::Panel;
use super::stream::{Part, choose, normal, stream};

/// Inverse of the size of the negative binomials.
const DISPERSION: f64 = 0.1;
/// Standard deviation of the log depth of a cell.
const DEPTH_SD: f64 = 0.35;
/// Least and largest depth, in medians.
const DEPTHS: [f64; 2] = [0.4, 2.0];

/// A protein of the panel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protein {
    /// Name.
    pub name: String,
    /// Gene whose expression it follows.
    pub gene: String,
}

/// The panel.
pub(super) struct ProteinPanel {
    pub(super) proteins: Vec<Protein>,
    /// Places of the genes.
    parents: Vec<usize>,
    /// Share of a protein in the counts of a control cell; they sum to one.
    share: Vec<f64>,
    /// Log share of the parents in the first context.
    rest: Vec<f64>,
    slope: f64,
    background: f64,
    depth: f64,
    sampler: NegativeBinomial,
}

impl ProteinPanel {
    pub(super) fn plant(config: &SynthConfig, panel: &Panel) -> Self {
        let mut random = stream(config.seed, Part::Protein, 0);
        let mut pool: Vec<usize> = (0..config.genes).collect();
        pool.sort_by(|&a, &b| panel.log_share[0][b].total_cmp(&panel.log_share[0][a]));
        pool.truncate(config.genes / 2);
        let mut parents = choose(&mut random, &pool, config.protein.count);
        parents.sort_unstable();
        let rest: Vec<f64> = parents.iter().map(|&gene| panel.log_share[0][gene]).collect();
        let mut share: Vec<f64> =
            rest.iter().map(|log_share| (config.protein.slope * log_share + normal(&mut random)).exp()).collect();
        let total: f64 = share.iter().sum();
        for share in &mut share {
            *share /= total;
        }
        let gene = |at: usize| panel.genes[at].clone();
        Self {
            proteins: parents.iter().map(|&at| Protein { name: format!("ADT_{}", gene(at)), gene: gene(at) }).collect(),
            sampler: NegativeBinomial::new(std::iter::repeat_n(DISPERSION, parents.len())),
            parents,
            share,
            rest,
            slope: config.protein.slope,
            background: config.protein.background,
            depth: config.protein.depth,
        }
    }

    /// Draws the counts of a cell of the given log expression and appends them.
    pub(super) fn draw(&self, log_rate: &[f32], random: &mut Philox, scratch: &mut Scratch, counts: &mut Vec<f32>) {
        let depth = self.depth * exp(DEPTH_SD * normal(random)).clamp(DEPTHS[0], DEPTHS[1]);
        let means: Vec<f64> = self
            .parents
            .iter()
            .zip(&self.share)
            .zip(&self.rest)
            .map(|((&parent, share), rest)| {
                let bound = exp(self.slope * (f64::from(log_rate[parent]) - rest));
                depth * share * ((1.0 - self.background) * bound + self.background)
            })
            .collect();
        let mut words = vec![0; means.len()];
        random.fill(&mut words);
        let start = counts.len();
        counts.resize(start + means.len(), 0.0);
        self.sampler.sample(&means, &words, scratch, |protein, count| counts[start + protein as usize] = count as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::ProteinPanel;
    use crate::philox::{Philox, Purpose};
    use crate::synth::negbin::Scratch;
    use crate::synth::panel::Panel;
    use crate::synth::{Preset, SynthConfig, World};

    #[test]
    fn a_protein_follows_its_gene_over_the_background() {
        let mut config = SynthConfig::preset(Preset::Demo, World::W2, 6);
        config.protein.count = 40;
        let panel = Panel::plant(&config);
        let proteins = ProteinPanel::plant(&config, &panel);
        assert_eq!(proteins.proteins.len(), 40);
        let mean = |shift: f32| {
            let log_rate: Vec<f32> = panel.log_share[0].iter().map(|&share| share as f32 + shift).collect();
            let mut sums = vec![0.0; 40];
            for cell in 0..4_000 {
                let mut counts = Vec::new();
                let mut random = Philox::new(2, Purpose::Trial, 0, cell);
                proteins.draw(&log_rate, &mut random, &mut Scratch::default(), &mut counts);
                sums.iter_mut().zip(&counts).for_each(|(sum, &count)| *sum += f64::from(count) / 4_000.0);
            }
            sums
        };
        let (rest, less) = (mean(0.0), mean(-2.0));
        let depth: f64 = rest.iter().sum();
        assert!((2_400.0..2_900.0).contains(&depth), "{depth}");
        for (rest, less) in rest.iter().zip(&less).filter(|(rest, _)| **rest > 20.0) {
            let expected = 0.85 * (-1.6_f64).exp() + 0.15;
            assert!((less / rest - expected).abs() < 0.03, "{} instead of {expected}", less / rest);
        }
    }
}
