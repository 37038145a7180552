//! The model card: where a baseline wins, first; then the rest, from the files of the run alone.

use super::content::Content;
use super::format::{arrow, count, joined};
use super::provenance::{identity, stages};
use super::table::Table;
use super::verdict::{Duel, beats_best_baseline, caveats, synthetic};
use syncyte_evaluation::benchmark::results::Better;

/// The card, with the front matter that model hubs read.
pub(crate) fn render(content: &Content<'_>) -> String {
    let sections = [
        front_matter(content),
        format!("# Model card: {}", escape(&content.inputs.name)),
        data_kind(content),
        content.verdict.sentences(&content.table).iter().map(|text| escape(text)).collect::<Vec<_>>().join("\n\n"),
        warnings(content),
        format!("## Where a baseline wins\n\n{}", duels(content, &content.verdict.lost)),
        format!("## Where our best model is ahead\n\n{}", duels(content, &content.verdict.won)),
        bullets(&caveats(&content.table)),
        format!("## Benchmark\n\n{}", benchmark(&content.table)),
        format!("## Intended use\n\n{}", intended(content)),
        format!("## Uses not recommended\n\n{}", not_recommended(content)),
        format!("## Methods\n\n{}", methods(content)),
        format!(
            "## Data\n\n{}",
            pairs(content.inputs.results.provenance.data.iter(), "The results record no facts about the data.")
        ),
        format!("## Compute\n\n{}", compute(content)),
        format!("## Provenance\n\n{}", pairs(identity(&content.inputs.results).iter().map(|(a, b)| (a, b)), "")),
        format!("## Limitations\n\n{}", bullets(&limitations(content))),
    ];
    let filled: Vec<String> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    format!("{}\n", filled.join("\n\n"))
}

/// The text with the characters that Markdown or HTML would read as markup made plain.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(character);
            }
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

fn front_matter(content: &Content<'_>) -> String {
    let licenses =
        env!("CARGO_PKG_LICENSE").split(" OR ").map(|license| format!("- {}\n", license.to_ascii_lowercase()));
    let mut tags = vec!["biology", "single-cell", "transcriptomics", "perturb-seq", "jepa"];
    if synthetic(&content.table) == Some(true) {
        tags.push("synthetic-data");
    }
    let tags = joined(tags.iter().map(|tag| format!("- {tag}\n")));
    format!("---\nlicense:\n{}library_name: syncyte\ntags:\n{tags}---", joined(licenses))
}

fn data_kind(content: &Content<'_>) -> String {
    match synthetic(&content.table) {
        Some(true) => {
            "> **Synthetic data.** All numbers come from generated cells with a planted truth; they say nothing about \
                       real cells."
                .into()
        }
        Some(false) => String::new(),
        None => "> The results do not record whether the data are synthetic.".into(),
    }
}

/// What makes the numbers less sure than they look.
fn warnings(content: &Content<'_>) -> String {
    let warnings = &content.inputs.results.warnings;
    if warnings.is_empty() { String::new() } else { format!("Read with care:\n\n{}", bullets(warnings)) }
}

fn bullets(items: &[String]) -> String {
    items.iter().map(|item| format!("- {}", escape(item))).collect::<Vec<_>>().join("\n")
}

fn pairs<'a, A, B>(rows: impl Iterator<Item = (A, B)>, empty: &str) -> String
where
    A: AsRef<str> + 'a,
    B: AsRef<str> + 'a,
{
    let rows: Vec<String> =
        rows.map(|(name, value)| format!("| {} | {} |", escape(name.as_ref()), escape(value.as_ref()))).collect();
    if rows.is_empty() { empty.into() } else { format!("| | |\n|---|---|\n{}", rows.join("\n")) }
}

fn duels(content: &Content<'_>, duels: &[Duel]) -> String {
    if duels.is_empty() {
        return "Nowhere.".into();
    }
    let table = &content.table;
    let mut lines = vec![
        "| Split | Metric | Best baseline | Value | Our best model | Value | Difference, 95 % interval | |".to_owned(),
        "|---|---|---|---:|---|---:|---:|---|".to_owned(),
    ];
    for duel in duels {
        let metric = &table.results.metrics[duel.metric];
        let side = |method: Option<usize>| {
            let title = method.map_or("none", |method| table.results.methods[method].title.as_str());
            let value = method.and_then(|method| table.row(duel.split, method, duel.metric).value);
            let value = value.map_or_else(|| "undefined".into(), |value| table.digits(duel.metric).value(value));
            format!("{} | {value}", escape(title))
        };
        let (difference, detail) = duel.evidence_text(table);
        lines.push(format!(
            "| {} | {} {} | {} | {} | {difference} {} | {} |",
            escape(table.splits[duel.split]),
            escape(&metric.title),
            arrow(metric.better),
            side(Some(duel.baseline)),
            side(duel.model),
            escape(&detail),
            duel.reading()
        ));
    }
    lines.join("\n")
}

fn benchmark(table: &Table<'_>) -> String {
    let splits = (0..table.splits.len()).map(|split| split_table(table, split));
    let note = "Mean over held-out conditions with its 95 % bootstrap interval over conditions, cells and controls. Ceiling: what the \
                true mean would score given the cells that were measured. Bold: best on the split. ▲: clearly better than \
                the best baseline of the column. “undefined” is not zero and enters no mean.";
    splits.chain([note.to_owned()]).collect::<Vec<_>>().join("\n\n")
}

