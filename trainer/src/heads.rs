//! Perturbation heads on frozen embeddings: prototype transition (J4) and set to set (J5), both residual.
//!
//! Guarantee: at initialisation both predict "no change" bit for bit, and a control condition always does
//! (R7). The prototype head shifts by a linear map of the perturbation vector plus a small MLP: with summed
//! target embeddings the linear part is additive over genes, and the MLP learns what is not. The set head adds
//! residual blocks on each cell of the baseline bag (R10); it is equivariant to the order of the bag.

use tch::{Kind, Tensor};

use crate::layer::{Linear, Norm};
use crate::params::{Group, Init, ParamSet, Registry};
use crate::perturbation::Condition;

/// Both heads; states are standardised latents.
#[derive(Debug)]
pub struct Heads {
    linear: Linear,
    fc1: Linear,
    norm: Norm,
    fc2: Linear,
    blocks: Vec<SetBlock>,
}

/// One residual block of the set head: cell, bag summary and condition to a change of the cell.
#[derive(Debug)]
struct SetBlock {
    norm: Norm,
    fc1: Linear,
    fc2: Linear,
}

impl Heads {
    /// Declares heads between latents of `width` under condition vectors of `condition_width`.
    pub fn new(
        registry: &mut Registry,
        group: Group,
        width: i64,
        condition_width: i64,
        hidden: i64,
        depth: usize,
    ) -> Self {
        let inputs = width + condition_width;
        Self {
            linear: Linear::with_init(registry, group, "prototype.linear", condition_width, width, Init::Zeros),
            fc1: Linear::new(registry, group, "prototype.fc1", inputs, hidden),
            norm: Norm::new(registry, group, "prototype.norm", hidden),
            fc2: Linear::with_init(registry, group, "prototype.fc2", hidden, width, Init::Zeros),
            blocks: (0..depth)
                .map(|i| SetBlock {
                    norm: Norm::new(registry, group, &format!("set.{i}.norm"), width),
                    fc1: Linear::new(registry, group, &format!("set.{i}.fc1"), inputs + width, hidden),
                    fc2: Linear::with_init(registry, group, &format!("set.{i}.fc2"), hidden, width, Init::Zeros),
                })
                .collect(),
        }
    }

    /// Shift of the mean state: prototypes `[K, d]` and `K` conditions → `[K, d]`, zero for controls.
    pub fn shift(&self, params: &ParamSet, prototype: &Tensor, condition: &Condition) -> Tensor {
        let kind = params.compute_kind();
        let vector = condition.vector.to_kind(kind);
        let input = Tensor::cat(&[&prototype.to_kind(kind), &vector], -1);
        let hidden = self.norm.forward(params, &self.fc1.forward(params, &input)).gelu("none");
        let change = self.linear.forward(params, &vector) + self.fc2.forward(params, &hidden);
        change.to_kind(Kind::Float) * condition.perturbed.unsqueeze(1)
    }

    /// Predicted bag: baseline cells `[K, n, d]` shifted by `shift [K, d]` and reshaped cell by cell.
    pub fn set(&self, params: &ParamSet, bag: &Tensor, shift: &Tensor, condition: &Condition) -> Tensor {
        let n = bag.size()[1];
        let moves = condition.perturbed.unsqueeze(1).unsqueeze(2);
        let kind = params.compute_kind();
        let repeat = |x: &Tensor| x.to_kind(kind).unsqueeze(1).expand([-1, n, -1], false);
        let vector = repeat(&condition.vector);
        self.blocks.iter().fold(bag + shift.unsqueeze(1), |z, block| {
            let summary = repeat(&z.mean_dim([1_i64].as_slice(), false, Kind::Float));
            let normed = block.norm.forward(params, &z.to_kind(kind));
            let input = Tensor::cat(&[normed, vector.shallow_clone(), summary], -1);
            let change = block.fc2.forward(params, &block.fc1.forward(params, &input).gelu("none"));
            z + change.to_kind(Kind::Float) * &moves
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn condition(vector: &Tensor, perturbed: &[f32]) -> Condition {
        Condition {
            tokens: vector.unsqueeze(1),
            mask: Tensor::ones([vector.size()[0], 1], (Kind::Bool, Device::Cpu)),
            vector: vector.shallow_clone(),
            perturbed: Tensor::from_slice(perturbed),
        }
    }

    fn heads() -> (Heads, ParamSet) {
        let mut registry = Registry::default();
        let heads = Heads::new(&mut registry, Group::new("heads"), 6, 4, 8, 2);
        (heads, ParamSet::initial(&registry.layout(), 3, Device::Cpu))
    }

    #[test]
    fn training_starts_at_no_change_bit_for_bit() {
        let (heads, params) = heads();
        let (bag, vector) = (Tensor::randn([2, 5, 6], OPTIONS), Tensor::randn([2, 4], OPTIONS));
        let condition = condition(&vector, &[1.0, 1.0]);
        let shift = heads.shift(&params, &bag.select(1, 0), &condition);
        assert_eq!(heads.set(&params, &bag, &shift, &condition), bag);
    }

    #[test]
    fn every_parameter_gets_its_gradient() {
        let mut registry = Registry::default();
        let heads = Heads::new(&mut registry, Group::new("heads"), 6, 4, 8, 2);
        let mut params = ParamSet::initial(&registry.layout(), 3, Device::Cpu);
        let noise = params.flat().randn_like();
        tch::no_grad(|| params.flat().shallow_clone().copy_(&noise));
        params.require_grad(&params.flat().zeros_like());
        let (bag, vector) = (Tensor::randn([2, 5, 6], OPTIONS), Tensor::randn([2, 4], OPTIONS));
        let condition = condition(&vector, &[1.0, 1.0]);
        let shift = heads.shift(&params, &bag.select(1, 0), &condition);
        heads.set(&params, &bag, &shift, &condition).square().sum(Kind::Float).backward();
        for (name, parameter) in params.named() {
            assert!(parameter.grad().abs().max().double_value(&[]) > 0.0, "{name}");
        }
    }

    #[test]
    fn a_control_never_moves_and_the_bag_order_does_not_matter() {
        let (heads, params) = heads();
        let noise = params.flat().randn_like();
        tch::no_grad(|| params.flat().shallow_clone().copy_(&noise));
        let (bag, vector) = (Tensor::randn([2, 5, 6], OPTIONS), Tensor::randn([2, 4], OPTIONS));
        let condition = condition(&vector, &[0.0, 1.0]);
        let shift = heads.shift(&params, &bag.select(1, 0), &condition);
        let out = heads.set(&params, &bag, &shift, &condition);
        assert_eq!(out.get(0), bag.get(0));
        assert_ne!(out.get(1), bag.get(1));
        let flipped = heads.set(&params, &bag.flip([1]), &shift, &condition).flip([1]);
        let (difference, size) = ((flipped - &out).abs().max().double_value(&[]), out.abs().max().double_value(&[]));
        assert!(difference < 1e-5 * size, "{difference} of {size}: more than the rounding of sums in another order");
    }
}
