//! A sparse direction in gene space: what most planted effects are made of.
//!
//! Guarantee: genes rise, so a program is added to a dense vector in one pass.

use crate::philox::Philox;

use super::stream::{choose, normal};

/// Genes in rising order and their weights in natural log expression.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Program {
    pub(super) genes: Vec<u32>,
    pub(super) weights: Vec<f32>,
}

impl Program {
    /// Adds `scale` times the program to a dense vector.
    pub(super) fn add_to(&self, target: &mut [f32], scale: f32) {
        for (&gene, weight) in self.genes.iter().zip(&self.weights) {
            target[gene as usize] += scale * weight;
        }
    }

    /// Standard normal weights on genes drawn without replacement.
    pub(super) fn random(random: &mut Philox, pool: &[u32], size: usize) -> Self {
        let mut genes = choose(random, pool, size);
        genes.sort_unstable();
        let weights = genes.iter().map(|_| normal(random) as f32).collect();
        Self { genes, weights }
    }

    /// One gene.
    pub(super) fn of_gene(gene: usize, weight: f64) -> Self {
        Self { genes: vec![gene as u32], weights: vec![weight as f32] }
    }

    /// The entries of a dense vector that are not zero.
    pub(super) fn of_dense(values: &[f32]) -> Self {
        let entries = (0..).zip(values).filter(|&(_, &value)| value != 0.0);
        let (genes, weights) = entries.map(|(gene, &value)| (gene, value)).unzip();
        Self { genes, weights }
    }

    /// Of genes in any order.
    pub(super) fn of_members(mut members: Vec<(u32, f32)>) -> Self {
        members.sort_unstable_by_key(|&(gene, _)| gene);
        let (genes, weights) = members.into_iter().unzip();
        Self { genes, weights }
    }

    /// Genes and weights.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        self.genes.iter().zip(&self.weights).map(|(&gene, &weight)| (gene as usize, weight))
    }
}

#[cfg(test)]
mod tests {
    use super::Program;

    #[test]
    fn a_program_and_its_dense_form_are_the_same() {
        let program = Program::of_members(vec![(4, -1.0), (1, 0.5)]);
        let mut dense = vec![0.0; 6];
        program.add_to(&mut dense, 2.0);
        assert_eq!(dense, [0.0, 1.0, 0.0, 0.0, -2.0, 0.0]);
        program.add_to(&mut dense, -1.0);
        assert_eq!(Program::of_dense(&dense), program);
        assert_eq!(program.iter().collect::<Vec<_>>(), [(1, 0.5), (4, -1.0)]);
    }
}
