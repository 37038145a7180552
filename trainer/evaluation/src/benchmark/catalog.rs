//! The metrics of the table: names, definitions and better directions.

use super::results::{Better, MetricInfo};

/// What the forms that refer truth and prediction to one mean have in common.
const PLAIN: &str =
    "Both sides share the noise of that mean, which counts as agreement: shown for comparison with papers, not judged.";

/// The metrics in the order of the table, the primary one first; those of the embedding only where there is an encoder.
/// Distances between sets are taken of at most `set_cells` cells a side.
pub fn catalog(top_genes: usize, set_cells: usize, embedding: bool) -> Vec<MetricInfo> {
    let genes = format!("the {top_genes} genes with the highest training control mean");
    let mut metrics = vec![
        higher(
            "pearson_delta_control",
            "Pearson-delta (control)",
            format!(
                "Correlation over {genes} of the predicted with the measured change of the mean profile against the held-out controls: the measured change against one half of them, the predicted against the other, averaged over both assignments; undefined for no predicted change."
            ),
        ),
        higher(
            "pearson_delta_perturbed",
            "Pearson-delta (perturbed)",
            format!(
                "Correlation over {genes} of what distinguishes a condition from the others: the measured mean less the mean over the other held-out conditions, and the predicted mean less the mean over the other predictions; undefined for a method that predicts the same for all."
            ),
        ),
        lower(
            "l2_top1000",
            "L2 (top genes)",
            format!("Euclidean distance of the predicted from the measured mean profile over {genes}."),
        ),
        lower("mse", "MSE", "Mean squared error of the mean profile over all genes.".into()),
        lower("mae", "MAE", "Mean absolute error of the mean profile over all genes.".into()),
    ];
    metrics.extend(retrieval(
        "expression",
        "expression",
        "the top genes without the targets of any held-out condition",
    ));
    metrics.extend(space("pca50", "PCA-50", "50 principal components of the training cells", set_cells));
    if embedding {
        metrics.extend(space("embedding", "embedding", "the embedding of the frozen encoder", set_cells));
        metrics.push(higher(
            "cosine_embedding",
            "Cosine (embedding)",
            "Cosine of the predicted and measured mean in the embedding; near 1 even for no change.".into(),
        ));
    }
    metrics.extend(published(&genes, embedding));
    metrics
}

/// Forms as papers have them, which are shown and not judged.
fn published(genes: &str, embedding: bool) -> Vec<MetricInfo> {
    let mut metrics = vec![
        higher(
            "pearson_delta_control_published",
            "Pearson-delta (control, plain)",
            format!("Both changes against the mean of all held-out controls; {genes}. {PLAIN}"),
        ),
        higher(
            "pearson_delta_published",
            "Pearson-delta (as published)",
            format!(
                "The measured change against the training control mean over {genes}, as in papers that do not hold controls out; a change that was fitted against those controls shares their noise. Not judged."
            ),
        ),
        higher(
            "pearson_delta_perturbed_published",
            "Pearson-delta (perturbed, plain)",
            format!("Both changes against the mean over training conditions of their means; {genes}. {PLAIN}"),
        ),
    ];
    let spaces = [("pca50", "PCA-50"), ("embedding", "embedding")];
    metrics.extend(spaces.into_iter().take(if embedding { 2 } else { 1 }).map(|(name, short)| {
        let definition = format!("Both changes against the mean of all held-out controls. {PLAIN}");
        higher(&format!("cosine_delta_{name}_published"), &format!("Cosine of change ({short}, plain)"), definition)
    }));
    metrics.into_iter().map(|metric| MetricInfo { judged: false, ..metric }).collect()
}

/// The metrics that every space of cells has.
fn space(name: &str, short: &str, long: &str, set_cells: usize) -> Vec<MetricInfo> {
    let mut metrics = vec![
        of_sets(
            &format!("energy_{name}"),
            &format!("Energy distance ({short})"),
            format!(
                "2δ − σ − σ with Euclidean distances between equally many predicted and measured cells, at most {set_cells} a side, in {long}; means over all n² pairs."
            ),
        ),
        not_negative(
            &format!("energy_u_{name}"),
            &format!("Energy distance, unbiased ({short})"),
            format!(
                "The same with within-group means over n(n − 1) pairs, which does not depend on the number of cells; a value below 0 counts as 0 in comparisons; {long}."
            ),
        ),
        not_negative(
            &format!("edist_{name}"),
            &format!("E-distance, squared ({short})"),
            format!("scPerturb's form: squared Euclidean distances, n(n − 1) pairs; sees the mean shift only; {long}."),
        ),
        higher(
            &format!("cosine_delta_{name}"),
            &format!("Cosine of change ({short})"),
            format!(
                "Cosine of the predicted and measured change of the mean against the held-out controls, one half of them under either, in {long}."
            ),
        ),
        lower(
            &format!("l2_{name}"),
            &format!("L2 ({short})"),
            format!("Euclidean distance of the predicted from the measured mean in {long}."),
        ),
    ];
    metrics.extend(retrieval(name, short, long));
    metrics
}

fn retrieval(name: &str, short: &str, long: &str) -> Vec<MetricInfo> {
    let question = format!(
        "the measured change of the right condition among all held-out conditions of its context, ranked by cosine to the predicted change, each against another half of the controls; ties count as broken by lot; {long}"
    );
    vec![
        share(
            &format!("retrieval_top1_{name}"),
            &format!("Retrieval top-1 ({short})"),
            format!("Share first of {question}."),
        ),
        share(
            &format!("retrieval_mrr_{name}"),
            &format!("Retrieval MRR ({short})"),
            format!("Mean reciprocal rank of {question}."),
        ),
    ]
}

/// Correlations and cosines.
fn higher(name: &str, title: &str, definition: String) -> MetricInfo {
    MetricInfo {
        name: name.into(),
        title: title.into(),
        definition,
        better: Better::Higher,
        judged: true,
        not_negative: false,
        of_sets: false,
        range: [Some(-1.0), Some(1.0)],
    }
}

fn share(name: &str, title: &str, definition: String) -> MetricInfo {
    MetricInfo { range: [Some(0.0), Some(1.0)], ..higher(name, title, definition) }
}

/// Errors and distances.
fn lower(name: &str, title: &str, definition: String) -> MetricInfo {
    MetricInfo { better: Better::Lower, range: [Some(0.0), None], ..higher(name, title, definition) }
}

fn of_sets(name: &str, title: &str, definition: String) -> MetricInfo {
    MetricInfo { of_sets: true, ..lower(name, title, definition) }
}

fn not_negative(name: &str, title: &str, definition: String) -> MetricInfo {
    MetricInfo { not_negative: true, range: [None, None], ..of_sets(name, title, definition) }
}
