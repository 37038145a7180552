//! Buckets: the slices of the flat gradient that are reduced together, in the order in which they become complete.
//!
//! Guarantee: buckets cover the buffer once, each within one group of parameters, cut between parameters; they are
//! ordered by the arrival of their last gradient. The plan is a pure function of the layout, the order of arrival and
//! the sizes, so equal ranks plan alike. Which bucket a number is in does not change its sum.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::params::{Group, Layout};

/// Sizes of buckets, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSizes {
    /// The first to be complete, small so that communication begins early.
    pub first: usize,
    /// All others; a larger parameter is a bucket by itself.
    pub most: usize,
}

/// A slice of the flat gradient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Elements.
    pub range: Range<usize>,
    /// Parameters that lie in it, by place in the layout's list.
    pub params: Vec<usize>,
}

/// Buckets in the order in which they are reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketPlan {
    /// The buckets.
    pub buckets: Vec<Bucket>,
    /// Bucket of every parameter.
    pub of_param: Vec<usize>,
}

/// Before anything was measured: the last parameter declared is the last used, so its gradient arrives first.
pub fn assumed_arrival(layout: &Layout) -> Vec<usize> {
    (0..layout.specs().len()).rev().collect()
}

impl BucketPlan {
    /// Plans buckets for gradients that arrive in this order (places in the layout's list); parameters that are not in
    /// it count as arriving last.
    pub fn new(layout: &Layout, arrival: &[usize], sizes: BucketSizes) -> Self {
        let n = layout.specs().len();
        let mut place = vec![arrival.len(); n];
        for (position, &param) in arrival.iter().enumerate() {
            place[param] = position;
        }
        // From the end of the buffer to its start, which is about the order of arrival.
        let mut params: Vec<usize> = (0..n).collect();
        params.sort_by_key(|&param| std::cmp::Reverse(layout.range(param).start));
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut segment: Option<(Group, bool)> = None;
        for param in params {
            let (range, spec) = (layout.range(param), &layout.specs()[param]);
            let most = if buckets.len() <= 1 { sizes.first } else { sizes.most };
            let key = Some((spec.group, spec.decay));
            match buckets.last_mut() {
                Some(open) if segment == key && open.range.end - range.start <= most => {
                    open.range.start = range.start;
                    open.params.push(param);
                }
                _ => buckets.push(Bucket { range, params: vec![param] }),
            }
            segment = key;
        }
        buckets.sort_by_key(|bucket| bucket.params.iter().map(|&param| place[param]).max());
        let mut of_param = vec![0; n];
        for (index, bucket) in buckets.iter().enumerate() {
            for &param in &bucket.params {
                of_param[param] = index;
            }
        }
        Self { buckets, of_param }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::params::{Init, Registry};

    fn layout(sizes: &[(bool, bool, i64)]) -> Layout {
        let mut registry = Registry::default();
        for (index, &(encoder, decay, n)) in sizes.iter().enumerate() {
            let group = if encoder { Group::averaged("encoder") } else { Group::new("head") };
            let name = format!("p{index}");
            let _ = if decay {
                registry.weight(group, name, &[n], Init::Zeros)
            } else {
                registry.plain(group, name, &[n], Init::Zeros)
            };
        }
        registry.layout()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn buckets_cover_the_buffer_once_within_groups_and_in_order_of_arrival(
            sizes in prop::collection::vec((any::<bool>(), any::<bool>(), 1_i64..400), 1..30),
            first in 1_usize..500, most in 1_usize..2000, seed in any::<u64>(), missing in 0_usize..4,
        ) {
            let layout = layout(&sizes);
            let mut arrival = assumed_arrival(&layout);
            arrival.sort_by_key(|&param| (param as u64 + 1).wrapping_mul(seed | 1) >> 20);
            arrival.truncate(arrival.len().saturating_sub(missing));
            let plan = BucketPlan::new(&layout, &arrival, BucketSizes { first, most });
            let mut ranges: Vec<_> = plan.buckets.iter().map(|bucket| bucket.range.clone()).collect();
            ranges.sort_by_key(|range| range.start);
            let mut at = 0;
            for range in &ranges {
                prop_assert_eq!(range.start, at);
                at = range.end;
                let encoder = layout.averaged_len();
                prop_assert!(range.end <= encoder || range.start >= encoder, "a bucket within one group");
            }
            prop_assert_eq!(at, layout.len());
            let ready = |bucket: &Bucket| bucket.params.iter()
                .map(|param| arrival.iter().position(|a| a == param).unwrap_or(arrival.len())).max();
            prop_assert!(plan.buckets.windows(2).all(|pair| ready(&pair[0]) <= ready(&pair[1])));
            for (param, &bucket) in plan.of_param.iter().enumerate() {
                prop_assert!(plan.buckets[bucket].params.contains(&param));
            }
            for bucket in &plan.buckets {
                prop_assert!(bucket.params.len() == 1 || bucket.range.len() <= most.max(first));
            }
        }
    }

    #[test]
    fn a_chain_of_layers_is_reduced_from_the_last_to_the_first_and_begins_small() {
        let layout =
            layout(&[(true, true, 640), (true, true, 640), (true, true, 640), (false, true, 64), (false, true, 640)]);
        let plan = BucketPlan::new(&layout, &assumed_arrival(&layout), BucketSizes { first: 100, most: 1300 });
        let params: Vec<_> = plan.buckets.iter().map(|bucket| bucket.params.clone()).collect();
        assert_eq!(params, [vec![4], vec![3], vec![2, 1], vec![0]]);
    }
}
