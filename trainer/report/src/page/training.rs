//! How the training went.

use crate::content::Content;
use crate::format::{count, joined};
use crate::log::{Alarm, Log};
use crate::page::markup::{escape, figure};
use crate::svg::Figure;
use crate::svg::text::{fixed, group, scientific};

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
    html.push(stage("Perturbation head", inputs.finetuning.as_ref(), &heads, "finetune/metrics.jsonl", "finetune"));
    html.push(stage("Latent diffusion", inputs.diffusion.as_ref(), &diffusion, "diffuse/metrics.jsonl", "diffuse"));
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
    let alarms = log.alarms();
    if !alarms.is_empty() {
        let items = joined(alarms.iter().map(|alarm| format!("<li>{}</li>", escape(&became(alarm, log)))));
        html.push(format!("<p>Alarms of the monitors, and what became of them:</p>\n<ul>{items}</ul>\n"));
    }
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

/// What became of an alarm, in a sentence.
fn became(alarm: &Alarm, log: &Log) -> String {
    let step = |step: u64| group(&step.to_string());
    let phase = alarm.phase.as_ref().map_or_else(String::new, |phase| format!(" (phase {phase})"));
    let end = match alarm.silent_since {
        0 => "still raised by the last check".to_owned(),
        silent => format!("silent in the last {}", count(silent, "check")),
    };
    let (first, last_raised, raised) = (step(alarm.first), step(alarm.last), count(alarm.raised, "check"));
    let use_of_condition = if alarm.what.contains("perturbation") { condition_use(log) } else { String::new() };
    format!("{}: from step {first}{phase} to {last_raised}, in {raised}; {end}{use_of_condition}.", alarm.what)
}

/// How much the predictor made of the perturbation in the end.
fn condition_use(log: &Log) -> String {
    let last = |name: &str| log.last(&format!("monitors.predictor/variance_over_{name}"));
    let (Some(over_cells), Some(over_perturbations)) = (last("cells"), last("perturbations")) else {
        return String::new();
    };
    let share = over_perturbations / over_cells.max(f64::MIN_POSITIVE);
    let share = if share >= 0.001 { format!("{} %", fixed(100.0 * share, 1)) } else { scientific(share, 1) };
    format!("; at the end predictions for one cell vary over perturbations by {share} of their variance over cells")
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
    if log.broken() > 0 {
        parts.push(format!("the loss was not finite in {}", count(log.broken(), "log step")));
    }
    format!("{}.", parts.join("; "))
}
