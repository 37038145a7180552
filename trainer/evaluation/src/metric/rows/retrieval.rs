//! Retrieval of the right condition by its predicted change.

use super::super::chance;
use super::{AGREEMENT, Function, Metric, Space, Spaces};

const SHARE: Metric = Metric {
    range: [Some(0.0), Some(1.0)],
    spaces: Spaces { expression: Some(Space::Untargeted), components: true, embeddings: true },
    oracle: ["retrieval_cosine_midrank", "ranks"],
    ..AGREEMENT
};

pub(in crate::metric) static TOP1: Metric = Metric {
    name: "retrieval_top1_{space}",
    title: "Retrieval top-1 ({space})",
    definition: "Share first of the measured change of the right condition among all held-out conditions of its context, \
                 ranked by cosine to the predicted change, each against another half of the controls; ties count as \
                 broken by lot; {where}.",
    function: Function::Rank(|rank| rank.top1, |candidates| chance(candidates).0),
    ..SHARE
};

pub(in crate::metric) static MRR: Metric = Metric {
    name: "retrieval_mrr_{space}",
    title: "Retrieval MRR ({space})",
    definition: "Mean reciprocal rank of the measured change of the right condition among all held-out conditions of its \
                 context, ranked by cosine to the predicted change, each against another half of the controls; ties \
                 count as broken by lot; {where}.",
    function: Function::Rank(|rank| rank.reciprocal, |candidates| chance(candidates).1),
    ..SHARE
};
