//! The metrics of the table: names, definitions and better directions.

use super::results::{Better, MetricInfo};

/// The metrics in the order of the table, the primary one first; those of the embedding only where there is an encoder.
pub fn catalog(top_genes: usize, embedding: bool) -> Vec<MetricInfo> {
    let genes = format!("the {top_genes} genes with the highest training control mean");
    let mut metrics = vec![
        higher(
            "pearson_delta_control",
            "Pearson-delta (control)",
            format!(
                "Correlation over {genes} of the predicted with the measured change of the mean profile against the held-out control mean; undefined for no predicted change."
            ),
        ),
        higher(
            "pearson_delta_published",
            "Pearson-delta (as published)",
            format!(
                "Predicted change against the measured change from the training control mean over {genes}: comparable with papers that do not hold controls out, and flattered by the control noise that both sides then share."
            ),
        ),
        higher(
            "pearson_delta_perturbed",
            "Pearson-delta (perturbed)",
            format!(
                "The same against the mean over training conditions of their means, which removes what all perturbations share; {genes}."
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
    metrics.extend(space("pca50", "PCA-50", "50 principal components of the training cells"));
    if embedding {
        metrics.extend(space("embedding", "embedding", "the embedding of the frozen encoder"));
        metrics.push(higher(
            "cosine_embedding",
            "Cosine (embedding)",
            "Cosine of the predicted and measured mean in the embedding; near 1 even for no change.".into(),
        ));
    }
    metrics
}

/// The metrics that every space of cells has.
fn space(name: &str, short: &str, long: &str) -> Vec<MetricInfo> {
    let mut metrics = vec![
        lower(
            &format!("energy_{name}"),
            &format!("Energy distance ({short})"),
            format!(
                "2δ − σ − σ with Euclidean distances between equally many predicted and measured cells in {long}, means over all n² pairs."
            ),
        ),
        lower(
            &format!("energy_u_{name}"),
            &format!("Energy distance, unbiased ({short})"),
            format!(
                "The same with within-group means over n(n − 1) pairs, which does not depend on the number of cells; {long}."
            ),
        ),
        lower(
            &format!("edist_{name}"),
            &format!("E-distance, squared ({short})"),
            format!("scPerturb's form: squared Euclidean distances, n(n − 1) pairs; sees the mean shift only; {long}."),
        ),
        higher(
            &format!("cosine_delta_{name}"),
            &format!("Cosine of change ({short})"),
            format!(
                "Cosine of the predicted and measured change of the mean against the held-out control mean in {long}."
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
        "the measured change of the right condition among all held-out conditions of its context, ranked by cosine to the predicted change; ties count as broken by lot; {long}"
    );
    vec![
        higher(
            &format!("retrieval_top1_{name}"),
            &format!("Retrieval top-1 ({short})"),
            format!("Share first of {question}."),
        ),
        higher(
            &format!("retrieval_mrr_{name}"),
            &format!("Retrieval MRR ({short})"),
            format!("Mean reciprocal rank of {question}."),
        ),
    ]
}

fn higher(name: &str, title: &str, definition: String) -> MetricInfo {
    MetricInfo { name: name.into(), title: title.into(), definition, better: Better::Higher }
}

fn lower(name: &str, title: &str, definition: String) -> MetricInfo {
    MetricInfo { name: name.into(), title: title.into(), definition, better: Better::Lower }
}
