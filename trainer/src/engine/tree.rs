//! The sum of gradients of consecutive shards by a binary tree that pairs neighbours first.
//!
//! Guarantee: the sum of a power of two of leaves has the bits of the tree that the collectives continue over ranks.

use tch::Tensor;

/// Partial sums, each of twice as many leaves as the next.
#[derive(Debug, Default)]
pub struct GradientTree {
    /// (leaves, their sum), from left to right.
    partial: Vec<(usize, Tensor)>,
}

impl GradientTree {
    /// Adds the next leaf.
    pub fn add(&mut self, leaf: Tensor) {
        let mut own = (1, leaf);
        while let Some((_, mut left)) = self.partial.pop_if(|(leaves, _)| *leaves == own.0) {
            let _ = left.g_add_(&own.1);
            own = (2 * own.0, left);
        }
        self.partial.push(own);
    }

    /// The sum of all leaves, `None` where there are none. What is left over of a number that is no power of two is
    /// added from right to left.
    pub fn sum(mut self) -> Option<Tensor> {
        let (_, mut sum) = self.partial.pop()?;
        while let Some((_, mut left)) = self.partial.pop() {
            let _ = left.g_add_(&sum);
            sum = left;
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(values: &[f32]) -> f32 {
        if let [one] = values {
            return *one;
        }
        let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
        tree(left) + tree(right)
    }

    #[test]
    fn sums_have_the_bits_of_the_tree_over_neighbours() {
        assert!(GradientTree::default().sum().is_none());
        for n in 1..20 {
            let leaves: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37 + 1.0).powi(5)).collect();
            let mut sum = GradientTree::default();
            for &leaf in &leaves {
                sum.add(Tensor::from_slice(&[leaf]));
            }
            let found = sum.sum().unwrap().double_value(&[0]) as f32;
            assert_eq!(found.to_bits(), tree(&leaves).to_bits(), "{n} leaves");
        }
    }
}