fn split_table(table: &Table<'_>, split: usize) -> String {
    let metrics = &table.results.metrics;
    let heads = joined(metrics.iter().map(|metric| format!(" {} {} |", escape(&metric.title), arrow(metric.better))));
    let mut lines = vec![
        format!("### {}\n\n| Method |{heads} Mean rank | n |", escape(table.splits[split])),
        format!("|---|{}---:|---:|", "---:|".repeat(metrics.len())),
    ];
    for (method, info) in table.results.methods.iter().enumerate() {
        let mut most = 0;
        let mut cells = Vec::new();
        for metric in 0..metrics.len() {
            let row = table.row(split, method, metric);
            most = most.max(row.n_conditions);
            let text = escape(&table.digits(metric).result(row));
            let best = table.is_best(split, method, metric);
            let flag = !info.baseline && beats_best_baseline(table, split, metric, method);
            let text = if best { format!("**{text}**") } else { text };
            cells.push(format!(" {}{text} |", if flag { "▲ " } else { "" }));
        }
        let tag = if info.baseline { " (baseline)" } else { "" };
        let rank = table.mean_rank(split, method);
        lines.push(format!("| {}{tag} |{} {rank:.1} | {most} |", escape(&info.title), cells.concat()));
    }
    let ceiling = |metric: usize| {
        table.row(split, 0, metric).ceiling.map_or_else(|| "–".into(), |value| table.digits(metric).value(value))
    };
    let ceilings = joined((0..metrics.len()).map(|metric| format!(" {} |", ceiling(metric))));
    lines.push(format!("| *Ceiling* |{ceilings} | |"));
    lines.join("\n")
}

fn intended(content: &Content<'_>) -> String {
    let table = &content.table;
    let clear: Vec<String> = content
        .verdict
        .won
        .iter()
        .filter(|duel| duel.clear())
        .map(|duel| {
            let model = duel.model.map_or("our model", |model| table.results.methods[model].title.as_str());
            format!("{}, judged by {}: {model}.", table.splits[duel.split], table.results.metrics[duel.metric].title)
        })
        .collect();
    let research = "Research on the prediction of transcriptional responses to genetic perturbation, in the contexts and splits \
                    that were evaluated.";
    if clear.is_empty() {
        return format!(
            "{research}\n\nOn none of the evaluated splits is a model of ours clearly better than the best baseline: for predictions, \
             use the baseline; the model is of use for embeddings and for comparison."
        );
    }
    format!("{research} An advantage over the baselines is shown for:\n\n{}", bullets(&clear))
}

fn not_recommended(content: &Content<'_>) -> String {
    let table = &content.table;
    let mut uses = vec![
        "Any clinical or diagnostic decision.".to_owned(),
        "Cell contexts, perturbation types, doses or time points that are not in the benchmark above.".to_owned(),
    ];
    for duel in content.verdict.lost.iter().filter(|duel| duel.clear()) {
        let baseline = &table.results.methods[duel.baseline].title;
        let metric = &table.results.metrics[duel.metric].title;
        uses.push(format!("{} where {metric} matters: {baseline} is better.", table.splits[duel.split]));
    }
    bullets(&uses)
}

fn methods(content: &Content<'_>) -> String {
    let results = &content.inputs.results;
    let methods = results.methods.iter().map(|method| {
        let tag = if method.baseline { " (baseline)" } else { "" };
        format!("- **{}**{tag}: {}", escape(&method.title), escape(&method.description))
    });
    let metrics = results.metrics.iter().map(|metric| {
        let better = if metric.better == Better::Higher { "higher" } else { "lower" };
        format!("- **{}** ({better} is better): {}", escape(&metric.title), escape(&metric.definition))
    });
    format!("{}\n\nMetrics:\n\n{}", methods.collect::<Vec<_>>().join("\n"), metrics.collect::<Vec<_>>().join("\n"))
}

fn compute(content: &Content<'_>) -> String {
    let results = &content.inputs.results;
    let table = pairs(stages(results).into_iter(), "The results record no stage times.");
    let hardware = results.provenance.hardware.trim();
    let hardware = if hardware.is_empty() { "not recorded" } else { hardware };
    format!("Hardware: {}\n\n{table}", escape(hardware))
}

fn limitations(content: &Content<'_>) -> Vec<String> {
    let results = &content.inputs.results;
    let mut items = Vec::new();
    if synthetic(&content.table) == Some(true) {
        items.push("Trained and evaluated on synthetic data only.".to_owned());
    }
    let undefined = results.results.iter().filter(|row| row.value.is_none()).count();
    if undefined > 0 {
        items.push(format!("{} of the benchmark undefined (see the table).", count(undefined, "value")));
    }
    if !results.dropped.is_empty() {
        items.push(format!(
            "{} held out but not evaluated (see report.html).",
            count(results.dropped.len(), "condition")
        ));
    }
    if let Some(own) = content.own.as_ref().filter(|own| own.left_out > 0) {
        items.push(format!("{} too small for the per-perturbation table.", count(own.left_out, "condition")));
    }
    let logs = [&content.inputs.pretraining, &content.inputs.finetuning, &content.inputs.diffusion];
    let broken: usize = logs.into_iter().flatten().map(super::log::Log::broken).sum();
    if broken > 0 {
        items.push(format!("The loss was not finite in {} of the training.", count(broken, "log step")));
    }
    items.push(
        "Means over conditions hide that some perturbations are predicted badly; see report.html for each of them."
            .to_owned(),
    );
    items.push(
        "The licence above is that of the program; that of the training data is for the user to check.".to_owned(),
    );
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_is_made_plain() {
        assert_eq!(escape("a_b|<c>*"), "a\\_b\\|&lt;c&gt;\\*");
        assert_eq!(escape("a\nb"), "a b");
    }
}
