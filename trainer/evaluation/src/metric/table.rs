//! The table of metrics, and its columns in the spaces of an evaluation.

use super::MetricInfo;
use super::role::{Function, Metric, Space, Unit};
use super::rows::{change, error, retrieval, sets};

/// All metrics in the order of a report, the primary one first.
pub static METRICS: [&Metric; 16] = [
    &change::CONTROL,
    &change::PERTURBED,
    &sets::ENERGY,
    &sets::ENERGY_U,
    &sets::E_DISTANCE,
    &change::COSINE,
    &error::L2,
    &error::MSE,
    &error::MAE,
    &retrieval::TOP1,
    &retrieval::MRR,
    &change::COSINE_OF_MEANS,
    &change::CONTROL_PLAIN,
    &change::PUBLISHED,
    &change::PERTURBED_PLAIN,
    &change::COSINE_PLAIN,
];

/// Unit of expression and of its principal components.
const EXPRESSION_UNIT: &str = "log1p CP10k";

/// Sizes and names that the columns of an evaluation are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes<'a> {
    /// Genes of the expression metrics.
    pub top_genes: usize,
    /// Principal components that were asked for.
    pub components: usize,
    /// Cells a side that distances between sets are taken of at most.
    pub set_cells: usize,
    /// Names of the embeddings, e.g. `embedding`.
    pub embeddings: Vec<&'a str>,
}

/// A metric in a space.
#[derive(Clone, Debug)]
pub struct Column {
    /// The metric.
    pub metric: &'static Metric,
    /// Where it is taken.
    pub space: Space,
    /// Its name and so on.
    pub info: MetricInfo,
}

/// Every metric in every space that it is taken in: those that are judged first, then by space, then in the order of the
/// table.
pub fn columns(sizes: &Sizes<'_>) -> Vec<Column> {
    let embeddings = || (0..sizes.embeddings.len()).map(Space::Embedding);
    let mut columns: Vec<Column> = Vec::new();
    for metric in METRICS {
        let spaces = metric.spaces.expression.into_iter();
        let spaces = spaces.chain(metric.spaces.components.then_some(Space::Components));
        let spaces = spaces.chain(embeddings().filter(|_| metric.spaces.embeddings));
        columns.extend(spaces.map(|space| Column { metric, space, info: info(metric, space, sizes) }));
    }
    let group = |space: Space| match space {
        Space::Top | Space::All | Space::Untargeted => 0,
        Space::Components => 1,
        Space::Embedding(at) => 2 + at,
    };
    columns.sort_by_key(|column| (!column.metric.judged, group(column.space)));
    columns
}

fn info(metric: &Metric, space: Space, sizes: &Sizes<'_>) -> MetricInfo {
    let top = format!("top{}", sizes.top_genes);
    let pca = format!("pca{}", sizes.components);
    // In names, in headings and in sentences.
    let (name, short, long) = match space {
        Space::Top => {
            let long = format!("the {} genes with the highest training control mean", sizes.top_genes);
            (top, "top genes".into(), long)
        }
        Space::All => (String::new(), String::new(), "all genes".into()),
        Space::Untargeted => {
            let long = "the top genes without the targets of any held-out condition".into();
            ("expression".into(), "expression".into(), long)
        }
        Space::Components => {
            let long = format!("{} principal components of the training cells", sizes.components);
            (pca, format!("PCA-{}", sizes.components), long)
        }
        Space::Embedding(at) => {
            let name = sizes.embeddings[at].to_owned();
            let long = match name.strip_prefix("embedding_") {
                None => "the embedding of the frozen encoder".into(),
                Some(stage) => format!("the embedding of the frozen encoder of {stage}"),
            };
            (name.clone(), name.replace('_', " of "), long)
        }
    };
    let value = match space {
        Space::Embedding(_) => "embedding units",
        _ => EXPRESSION_UNIT,
    };
    let cells = sizes.set_cells.to_string();
    MetricInfo {
        name: metric.name.replace("{space}", &name),
        title: metric.title.replace("{space}", &short),
        definition: metric.definition.replace("{where}", &long).replace("{cells}", &cells),
        unit: match metric.unit {
            Unit::None => String::new(),
            Unit::Value => value.into(),
            Unit::Squared => format!("({value})²"),
        },
        better: metric.better,
        judged: metric.judged,
        not_negative: metric.not_negative,
        of_sets: matches!(metric.function, Function::Sets(_)),
        range: metric.range,
        oracle: format!("{}: {}", metric.oracle[0], metric.oracle[1]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Sizes, columns};

    #[test]
    fn names_are_unique_follow_the_sizes_and_begin_with_the_primary_metric() {
        let of = |embeddings: &[&'static str]| {
            let sizes = Sizes { top_genes: 300, components: 20, set_cells: 64, embeddings: embeddings.to_vec() };
            columns(&sizes).into_iter().map(|column| column.info).collect::<Vec<_>>()
        };
        let one = of(&["embedding"]);
        assert_eq!(one[0].name, "pearson_delta_control");
        let names: BTreeSet<&str> = one.iter().map(|info| info.name.as_str()).collect();
        assert_eq!(names.len(), one.len());
        for name in ["l2_top300", "l2_pca20", "energy_embedding", "retrieval_top1_expression", "mse"] {
            assert!(names.contains(name), "{name} is not in {names:?}");
        }
        assert!(one.iter().all(|info| !format!("{info:?}").contains('{') || !info.definition.contains('{')));
        assert!(one.iter().any(|info| info.definition.contains("at most 64 a side")));
        let judged: Vec<bool> = one.iter().map(|info| info.judged).collect();
        assert!(judged.is_sorted_by(|a, b| a >= b), "what is not judged comes last");
        let two = of(&["embedding_finetune", "embedding_diffuse"]);
        assert_eq!(two.len() - one.len(), one.len() - of(&[]).len(), "every embedding has the same metrics");
        assert!(two.iter().any(|info| info.title == "L2 (embedding of diffuse)"));
    }
}
