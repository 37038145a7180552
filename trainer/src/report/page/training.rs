//! How the training went.

use crate::report::content::Content;
use crate::report::format::{count, joined};
use crate::report::log::Log;
use crate::report::page::markup::{escape, figure};
use crate::report::svg::Figure;
use crate::report::svg::text::{fixed, group};

/// The curves of every stage, or how to get them.
pub(crate) fn section(content: &Content<'_>) -> String {
    let inputs = content.inputs;
    let mut html = vec![stage(
        "Pretraining",
        inputs.pretraining.as_ref(),
        &content.figures.pretraining,
        "metrics.jsonl",
        "pretrain",
    )];
    let one = |figure: &Option<Figure>| figure.iter().cloned().collect::<Vec<_>>();
    let (heads, diffusion) = (one(&content.figures.finetuning), one(&content.figures.diffusion));
    html.push(stage("Perturbation head", inputs.finetuning.as_ref(), &heads, "finetune.jsonl", "finetune"));
    html.push(stage("Latent diffusion", inputs.diffusion.as_ref(), &diffusion, "diffuse.jsonl", "diffuse"));
    html.concat()
}

fn stage(title: &str, log: Option<&Log>, figures: &[Figure], file: &str, command: &str) -> String {
    let heading = format!("<h3>{}</h3>\n", escape(title));
    let Some(log) = log else {
        return format!(
            "{heading}<p class=\"missing\">The run folder has no <code>{file}</code>, so there are no curves: \
             <code>syncyte {command}</code> writes it.</p>\n"
        );
    };
    let mut html = vec![format!("{heading}<p>{}</p>\n", escape(&summary(log)))];
    if figures.is_empty() {
        html.push(format!("<p class=\"missing\"><code>{file}</code> has no curve to draw yet.</p>\n"));
    }
    let drawn = joined(figures.iter().map(|drawn| figure(drawn, "")));
    html.push(format!("<div class=\"panels\">{drawn}</div>\n"));
    if figures.iter().any(|_| log.records.len() >= 60) {
        html.push(String::from(
            "<p class=\"note\">Thin: as logged. Thick: moving mean over a thirtieth of the log, within a phase.</p>\n",
        ));
    }
    html.concat()
}

fn summary(log: &Log) -> String {
    let last = log.records.last().map_or(0, |record| record.step);
    let mut parts = vec![format!("{}, up to step {}", count(log.records.len(), "log step"), group(&last.to_string()))];
    if let Some(phase) = log.first_phase() {
        let later =
            log.boundaries().into_iter().map(|(step, name)| format!("{name} from step {}", group(&step.to_string())));
        let phases: Vec<String> = std::iter::once(phase.to_owned()).chain(later).collect();
        parts.push(format!("phases: {}", phases.join(", ")));
    }
    if let Some(loss) = log.last("loss") {
        parts.push(format!("last loss {}", fixed(loss, 4)));
    }
    if let Some(rate) = log.median("cells_per_s") {
        parts.push(format!("median {} cells per second", group(&fixed(rate, 0))));
    }
    let alarms = log.alarms();
    if let Some((step, alarm)) = alarms.last() {
        let step = group(&step.to_string());
        parts.push(format!(
            "alarms of the monitors in {}, the last at step {step}: {alarm}",
            count(alarms.len(), "log step")
        ));
    }
    if log.broken() > 0 {
        parts.push(format!("the loss was not finite in {}", count(log.broken(), "log step")));
    }
    format!("{}.", parts.join("; "))
}
